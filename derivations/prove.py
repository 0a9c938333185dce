"""Evidence: a rule or a step proved by algebra or by SymPy with a case split, else enclosed by balls.

`check_rule` looks for a counterexample with ball arithmetic, so that a wrong rule is caught even
where no proof is found.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from lossmith.derivations import balls, points
from lossmith.derivations.derivation import Evidence, Step
from lossmith.derivations.loss import Argument
from lossmith.derivations.match import build, names
from lossmith.derivations.moves import Move
from lossmith.derivations.polynomial import TooLargeError, canon, quotient, vanishes
from lossmith.derivations.ranges import Range, ranges
from lossmith.derivations.rules import BY_NAME, Rule
from lossmith.derivations.seeds import through_exp
from lossmith.derivations.terms import ONE, ZERO, Term, is_const, leaves, name_of, number, replace, walk
from lossmith.derivations.ulp import FORMATS

TRIES, NEEDED = 400, 120  # points drawn to check a rule, and how many of them are enough
CHECKED = 40  # points at which a step without a proof is enclosed
FLIPPED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}


def check_rule(rule: Rule, tries: int = TRIES) -> dict[str, float] | None:
    """A point where the condition holds and the two sides differ, or None."""
    return _search(rule, tries)[0]


@functools.cache
def _search(rule: Rule, tries: int) -> tuple[dict[str, float] | None, int]:
    used = 0
    for env in _trial_points(rule, tries):
        if not all(_decides(c, env) for c in rule.conditions):
            continue
        pattern, replacement = _numeric(rule.pattern), _numeric(rule.replacement)
        if math.isnan(_value(pattern, env)):
            continue
        used += 1
        if math.isnan(_value(replacement, env)) or not balls.overlaps(pattern, replacement, env):
            return env, used
        if used >= NEEDED:
            break
    return None, used


def _numeric(term: Term) -> Term:
    """A truth value as 1 or 0, so that balls can compare it."""
    return build("where", term, ONE, ZERO) if term.sort == "truth" else term


def _value(term: Term, env: Mapping[str, float]) -> float:
    found = balls.truth(term, env, FORMATS["float64"])
    assert isinstance(found, float)
    return found


def _decides(condition: Term, env: Mapping[str, float]) -> bool:
    a, b = (env[name_of(t)] if t.op == "var" else float(number(t)) for t in condition.args)
    return bool({"gt": a > b, "ge": a >= b, "lt": a < b, "le": a <= b, "eq": a == b, "ne": a != b}[condition.op])


def _trial_points(rule: Rule, tries: int) -> Iterator[dict[str, float]]:
    rng = random.Random(5)
    free = sorted(names(rule.pattern))
    plain = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 0.25)
    for i in range(tries):
        env: dict[str, float] = {}
        for name in free:
            if name in ("n", "m", "k"):
                env[name] = rng.choice((1.0, 2.0, 3.0, 0.5, -1.0, -2.0, 1.5))
            elif i % 3 == 0:
                env[name] = rng.choice(plain)
            else:
                env[name] = rng.uniform(-1, 1) * 2.0 ** rng.randint(-6, 4) if rng.random() < 0.7 else rng.random()
        yield env


@functools.cache
def prove_rule(rule: Rule) -> Evidence:
    """Proved by SymPy in every case of the signs that the condition allows, else enclosed by balls.

    Balls are asked first in any case: SymPy's logarithms of negative numbers are complex and may
    agree where a real formula has no value. Raises ArithmeticError with a counterexample.
    """
    counterexample, used = _search(rule, TRIES)
    if counterexample is not None:
        raise ArithmeticError(f"rule {rule.name} is wrong at {counterexample}")
    if same_quotient(rule.pattern, rule.replacement):
        return Evidence("proved", "algebra of rational functions")
    if by_sign(rule.pattern, rule.replacement):
        return Evidence("proved", "algebra of rational functions, for either sign")
    cases = list(_cases(rule))
    if cases and all(_zero(_meaning(rule.pattern, case), _meaning(rule.replacement, case)) for case in cases):
        return Evidence("proved", f"SymPy, {len(cases)} cases of sign" if len(cases) > 1 else "SymPy")
    return Evidence("enclosed", "both sides in ball arithmetic over the side condition", used)


def _cases(rule: Rule) -> Iterator[dict[str, Any]]:
    """Each variable replaced by plus or minus a positive symbol, shifted to where the condition allows it."""
    import sympy as sp

    free = sorted(names(rule.pattern))
    choices: list[list[Any]] = []
    for name in free:
        p = sp.Symbol(f"{name}_", positive=True)
        low, high = _bounds(rule, name)
        if low is not None and high is not None:
            choices.append([low + (high - low) * p / (1 + p)])
        elif low is not None:
            choices.append([low + p])
        elif high is not None:
            choices.append([high - p])
        else:
            choices.append([p, -p])
    for picked in itertools.product(*choices):
        case = dict(zip(free, picked))
        for c in rule.conditions:
            a, b = c.args
            if a.op == "var" and b.op == "var" and c.op in ("gt", "ge"):
                case[name_of(a)] = case[name_of(b)] + sp.Symbol(f"{name_of(a)}_over", positive=True)
            elif a.op == "var" and b.op == "var" and c.op in ("lt", "le"):
                case[name_of(b)] = case[name_of(a)] + sp.Symbol(f"{name_of(b)}_over", positive=True)
        yield case


def _bounds(rule: Rule, name: str) -> tuple[Any, Any]:
    import sympy as sp

    low = high = None
    for c in rule.conditions:
        a, b = c.args
        if a.op == "var" and name_of(a) == name and is_const(b):
            value = sp.Rational(number(b).numerator, number(b).denominator)
            if c.op in ("gt", "ge"):
                low = value
            elif c.op in ("lt", "le"):
                high = value
    return low, high


def _zero(left: Any, right: Any) -> bool:
    import sympy as sp

    if left is None or right is None:
        return False
    if isinstance(left, sp.Rel) and type(left) is type(right):
        return bool(sp.simplify((left.lhs - left.rhs) - (right.lhs - right.rhs)) == 0)
    try:
        difference = left - right
        if difference == 0 or sp.simplify(difference) == 0:
            return True
        if difference.has(sp.log):
            return bool(sp.simplify(sp.expand(sp.powsimp(sp.exp(sp.expand(difference)))) - 1) == 0)
        return bool(sp.simplify(difference.rewrite(sp.exp)) == 0)
    except (TypeError, ValueError, NotImplementedError, RecursionError):
        return False


_DIRECT = ("exp", "log", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sin", "cos", "tan", "asin", "acos", "atan",
           "erf", "erfc", "sqrt", "sign", "digamma")


def _meaning(term: Term, case: Mapping[str, Any]) -> Any:
    """The term as SymPy's, named functions by their meaning; None for what SymPy cannot decide."""
    import sympy as sp

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


