"""Quotients that are 0/0 at one point only: good elsewhere, and there their limit."""

from lossmith.derivations.rules.base import Rule, family, rule

LIMIT = "at zero the quotient is its limit, 1"
# Functions that vanish at zero with slope 1, and how LaTeX writes them.
LIKE_SELF = {
    "expm1": r"\operatorname{expm1}", "log1p": r"\operatorname{log1p}", "sin": r"\sin", "tan": r"\tan",
    "sinh": r"\sinh", "tanh": r"\tanh", "asin": r"\arcsin", "atan": r"\arctan",
    "asinh": r"\operatorname{arsinh}", "atanh": r"\operatorname{artanh}",
}


def _over(name: str, tex: str) -> Rule:
    return rule(f"{name}-over", f"{name}(a)/b", f"[a/b]*where(a == 0, 1, {name}(a)/a)", "b != 0",
                words=LIMIT, because=rf"{tex} a/a \to 1 \text{{ as }} a \to 0")


def _under(name: str, tex: str) -> Rule:
    return rule(f"over-{name}", f"b/{name}(a)", f"[b/a]*where(a == 0, 1, a/{name}(a))", "a != 0",
                words=LIMIT, because=rf"a/{tex} a \to 1 \text{{ as }} a \to 0")


BELOW = ("expm1", "log1p", "sin", "sinh", "tanh", "atanh")
RULES = family(
    "removable",
    *(_over(name, tex) for name, tex in LIKE_SELF.items()),
    rule("expm1-of-square", "b*expm1(n*a**2)",
         "(b*a)*(n*a)*where(n*a**2 == 0, 1, expm1(n*a**2)/(n*a**2))",
         words="the square may vanish where its product with b does not",
         because=r"\operatorname{expm1}u = u\cdot\frac{\operatorname{expm1}u}{u}"),
    *(_under(name, tex) for name, tex in LIKE_SELF.items() if name in BELOW),
)
