"""Under the product model the divergence falls apart into a divergence of distributions and one of counts."""

from lossmith.derivations.domains import Domain
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import log, over, over_classes, plus, scalar, times, total
from lossmith.derivations.terms import row, var

POSITIVE = Domain(0, float("inf"), False, False)
y, q, c = row("y"), row("q"), var("c")
n = total(y)

IDENTITY = Identity(
    name="product_model_divergence",
    title="Counts and distributions part: the divergence under the product model",
    arguments=(over_classes("y", POSITIVE, "how much of each class"),
               over_classes("q", Domain(0, 1, False, True, unit_sum=True), "predicted distribution"),
               scalar("c", POSITIVE, "predicted count")),
    lines=(
        (total(times(y, log(over(y, times(c, q))))), "divergence of y from the product model c q"),
        (total(times(n, over(y, n), plus(log(over(over(y, n), q)), log(over(n, c))))),
         "y is its sum n times y / n; the logarithm of a product"),
        (plus(times(n, total(times(over(y, n), log(over(over(y, n), q))))), times(n, log(over(n, c)))),
         "n KL(y/n‖q), plus the part that knows only the counts; y / n sums to 1"),
    ),
)
