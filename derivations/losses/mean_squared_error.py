"""Squared error of a prediction; its mean is the mean squared error."""

from lossmith.derivations import EXTENDED, Loss, Reference, logit, target

x = logit("x", meaning="prediction")
y = target("y", EXTENDED, meaning="value to predict")

LOSS = Loss(
    name="mean_squared_error",
    title="Squared error",
    formula=(x - y) ** 2,
    references=(Reference("A.-M. Legendre, Nouvelles methodes pour la determination des orbites des cometes, 1805"),),
)
