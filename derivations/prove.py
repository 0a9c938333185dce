"""Evidence: a rule or a step proved by algebra or by SymPy with a case split, else enclosed by balls.

`check_rule` looks for a counterexample with ball arithmetic, so that a wrong rule is caught even
where no proof is found.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lossmith.derivations import balls, expanding, integrals, points, refute, singular, tails
from lossmith.derivations.derivation import Evidence, Step
from lossmith.derivations.loss import Argument
from lossmith.derivations.match import build, names
from lossmith.derivations.moves import OTHERWISE, Move
from lossmith.derivations.polynomial import TooLargeError, canon, quotient, vanishes
from lossmith.derivations.precise import unwrapped
from lossmith.derivations.ranges import Range, ranges
from lossmith.derivations.refute import bounds, numeric, orders, value
from lossmith.derivations.rules import BY_NAME, Rule
from lossmith.derivations.seeds import through_exp
from lossmith.derivations.terms import Term, is_const, leaves, name_of, number, replace, walk
from lossmith.derivations.ulp import FORMATS

PROOFS = Path(__file__).resolve().parent / "rules" / "proofs.json"
CHECKED = 40  # points at which a step without a proof is enclosed
DOUBTFUL, MILD = 0.25, 4.0  # of them: of so many the result may be beyond what balls tell, at numbers of this size


def check_rule(rule: Rule) -> dict[str, float] | None:
    """A point where the condition holds and the two sides differ, or None; `refute` says which points are tried."""
    return _searched(rule)[0]


@functools.cache
def _searched(rule: Rule) -> tuple[dict[str, float] | None, int]:
    return refute.counterexample(rule)


@functools.cache
def prove_rule(rule: Rule) -> Evidence:
    """Proved by SymPy in every case of the signs that the condition allows, else enclosed by balls.

    Each rule is proved once: what was found is kept in rules/proofs.json under the rule's text, which
    `bench/prove_rules.py` writes and a test proves again. Raises ArithmeticError with a counterexample.
    """
    kept = _kept().get(rule.text)
    return Evidence(*kept) if kept else proved_afresh(rule)


@functools.cache
def _kept() -> dict[str, tuple[Literal["proved", "enclosed"], str, int]]:
    if not PROOFS.exists():
        return {}
    return {text: (kind, method, points) for text, (kind, method, points) in json.loads(PROOFS.read_text()).items()}


def proved_afresh(rule: Rule) -> Evidence:
    """The same, found now.

    Balls are asked first in any case: SymPy's logarithms of negative numbers are complex and may
    agree where a real formula has no value.
    """
    counterexample, used = _searched(rule)
    if counterexample is not None:
        raise ArithmeticError(f"rule {rule.name} is wrong at {counterexample}")
    if same_quotient(rule.pattern, rule.replacement):
        return Evidence("proved", "algebra of rational functions")
    if by_sign(rule.pattern, rule.replacement):
        return Evidence("proved", "algebra of rational functions, for either sign")
    cases = list(_cases(rule))
    sides = [(left, right) for left in _branches(rule.pattern) for right in _branches(rule.replacement)]
    if cases and all(_equal_in(left, right, case) for left, right in sides for case in cases):
        return Evidence("proved", f"SymPy, {len(cases)} cases of sign" if len(cases) > 1 else "SymPy")
    return Evidence("enclosed", "both sides in ball arithmetic over the side condition", used)


def _cases(rule: Rule) -> Iterator[dict[str, Any]]:
    """Each variable replaced by a positive or a negative symbol, or zero, shifted to where the condition allows it.

    Ends that the condition holds are cases of their own. Conditions that compare other than
    variables with numbers and each other are left out: what is proved without them holds with them.
    """
    import sympy as sp

    free = sorted(names(rule.pattern))
    for picked in itertools.product(*(_values(rule, name) for name in free)):
        case = dict(zip(free, picked))
        for c in rule.conditions:
            a, b = c.args if c.op in ("gt", "ge") else c.args[::-1]
            if a.op == "var" and b.op == "var" and c.op in ("gt", "ge", "lt", "le"):
                case[name_of(a)] = case[name_of(b)] + sp.Symbol(f"{name_of(a)}_over", positive=True)
        yield from _by_order(rule, case)


def _by_order(rule: Rule, case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A case for either order of two variables of which the rule takes the larger or the smaller, and for a tie."""
    import sympy as sp

    pair = next((t.args for t in walk(rule.pattern, rule.replacement)
                 if t.op in ("max", "min", "gap") and all(a.op == "var" for a in t.args)), None)
    known = [set(c.args) for c in rule.conditions]
    if pair is None or set(pair) in known:
        yield case
        return
    a, b = (name_of(t) for t in pair)
    over = sp.Symbol(f"{a}_over_{b}", positive=True)
    yield {**case, a: case[b] + over}
    yield {**case, b: case[a] + over}
    yield {**case, b: case[a]}


