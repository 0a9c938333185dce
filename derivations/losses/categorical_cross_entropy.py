"""Categorical cross entropy: class probabilities against a distribution, with clip policies."""

from lossmith.derivations import (
    NONNEGATIVE,
    PROBABILITY,
    Loss,
    Rational,
    Reference,
    Sum,
    Variant,
    class_index,
    clip,
    clip_through,
    interval,
    log,
    parameter,
    probabilities,
    targets,
)

q = probabilities("q", PROBABILITY)
t = targets("t", NONNEGATIVE, meaning="targets: a distribution, or any non-negative weights")
eps = parameter("eps", interval(0, Rational(1, 2), open_low=True), "eps", "distance kept from 0 and from 1")
i = class_index("i")

LOSS = Loss(
    name="categorical_cross_entropy",
    title="Categorical cross entropy of probabilities",
    formula=-Sum(t[i] * log(q[i]), i),
    references=(Reference("Keras, CategoricalCrossentropy"),),
    policies=(("clip", "none"), ("zero_times_log_zero", "0")),
    variants=(
        Variant("clipped", -Sum(t[i] * log(clip(q[i], eps, 1 - eps)), i),
                "Categorical cross entropy, the probabilities clipped", (("clip", "eps, no gradient outside"),)),
        Variant("clipped_through", -Sum(t[i] * log(clip_through(q[i], eps, 1 - eps)), i),
                "Categorical cross entropy, the probabilities clipped, the gradient passed through the clip",
                (("clip", "eps, gradient through"),)),
    ),
)
