"""Cross entropy is entropy plus divergence."""

from lossmith.derivations.domains import Domain
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import log, minus, negative, over, over_classes, plus, times, total
from lossmith.derivations.terms import row

INSIDE = Domain(0, 1, False, True, unit_sum=True)
p, q = row("p"), row("q")

IDENTITY = Identity(
    name="cross_entropy_is_entropy_plus_divergence",
    title="H(p, q) = H(p) + KL(p‖q)",
    arguments=(over_classes("p", INSIDE, "distribution"), over_classes("q", INSIDE, "distribution")),
    lines=(
        (negative(total(times(p, log(q)))), "cross entropy H(p, q)"),
        (plus(negative(total(times(p, log(p)))), minus(total(times(p, log(p))), total(times(p, log(q))))),
         "take away and add the same sum"),
        (plus(negative(total(times(p, log(p)))), total(minus(times(p, log(p)), times(p, log(q))))), "one sum of both"),
        (plus(negative(total(times(p, log(p)))), total(times(p, log(over(p, q))))),
         "entropy H(p) plus divergence KL(p‖q): the logarithm of a quotient"),
    ),
)
