"""Sigmoid cross entropy, line by line as TensorFlow's documentation prints it."""

from lossmith.derivations.domains import PROBABILITY, REAL
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import exp, log, minus, negative, over, plus, scalar, sigmoid, times
from lossmith.derivations.terms import ONE, var

x, z = var("x"), var("z")
one_minus_z = minus(ONE, z)
one_plus_exp = plus(ONE, exp(negative(x)))

IDENTITY = Identity(
    name="sigmoid_cross_entropy_printed",
    title="Sigmoid cross entropy as TensorFlow prints it",
    arguments=(scalar("x", REAL, "logit"), scalar("z", PROBABILITY, "target")),
    lines=(
        (plus(times(z, negative(log(sigmoid(x)))), times(one_minus_z, negative(log(minus(ONE, sigmoid(x)))))),
         "cross entropy of the target and the sigmoid of the logit"),
        (plus(times(z, negative(log(over(ONE, one_plus_exp)))),
              times(one_minus_z, negative(log(over(exp(negative(x)), one_plus_exp))))),
         "the sigmoid written out, and what is left of 1"),
        (plus(times(z, log(one_plus_exp)),
              times(one_minus_z, plus(negative(log(exp(negative(x)))), log(one_plus_exp)))),
         "the logarithm of a quotient"),
        (plus(times(z, log(one_plus_exp)), times(one_minus_z, plus(x, log(one_plus_exp)))),
         "the logarithm undoes the exponential"),
        (plus(times(one_minus_z, x), log(one_plus_exp)), "the shares z and 1 - z of the same logarithm add up to it"),
        (plus(minus(x, times(x, z)), log(one_plus_exp)), "multiply out"),
    ),
    references=("TensorFlow, tf.nn.sigmoid_cross_entropy_with_logits",),
)