def _values(rule: Rule, name: str) -> list[Any]:
    """What a variable may be: an expression in a positive symbol for each interval, a number for each closed end."""
    import sympy as sp

    p = sp.Symbol(f"{name}_", positive=True)
    low, high = (None if end is None else sp.Rational(end.numerator, end.denominator) for end in bounds(rule, name))
    closed = [end for end, op in ((low, "gt"), (high, "lt")) if end is not None and not _open(rule, name, op)]
    if low is not None and high is not None:
        return [low + (high - low) * p / (1 + p), *closed]
    if low is not None:
        return [low + p, *closed]
    return [high - p, *closed] if high is not None else [p, -p, sp.Integer(0)]


def _open(rule: Rule, name: str, op: str) -> bool:
    return any(c.op == op and c.args[0].op == "var" and name_of(c.args[0]) == name and is_const(c.args[1])
               for c in rule.conditions)


def _branches(term: Term) -> list[Term]:
    """The term with each way through its choices: where all of them equal the other side, so does the whole.

    A choice by the sign of a variable is left standing: the cases decide it.
    """
    for t in walk(term):
        if t.op == "where" and not (_by_zero(t) and t.args[0].args[0].op == "var"):
            return [b for branch in t.args[1:] for b in _branches(replace(term, {t: branch}))]
    return [term]


def _equal_in(before: Term, after: Term, case: Mapping[str, Any]) -> bool:
    """Whether SymPy finds both sides equal in one case; an end at which a side is infinite or a limit is no case."""
    import sympy as sp

    left, right = _meaning(before, case), _meaning(after, case)
    if any(not v.free_symbols for v in case.values()):
        singular = (sp.nan, sp.zoo, sp.oo, -sp.oo)
        if any(side is not None and side.has(*singular) for side in (left, right)):
            return True
    return _zero(left, right)


def _zero(left: Any, right: Any) -> bool:
    import sympy as sp

    if left is None or right is None:
        return False
    if left == right:
        return True
    if isinstance(left, sp.Rel) and type(left) is type(right):
        return bool(sp.simplify((left.lhs - left.rhs) - (right.lhs - right.rhs)) == 0)
    try:
        return any(_simplified(left, right, change) for change in _CHANGES)
    except (TypeError, ValueError, NotImplementedError, RecursionError):
        return False


def _simplified(left: Any, right: Any, change: str) -> bool:
    """Whether the difference, or the quotient of the exponentials, comes to nothing after one change of clothes."""
    import sympy as sp

    difference = left - right
    if change == "as it is":
        return bool(difference == 0 or sp.simplify(difference) == 0)
    if change == "exponentiated":
        if not difference.has(sp.log):
            return False
        quotient = sp.expand(sp.powsimp(sp.exp(sp.expand(difference)).rewrite(sp.exp)))
        return bool(sp.simplify(quotient - 1) == 0)
    changed = difference.rewrite(getattr(sp, change))
    return bool(changed != difference and sp.simplify(sp.expand_log(changed)) == 0)


_CHANGES = ("as it is", "erf", "log", "exponentiated", "exp")


_DIRECT = ("exp", "log", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sin", "cos", "tan", "asin", "acos", "atan",
           "erf", "erfc", "sqrt", "sign", "digamma", "gamma", "atan2")


def _meaning(term: Term, case: Mapping[str, Any]) -> Any:
    """The term as SymPy's, named functions by their meaning; None for what SymPy cannot decide."""
    import sympy as sp

    term = unwrapped(term)
    done: dict[int, Any] = {}
    for t in walk(term):
        args = [done[a.id] for a in t.args]
        if any(a is None for a in args):
            done[t.id] = None
            continue
        if t.op == "const":
            done[t.id] = sp.Rational(number(t).numerator, number(t).denominator)
        elif t.op == "pi":
            done[t.id] = sp.pi
        elif t.op == "var":
            done[t.id] = case[name_of(t)]
        elif t.op in _DIRECT:
            done[t.id] = getattr(sp, t.op)(*args)
        else:
            done[t.id] = _named(t.op, args)
    return done[term.id]


