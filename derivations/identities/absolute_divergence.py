"""The absolute divergence is the sum of both divergences; its absolute value is redundant."""

from lossmith.derivations.domains import Domain
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import (
    absolute,
    log,
    minus,
    over,
    over_classes,
    plus,
    times,
    total,
)
from lossmith.derivations.terms import row

INSIDE = Domain(0, 1, False, True)
p, q = row("p"), row("q")
product = times(minus(p, q), log(over(p, q)))

IDENTITY = Identity(
    name="absolute_divergence_is_both_divergences",
    title="The absolute divergence is KL(p‖q) + KL(q‖p)",
    arguments=(over_classes("p", INSIDE, "probabilities"), over_classes("q", INSIDE, "probabilities")),
    lines=(
        (total(absolute(product)), "absolute divergence"),
        (total(product), "p - q and log(p/q) have one sign: the absolute value is redundant"),
        (minus(total(times(p, log(over(p, q)))), total(times(q, log(over(p, q))))), "multiply out"),
        (plus(total(times(p, log(over(p, q)))), total(times(q, log(over(q, p))))),
         "KL(p‖q) + KL(q‖p): minus a logarithm is the logarithm of the inverse"),
    ),
    references=("H. Jeffreys, Theory of Probability, 1948",),
)
