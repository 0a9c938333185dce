"""From named functions to the machine's vocabulary, by named rules; and what a machine form costs."""

from __future__ import annotations

from collections.abc import Mapping

from lossmith.derivations.match import PRODUCTS, Rewrite, at_root, build, factors, fill, heads, index, rewrites
from lossmith.derivations.polynomial import ordered
from lossmith.derivations.precise import spelled
from lossmith.derivations.rules import BY_NAME, Rule
from lossmith.derivations.terms import MACHINE, Term, is_const, kept_by_id, number, rebuild, replace, walk

# These first: two logistic functions of opposite arguments share one exponential and one square,
# and an argument of known sign needs no choice.
FIRST = tuple(BY_NAME[n] for n in ("sigmoid-product", "sigmoid-of-size", "sigmoid-of-minus-size"))
SINGLE: Mapping[str, Rule] = {
    "sigmoid": BY_NAME["sigmoid-by-sign"],
    "softplus": BY_NAME["softplus-by-sign"],
    "logaddexp": BY_NAME["logaddexp-by-order"],
    "clip": BY_NAME["clip"],
    "clip_through": BY_NAME["clip-through"],
}
COSTS: Mapping[str, float] = {
    "const": 0.0, "pi": 0.0, "var": 0.0, "neg": 0.5, "abs": 0.5, "max": 1.0, "min": 1.0, "sign": 1.0, "where": 1.0,
    "div": 4.0, "sqrt": 4.0, "absorb": 1.5, "gap": 1.5, "exp": 10.0, "log": 12.0, "expm1": 14.0, "log1p": 14.0,
    "exp_diff": 18.0,  "pow": 25.0, "xlogy": 14.0, "log1pmx": 24.0, "expm1mx": 24.0,
    "erfcx": 20.0, "gamma": 60.0,
    "lgamma": 60.0, "digamma": 60.0, "binet": 30.0, "binet_slope": 30.0, "binet_gap": 45.0, "lgamma1p": 60.0,
    "erfcx_rest": 22.0,
    "add": 1.0, "sub": 1.0, "mul": 1.0, "lt": 0.5, "le": 0.5, "gt": 0.5, "ge": 0.5, "eq": 0.5, "ne": 0.5,
    "and": 0.5, "or": 0.5, "not": 0.5,
}
FUNCTION_COST = 16.0
PAIR_COST = 8.0  # of a node within a formula that is computed in twice the digits
PLAIN_NUMBER, ODD_NUMBER = 1000, 3.0  # a coefficient of many digits takes a register, and a reader's patience


def is_machine(term: Term) -> bool:
    """Whether printers can write every node."""
    return all(t.op in MACHINE for t in walk(term))


def cost(term: Term) -> float:
    """What a kernel pays: each distinct node once, functions dearer than arithmetic."""
    total = 0.0
    for t in walk(ordered(term)):
        price = COSTS.get(t.op, FUNCTION_COST) if t.op != "precise" else PAIR_COST * len(walk(spelled(t)))
        if is_const(t) and max(abs(number(t).numerator), number(t).denominator) > PLAIN_NUMBER:
            price = ODD_NUMBER
        if t.op == "pow" and t.args[1].op == "const" and t.args[1].value == 2:
            price = 1.0
        total += price
    return total


_first = index(FIRST)
_done: dict[int, tuple[Rewrite, ...]] = kept_by_id({})


def expansion(term: Term) -> tuple[Rewrite, ...]:
    """The steps that bring `term` into the machine's vocabulary, the innermost functions last."""
    found = _done.get(term.id)
    if found is None:
        found = _done[term.id] = tuple(_expand(term))
    return found


def _expand(term: Term) -> list[Rewrite]:
    steps: list[Rewrite] = []
    while True:
        pair = next(rewrites(term, _first), None) if any(t.op == "sigmoid" for t in walk(term)) else None
        step = pair or _single(term) or _one_division(term)
        if step is None:
            return steps
        steps.append(step)
        term = step.after


def _single(term: Term) -> Rewrite | None:
    for t in reversed(walk(term)):
        rule = SINGLE.get(t.op)
        if rule is not None:
            names = ("a", "b", "c")
            bindings = dict(zip(names, t.args))
            result = fill(rule.replacement, bindings, rule.collected)
            return Rewrite(rule, term, t, result, replace(term, {t: result}),
                           tuple(fill(c, bindings) for c in rule.conditions))
    return None


def _one_division(term: Term) -> Rewrite | None:
    """a * (1/b), as an expanded sigmoid leaves it, rounds twice where a/b rounds once."""
    rule = BY_NAME["one-division"]
    for t in walk(term):
        for a, b in (t.args, t.args[::-1]) if t.op == "mul" else ():
            if b.op == "div" and is_const(b.args[0], 1):
                result = build("div", a, b.args[1])
                return Rewrite(rule, term, t, result, replace(term, {t: result}),
                               tuple(fill(c, {"a": a, "b": b.args[1]}) for c in rule.conditions))
    return None


_lowered: dict[int, Term] = kept_by_id({})


def machine(term: Term) -> Term:
    """`term` in the machine's vocabulary: what `expansion` leads to, without the steps."""
    made = _named_expanded(term)
    while (step := _one_division(made)) is not None:
        made = step.after
    return made


def _named_expanded(term: Term) -> Term:
    found = _lowered.get(term.id)
    if found is None:
        rule = SINGLE.get(term.op)
        first = _by_first_rules(term)
        if first is not None:
            found = _named_expanded(first)
        elif rule is not None:
            found = _named_expanded(fill(rule.replacement, dict(zip(("a", "b", "c"), term.args)), rule.collected))
        else:
            found = rebuild(term, tuple(_named_expanded(a) for a in term.args)) if term.args else term
        _lowered[term.id] = found
    return found


def _by_first_rules(term: Term) -> Term | None:
    if term.op in PRODUCTS and sum(t.op == "sigmoid" for _, t in factors(term)) < 2:
        return None
    return next((result for rule in _first.get(heads(term.op), ()) for result, _ in at_root(rule, term)), None)


def names_left(term: Term) -> int:
    """How many named functions stand between a term and the machine."""
    return sum(t.op in SINGLE for t in walk(term))