def _named(op: str, args: list[Any]) -> Any:
    import sympy as sp

    a, b, c = (*args, None, None, None)[:3]
    if op == "where":
        return b if a is sp.true else c if a is sp.false else None
    table: dict[str, Any] = {
        "add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "div": lambda: a / b, "neg": lambda: -a,
        "pow": lambda: a**b, "max": lambda: sp.Max(a, b), "min": lambda: sp.Min(a, b), "abs": lambda: sp.Abs(a),
        "expm1": lambda: sp.exp(a) - 1, "log1p": lambda: sp.log(1 + a), "sigmoid": lambda: 1 / (1 + sp.exp(-a)),
        "softplus": lambda: sp.log(1 + sp.exp(a)), "logaddexp": lambda: sp.log(sp.exp(a) + sp.exp(b)),
        "xlogy": lambda: a * sp.log(b), "log1pmx": lambda: sp.log(1 + a) - a, "expm1mx": lambda: sp.exp(a) - 1 - a,
        "exp2": lambda: 2**a, "log2": lambda: sp.log(a) / sp.log(2), "log10": lambda: sp.log(a) / sp.log(10),
        "erfcx": lambda: sp.exp(a**2) * sp.erfc(a),
        "erfcx_rest": lambda: 1 / sp.sqrt(sp.pi) - a * sp.exp(a**2) * sp.erfc(a),
        "binet": lambda: sp.loggamma(a) - (a - sp.Rational(1, 2)) * sp.log(a) + a - sp.log(2 * sp.pi) / 2,
        "lgamma1p": lambda: sp.loggamma(1 + a),
        "binet_slope": lambda: sp.log(a) - sp.digamma(a) - 1 / (2 * a),
        "clip": lambda: sp.Min(sp.Max(a, b), c), "clip_through": lambda: sp.Min(sp.Max(a, b), c),
        "absorb": lambda: a * b, "gap": lambda: a - b, "exp_diff": lambda: sp.exp(a - b),
        "gt": lambda: sp.Gt(a, b), "ge": lambda: sp.Ge(a, b), "lt": lambda: sp.Lt(a, b), "le": lambda: sp.Le(a, b),
    }
    return table[op]() if op in table else None


def same_quotient(a: Term, b: Term) -> bool:
    """Whether two terms are one rational function of their atoms, e^u counted as one atom."""
    if canon(a) == canon(b):
        return True
    try:
        return vanishes(quotient(through_exp(build("sub", a, b))))
    except (TooLargeError, ZeroDivisionError, ValueError):
        return False


def by_sign(a: Term, b: Term) -> bool:
    """The same, separately for either sign of the one quantity on which `where` and `abs` depend."""
    pivots = {t.args[0] for t in walk(a, b) if t.op == "abs"}
    pivots |= {t.args[0].args[0] for t in walk(a, b) if _by_zero(t)}
    if len(pivots) != 1:
        return False
    (u,) = pivots
    return all(same_quotient(_assuming(a, u, sign), _assuming(b, u, sign)) for sign in (1, -1))


def _by_zero(t: Term) -> bool:
    return t.op == "where" and t.args[0].op == "ge" and is_const(t.args[0].args[1], 0)


def _assuming(term: Term, u: Term, sign: int) -> Term:
    for t in walk(term):
        if t.op == "abs" and t.args[0] is u:
            return _assuming(replace(term, {t: u if sign > 0 else build("neg", u)}), u, sign)
        if _by_zero(t) and t.args[0].args[0] is u:
            return _assuming(replace(term, {t: t.args[1] if sign > 0 else t.args[2]}), u, sign)
    return term


