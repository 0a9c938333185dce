"""Rules as data, one family per file. The registry checks itself when it is imported."""

from __future__ import annotations

from lossmith.derivations.rules import (
    conjugate,
    divergence,
    erf,
    exponential,
    factoring,
    gamma,
    hyperbolic,
    logistic,
    logsumexp,
    powers,
    removable,
    signs,
    trigonometric,
)
from lossmith.derivations.rules.base import Rule, RuleError, rule

RULES: tuple[Rule, ...] = (
    *logistic.RULES, *exponential.RULES, *logsumexp.RULES, *conjugate.RULES, *hyperbolic.RULES,
    *divergence.RULES, *powers.RULES, *erf.RULES, *gamma.RULES, *trigonometric.RULES, *removable.RULES, *signs.RULES,
    *factoring.RULES,
)
BY_NAME: dict[str, Rule] = {r.name: r for r in RULES}
if len(BY_NAME) != len(RULES):
    names = [r.name for r in RULES]
    raise RuleError(f"two rules share a name: {sorted({n for n in names if names.count(n) > 1})}")
_sides = {(r.pattern, r.replacement) for r in RULES}
if len(_sides) != len(RULES):
    raise RuleError("two rules are the same identity")

__all__ = ["BY_NAME", "RULES", "Rule", "RuleError", "rule"]
