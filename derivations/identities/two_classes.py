"""Binary cross entropy is softmax cross entropy of two classes."""

from lossmith.derivations.domains import PROBABILITY, REAL
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import exp, log, minus, negative, over, plus, scalar, sigmoid, times
from lossmith.derivations.terms import ONE, var

x0, x1, z = var("x0"), var("x1"), var("z")
one_minus_z = minus(ONE, z)
both = plus(exp(x0), exp(x1))
difference = minus(x1, x0)

IDENTITY = Identity(
    name="binary_is_two_class_softmax",
    title="Binary cross entropy is softmax cross entropy of two classes",
    arguments=(scalar("x0", REAL, "logit of class 0"), scalar("x1", REAL, "logit of class 1"),
               scalar("z", PROBABILITY, "target of class 1")),
    lines=(
        (minus(negative(times(one_minus_z, log(over(exp(x0), both)))), times(z, log(over(exp(x1), both)))),
         "softmax cross entropy of two logits and the targets 1 - z, z"),
        (minus(negative(times(one_minus_z, log(over(ONE, plus(ONE, exp(difference)))))),
               times(z, log(over(ONE, plus(ONE, exp(negative(difference))))))),
         "divide above and below by the numerator"),
        (minus(negative(times(one_minus_z, log(sigmoid(negative(difference))))), times(z, log(sigmoid(difference)))),
         "the sigmoid by its definition"),
        (minus(negative(times(z, log(sigmoid(difference)))), times(one_minus_z, log(minus(ONE, sigmoid(difference))))),
         "what is left of 1; the other order: binary cross entropy of the difference"),
    ),
)