def evidence(move: Move, arguments: tuple[Argument, ...], given: tuple[Term, ...] = ()) -> tuple[Evidence, ...]:
    """Why a move is true: its rule's proof and its side conditions, or algebra, or balls.

    given: relations between the arguments, which may decide a side condition and limit the points.
    """
    if move.rule is not None:
        return (prove_rule(move.rule), *(_condition(c, arguments, given) for c in move.conditions))
    if move.name == "split":
        return (Evidence("proved", "both pieces are the same formula"),)
    if move.name == OTHERWISE:
        return (Evidence("proved", "the definition, or a form that was derived from it"),)
    if move.name == "absorb-infinity":
        return (Evidence("proved", "the factors agree wherever both are finite"),)
    if unwrapped(move.source) is unwrapped(move.result):
        return (Evidence("proved", "the same formula"),)
    if move.name == expanding.NAME:
        return (expanding.evidence(move.source, move.result, arguments),)
    if move.name == integrals.NAME:
        return (integrals.evidence(move.source, move.result, arguments),)
    if move.name == singular.NAME:
        at = singular.agreement(move, _sample(move.result, arguments, given), arguments)
        return (Evidence("enclosed", "the limit, where the denominator vanishes", at),) if at else ()
    source = move.source if move.name != tails.NAME else tails.squared(move.source, move.result)
    result = move.result if move.name != tails.NAME else tails.squared(move.result, move.result)
    if same_quotient(source, result):
        return (Evidence("proved", "algebra of rational functions"),)
    if by_sign(source, result):
        return (Evidence("proved", "algebra of rational functions, for either sign"),)
    return (_enclosed(move.source, move.result, arguments, given),)


def prove_step(step: Step, arguments: tuple[Argument, ...] = ()) -> tuple[Evidence, ...]:
    """Evidence for a finished step, from its rule where it has one, else from its two sides."""
    move = Move(step.rule, step.reason, step.reason_latex, step.before, step.after, step.source, step.result,
                rule=BY_NAME.get(step.rule))
    return evidence(move, arguments)


def _condition(condition: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...]) -> Evidence:
    a, b = condition.args
    known = ranges(condition, arguments, given)
    if _certain(condition.op, known[a], known[b]):
        return Evidence("proved", "side condition by interval arithmetic")
    good = tried = 0
    for env in _sample(condition, arguments, given):
        found = value(a, env), value(b, env)
        if not any(math.isnan(v) for v in found):
            tried += 1
            good += orders(condition.op, *found)
    return Evidence("enclosed", f"side condition holds at {good} of {tried} points", tried)


def _certain(op: str, a: Range, b: Range) -> bool:
    if op in ("gt", "ge"):
        return a[0] > b[1] or (op == "ge" and a[0] >= b[1])
    if op in ("lt", "le"):
        return a[1] < b[0] or (op == "le" and a[1] <= b[0])
    return op == "ne" and (a[0] > b[1] or a[1] < b[0])


def _sample(term: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...]) -> list[dict[str, float]]:
    used = {name_of(t) for root in (term, *given) for t in leaves(root)}
    chosen = [a for a in arguments if a.name in used]
    if not chosen:
        return [{}]
    rng_columns = points.scalar_points(chosen, 4 * CHECKED, 11, FORMATS["float32"], given=given)
    count = len(next(iter(rng_columns.values())))
    rows = [{n: float(c[i]) for n, c in rng_columns.items()} for i in range(count)]
    moderate = [r for r in rows if all(abs(v) <= 64 and (abs(v) >= 2.0**-16) for v in r.values())]
    return moderate[:CHECKED] or rows[:CHECKED]


def _enclosed(a: Term, b: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...]) -> Evidence:
    a, b = numeric(a), numeric(b)
    held = tried = doubtful = 0
    for env in _sample(build("sub", a, b), arguments, given):
        same = balls.overlaps(a, b, env)
        unknown = [] if same else [math.isnan(balls.scalar_truth(t, env, arguments)) for t in (a, b)]
        if any(unknown):  # undefined, or beyond what balls can tell
            doubtful += unknown == [False, True] and all(abs(v) <= MILD for v in env.values())
            continue
        tried += 1
        held += same
    if held < tried or not tried:
        raise ArithmeticError(f"{a} and {b} differ")
    if doubtful > DOUBTFUL * tried:
        raise ArithmeticError(f"{a} and {b}: at {doubtful} points only the first has a value")
    return Evidence("enclosed", "both sides in ball arithmetic", tried)


__all__ = ["check_rule", "evidence", "prove_rule", "prove_step", "proved_afresh", "same_quotient"]
