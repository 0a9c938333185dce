"""Wrong rules, derived mechanically from the registry: each must be refuted by the check of a rule.

    python bench/wrong_rules.py              every change of every rule; the table, and what stayed out
    python bench/wrong_rules.py --sample 60  a sample, spread over rules and kinds of change
    python bench/wrong_rules.py --rule NAME  one rule's changes

A changed rule may happen to be true. That is decided here by other means than the check's own:
the two sides in mpmath at points of other draws, to 80 digits.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import mpmath
from lossmith.derivations import refute
from lossmith.derivations.rules import RULES, Rule
from lossmith.derivations.terms import Term, const, is_const, make, name_of, neg, node, number, rebuild, walk

SIBLINGS: Mapping[str, tuple[str, ...]] = {
    "exp": ("expm1",), "expm1": ("exp",), "log": ("log1p",), "log1p": ("log",), "sinh": ("cosh", "asinh"),
    "cosh": ("sinh",), "tanh": ("sigmoid", "sinh"), "sigmoid": ("tanh", "softplus"), "softplus": ("exp",),
    "sin": ("cos",), "cos": ("sin",), "erf": ("erfc",), "erfc": ("erf",), "max": ("min",), "min": ("max",),
    "log1pmx": ("log1p",), "expm1mx": ("expm1",), "asinh": ("acosh",), "acosh": ("asinh",), "atanh": ("tanh",),
    "abs": ("sign",), "sign": ("abs",), "sqrt": ("exp",), "logaddexp": ("max",), "add": ("sub",), "sub": ("add",),
    "mul": ("div",), "div": ("mul",), "gt": ("lt",), "ge": ("lt",), "lt": ("gt",), "le": ("gt",),
}
POINTS, DRAWS, DIGITS = 160, 20_000, 80


@dataclass(frozen=True)
class Wrong:
    """A changed rule, and what was changed."""

    rule: Rule
    origin: str
    change: str


def changed_rules(names: Collection[str] = ()) -> Iterator[Wrong]:
    """Every change of every rule, in the order of the registry; of some rules where they are named."""
    for rule in RULES:
        if names and rule.name not in names:
            continue
        seen = {rule.replacement}
        for change, made in _changes(rule):
            if made not in seen and made is not rule.pattern and made.sort == rule.pattern.sort:
                seen.add(made)
                yield Wrong(_with(rule, change, replacement=made), rule.name, change)
        for change, conditions in _weakened(rule):
            yield Wrong(_with(rule, change, conditions=conditions), rule.name, change)


def _with(rule: Rule, change: str, **fields: Any) -> Rule:
    return replace(rule, name=f"{rule.name}: {change}", collected=frozenset(), **fields)


def _changes(rule: Rule) -> Iterator[tuple[str, Term]]:
    """The right side with one change at one place."""
    free = sorted({name_of(t) for t in walk(rule.pattern) if t.op == "var"})
    for path, t in _places(rule.replacement, ()):
        for kind, other in _others(t, free):
            try:
                yield f"{kind} at {'.'.join(map(str, path)) or 'the root'}", _put(rule.replacement, path, other)
            except ValueError:
                continue


def _places(term: Term, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Term]]:
    yield path, term
    for i, a in enumerate(term.args):
        yield from _places(a, (*path, i))


def _put(term: Term, path: tuple[int, ...], new: Term) -> Term:
    if not path:
        return new
    args = list(term.args)
    args[path[0]] = _put(args[path[0]], path[1:], new)
    return rebuild(term, tuple(args))


def _others(t: Term, free: list[str]) -> Iterator[tuple[str, Term]]:
    if t.sort == "scalar":
        yield "sign", neg(t)
        yield "factor 2", make("mul", const(2), t)
    if is_const(t):
        yield "one more", const(number(t) + 1)
        yield "one less", const(number(t) - 1)
    if t.op == "var":
        for name in free:
            if name != name_of(t):
                yield f"{name_of(t)} for {name}", node("var", (), name)
    if t.op in ("sub", "div", "pow"):
        yield "arguments swapped", make(t.op, t.args[1], t.args[0])
    for sibling in SIBLINGS.get(t.op, ()):
        yield f"{sibling} for {t.op}", make(sibling, *t.args)


def _weakened(rule: Rule) -> Iterator[tuple[str, tuple[Term, ...]]]:
    """The conditions with one dropped, its edge included, its number one lower or higher, or turned around."""
    for i, c in enumerate(rule.conditions):
        rest = (*rule.conditions[:i], *rule.conditions[i + 1:])
        shown = f"{c}"
        yield f"{shown} dropped", rest
        if c.op in ("gt", "lt"):
            yield f"edge of {shown}", (*rest, make({"gt": "ge", "lt": "le"}[c.op], *c.args))
        if c.op in ("gt", "ge", "lt", "le"):
            turned = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}[c.op]
            yield f"{shown} turned", (*rest, make(turned, *c.args))
        if is_const(c.args[1]) and c.op != "ne":
            step = -1 if c.op in ("gt", "ge") else 1
            yield f"{shown} widened", (*rest, make(c.op, c.args[0], const(number(c.args[1]) + step)))


# Deciding by other means. Real functions in mpmath; NaN for what is not real.
Real = Any


def _real(f: Callable[..., Any]) -> Callable[..., Real]:
    def g(*args: Real) -> Real:
        try:
            out = f(*args)
        except (ValueError, ZeroDivisionError, OverflowError):
            return mpmath.nan
        return out if isinstance(out, mpmath.mpf) else mpmath.nan

    return g


_MP: Mapping[str, Callable[..., Real]] = {name: _real(f) for name, f in {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "neg": lambda a: -a, "pow": lambda a, b: mpmath.mpf(1) if b == 0 else a**b, "abs": abs,
    "max": max, "min": min, "sign": mpmath.sign, "sqrt": mpmath.sqrt, "exp": mpmath.exp,
    "expm1": lambda a: mpmath.exp(a) - 1, "log": mpmath.log, "log1p": lambda a: mpmath.log(1 + a),
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "asinh": mpmath.asinh, "acosh": mpmath.acosh,
    "atanh": mpmath.atanh, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "asin": mpmath.asin,
    "acos": mpmath.acos, "atan": mpmath.atan, "erf": mpmath.erf, "erfc": mpmath.erfc, "digamma": mpmath.digamma,
    "lgamma": lambda a: mpmath.log(abs(mpmath.gamma(a))), "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log(1 + mpmath.exp(a)),
    "logaddexp": lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)),
    "xlogy": lambda a, b: mpmath.mpf(0) if a == 0 else a * mpmath.log(b),
    "log1pmx": lambda a: mpmath.log(1 + a) - a, "expm1mx": lambda a: mpmath.exp(a) - 1 - a,
    "clip": lambda a, b, c: min(max(a, b), c), "clip_through": lambda a, b, c: min(max(a, b), c),
    "absorb": lambda a, b: a * b, "gap": lambda a, b: a - b, "exp_diff": lambda a, b: mpmath.exp(a - b),
    "exp2": lambda a: mpmath.mpf(2) ** a, "log2": lambda a: mpmath.log(a) / mpmath.log(2), "log10": mpmath.log10,
    "atan2": mpmath.atan2, "gamma": mpmath.gamma, "erfcx": lambda a: mpmath.exp(a * a) * mpmath.erfc(a),
}.items()}
_ORDER: Mapping[str, Callable[[Real, Real], bool]] = {
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
}


def mp_value(term: Term, env: Mapping[str, Real]) -> Real:
    """The term at a point; NaN where it is not a real number. Raises KeyError for an operation not known here."""
    if term.op == "const":
        return mpmath.mpf(number(term).numerator) / number(term).denominator
    if term.op == "pi":
        return +mpmath.pi
    if term.op == "var":
        return env[name_of(term)]
    if term.op == "where":
        return mp_value(term.args[1 if mp_value(term.args[0], env) else 2], env)
    args = [mp_value(a, env) for a in term.args]
    if any(mpmath.isnan(a) for a in args):
        return mpmath.nan
    return mpmath.mpf(_ORDER[term.op](*args)) if term.op in _ORDER else _MP[term.op](*args)


def witness(rule: Rule) -> dict[str, float] | None:
    """A point of the condition at which the left side is a number and the right side is not that number."""
    rng = random.Random(101)
    free = sorted({name_of(t) for t in walk(rule.pattern) if t.op == "var"})
    with mpmath.workdps(DIGITS):
        seen = 0
        for i in range(DRAWS):
            env = {n: _draw(n, i, rng) for n in free}
            point = {n: mpmath.mpf(v.numerator) / v.denominator for n, v in env.items()}
            if not all(mp_value(c, point) for c in rule.conditions):
                continue
            seen += 1
            if seen > POINTS:
                return None
            left, right = mp_value(rule.pattern, point), mp_value(rule.replacement, point)
            # A right side without a value counts where nothing is special; 0/0 at a tie is a limit.
            if mpmath.isfinite(left) and (abs(left - right) > 1e-20 * max(abs(left), abs(right)) + 1e-45
                                          if mpmath.isfinite(right) else i % 2 == 0) and _settled(rule.pattern, env):
                return {n: float(v) for n, v in env.items()}
    return None


def _settled(term: Term, env: Mapping[str, Fraction]) -> bool:
    """Whether the value is one, and not a pole that the digits of pi just miss."""
    found = []
    for digits in (DIGITS, DIGITS + 20):
        with mpmath.workdps(digits):
            found.append(mp_value(term, {n: mpmath.mpf(v.numerator) / v.denominator for n, v in env.items()}))
    return bool(abs(found[0] - found[1]) <= 1e-20 * abs(found[1]))


def _draw(name: str, i: int, rng: random.Random) -> Fraction:
    if name in "nmk":
        return Fraction(rng.choice((1, 2, 3, -1, -2, 5)), rng.choice((1, 1, 2)))
    if i % 2:
        return Fraction(rng.randint(-6, 6), rng.choice((1, 2)))
    return Fraction(rng.gauss(0, 1.5)) if i % 4 else Fraction(rng.random())


def sampled(count: int) -> list[Wrong]:
    """About `count` changed rules, spread evenly over the whole list."""
    found = list(changed_rules())
    step = max(1, len(found) // count)
    return found[step // 2::step]


def judged(wrong: Wrong) -> tuple[str, dict[str, float] | None]:
    """'caught', 'missed' (with a witness), or 'true' for a change that makes no difference."""
    if refute.counterexample(wrong.rule)[0] is not None:
        return "caught", None
    point = witness(wrong.rule)
    return ("true", None) if point is None else ("missed", point)


def _kind(change: str) -> str:
    words = change.split(" at ")[0]
    for mark in ("dropped", "turned", "widened"):
        if words.endswith(mark):
            return f"condition {mark}"
    if words.startswith("edge of"):
        return "condition: edge included"
    if " for " in words:
        return "another variable" if len(words.split(" for ")[0]) == 1 else "another function"
    return words


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Wrong rules, and whether the check of a rule catches them.")
    parser.add_argument("--sample", type=int, help="this many of them (default: all)")
    parser.add_argument("--rule", action="append", default=[], help="this rule alone; may be given again")
    parser.add_argument("--true", action="store_true", help="list the changes that make no difference")
    chosen = parser.parse_args(arguments)
    started, table, missed = time.monotonic(), Counter[tuple[str, str]](), []
    for wrong in sampled(chosen.sample) if chosen.sample else changed_rules(chosen.rule):
        verdict, point = judged(wrong)
        table[_kind(wrong.change), verdict] += 1
        if verdict == "missed":
            missed.append(f"{wrong.rule.name}  at {point}")
        if verdict == "true" and chosen.true:
            print("true:", wrong.rule.name)
    print(f"{'change':28}{'caught':>8}{'missed':>8}{'true':>8}")
    for kind in sorted({k for k, _ in table}):
        print(f"{kind:28}" + "".join(f"{table[kind, v]:8}" for v in ("caught", "missed", "true")))
    totals = {v: sum(n for (_, w), n in table.items() if w == v) for v in ("caught", "missed", "true")}
    print(f"{'all':28}" + "".join(f"{n:8}" for n in totals.values()) + f"   {time.monotonic() - started:.0f} s")
    print(*missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
