"""The product model of labels: the count is the partition function, times a distribution."""

from lossmith.derivations.domains import Domain
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import over, over_classes, times, total
from lossmith.derivations.terms import row

y = row("y")

IDENTITY = Identity(
    name="product_model",
    title="y_m = Z P(m), with Z the sum of y and P(m) = y_m / Z",
    arguments=(over_classes("y", Domain(0, float("inf"), False, False), "how much of each class"),),
    lines=(
        (y, "how much of class k"),
        (times(total(y), over(y, total(y))), "the partition function Z, the sum, times the distribution P = y / Z"),
    ),
)