def evidence(move: Move, arguments: tuple[Argument, ...]) -> tuple[Evidence, ...]:
    """Why a move is true: its rule's proof and its side conditions, or algebra, or balls."""
    if move.rule is not None:
        return (prove_rule(move.rule), *(_condition(c, arguments) for c in move.conditions))
    if move.name == "split":
        return (Evidence("proved", "both pieces are the same formula"),)
    if move.name == "absorb-infinity":
        return (Evidence("proved", "the factors agree wherever both are finite"),)
    if same_quotient(move.source, move.result):
        return (Evidence("proved", "algebra of rational functions"),)
    if by_sign(move.source, move.result):
        return (Evidence("proved", "algebra of rational functions, for either sign"),)
    return (_enclosed(move.source, move.result, arguments),)


def prove_step(step: Step, arguments: tuple[Argument, ...] = ()) -> tuple[Evidence, ...]:
    """Evidence for a finished step, from its rule where it has one, else from its two sides."""
    move = Move(step.rule, step.reason, step.reason_latex, step.before, step.after, step.source, step.result,
                rule=BY_NAME.get(step.rule))
    return evidence(move, arguments)


def _condition(condition: Term, arguments: tuple[Argument, ...]) -> Evidence:
    a, b = condition.args
    known = ranges(condition, arguments)
    if _certain(condition.op, known[a], known[b]):
        return Evidence("proved", "side condition by interval arithmetic")
    good = tried = 0
    for env in _sample(condition, arguments):
        found = _value(a, env), _value(b, env)
        if not any(math.isnan(v) for v in found):
            tried += 1
            good += _orders(condition.op, *found)
    return Evidence("enclosed", f"side condition holds at {good} of {tried} points", tried)


def _orders(op: str, a: float, b: float) -> bool:
    return bool({"gt": a > b, "ge": a >= b, "lt": a < b, "le": a <= b, "eq": a == b, "ne": a != b}[op])


def _certain(op: str, a: Range, b: Range) -> bool:
    if op in ("gt", "ge"):
        return a[0] > b[1] or (op == "ge" and a[0] >= b[1])
    if op in ("lt", "le"):
        return a[1] < b[0] or (op == "le" and a[1] <= b[0])
    return op == "ne" and (a[0] > b[1] or a[1] < b[0])


def _sample(term: Term, arguments: tuple[Argument, ...]) -> list[dict[str, float]]:
    used = {name_of(t) for t in leaves(term)}
    chosen = [a for a in arguments if a.name in used]
    if not chosen:
        return [{}]
    rng_columns = points.scalar_points(chosen, 4 * CHECKED, 11, FORMATS["float32"])
    count = len(next(iter(rng_columns.values())))
    rows = [{n: float(c[i]) for n, c in rng_columns.items()} for i in range(count)]
    moderate = [r for r in rows if all(abs(v) <= 64 and (abs(v) >= 2.0**-16) for v in r.values())]
    return moderate[:CHECKED] or rows[:CHECKED]


def _enclosed(a: Term, b: Term, arguments: tuple[Argument, ...]) -> Evidence:
    a, b = _numeric(a), _numeric(b)
    held = tried = 0
    for env in _sample(build("sub", a, b), arguments):
        tried += 1
        held += balls.overlaps(a, b, env)
    if held < tried:
        raise ArithmeticError(f"{a} and {b} differ")
    return Evidence("enclosed", "both sides in ball arithmetic", tried)


__all__ = ["check_rule", "evidence", "prove_rule", "prove_step", "same_quotient"]
