"""Softmax cross entropy of a class index is that of the one-hot distribution."""

from lossmith.derivations.domains import REAL
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import (
    element,
    exp,
    index,
    log,
    minus,
    negative,
    onehot,
    over,
    over_classes,
    times,
    total,
)
from lossmith.derivations.terms import label, row

x, y = row("x"), label("y")
sum_of_exp = total(exp(x))

IDENTITY = Identity(
    name="sparse_is_onehot",
    title="Softmax cross entropy of a class index is that of the one-hot distribution",
    arguments=(over_classes("x", REAL, "logits"), index("y", "class index")),
    lines=(
        (negative(total(times(onehot(y), log(over(exp(x), sum_of_exp))))),
         "softmax cross entropy of the one-hot distribution"),
        (negative(log(over(exp(element(x, y)), sum_of_exp))), "one term of the sum is left, the one at the label"),
        (minus(log(sum_of_exp), element(x, y)), "the logarithm of a quotient"),
    ),
)
