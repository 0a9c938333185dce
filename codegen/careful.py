"""Where a form alone breaks the promise of the fast tier, those of its operations that lose most are computed finer.

A stable form may lose more ulps than the fast tier promises: an exponential multiplies the rounding of its argument, a
sum that cancels a little passes on what its terms have lost, and five operations in a row each add theirs. Such a
form is run at points that seek trouble, every operation correctly rounded, and what it loses is weighed against its
price while parts of it are computed with the rest of a sum kept, or in twice the digits and rounded once.

What is measured are ulps of float32 against float64; a form loses the same of them in float64, where truth is dear.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from fractions import Fraction

import numpy as np
from lossmith.codegen.kernel import Elementwise, Input, Kernel, Program
from lossmith.codegen.lower import share
from lossmith.derivations import points
from lossmith.derivations.domains import Domain, inside, parse_domain
from lossmith.derivations.evaluate import SIMPLE, Evaluator
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import COSTS, FUNCTION_COST
from lossmith.derivations.precise import LARGEST_POWER, spelled
from lossmith.derivations.terms import COMPARISONS, Term, is_const, make, neg, node, number, replace, var, walk
from lossmith.derivations.ulp import FORMATS, Doubles, round_fraction, ulp_of

PROMISED = {"float32": (4.0, 6.0), "float64": (2.0, 4.0)}  # ulps: loss and gradients; second derivatives
SPARED = 0.9  # of what is promised, the part that is aimed at
DEAR = 1.05  # from how many times what is promised on float64 is worth its price to float32
ENOUGH = 100.0  # the gain of what suffices, in powers of e
SHAKEN = 0.25  # ulps that a target's functions are taken to lose beyond rounding
COUNT, TURNING, NUDGES = 1500, 60, 8  # points; pairs on either side of each threshold, and points near each of those
HALVINGS, REACH = 64, 24  # how a pair is brought together; units in the last place that a point is moved by
WORK, FEW, STEPS = 2400, 8, 4  # operations run and parts tried at a time; how many parts are computed finer, at most
HARM = 1.5  # times as many ulps as before: more at any point, be it excused, is no gain
LEAST = 0.93  # of the error that is left when a part is worth its price
WIDE = 3.0  # what an operation costs in float64, as many times as in float32
FUNCTIONS = frozenset({"exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh"})
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg", "pow"})
WITHIN = ARITHMETIC | FUNCTIONS | {"abs", "max", "min", "sqrt"}  # what is done in float64
FREE = frozenset({"neg", "abs", "max", "min"})  # these do not round
SPELLED = frozenset({"precise", "wide"})  # these hold a formula
MOST_NODES, MOST_LEAVES = 30, 6
F32 = FORMATS["float32"]
Columns = Mapping[str, Doubles]


def carefully(kernel: Kernel, format_name: str) -> Kernel:
    """The kernel with parts of it computed finer, where its form alone would break what is promised of a format; rows
    are left as they are. Of float64 only what is nearly free: pairs would take several times as long."""
    if not isinstance(kernel, Elementwise) or not all(i.kind in ("scalar", "parameter") for i in kernel.inputs):
        return kernel
    outputs = _whole(kernel.program)
    found = _Bench(kernel.inputs, outputs, format_name).improved()
    if found == outputs:
        return kernel
    return changed(kernel, program=share(found, [*(i.name for i in kernel.inputs), *found]))


def _whole(program: Program) -> dict[str, Term]:
    """The outputs with temporaries put in."""
    known: dict[Term, Term] = {}
    for let in program.lets:
        known[var(let.name)] = replace(let.term, known)
    return {name: replace(t, known) for name, t in program.outputs.items()}


@dataclass
class _Bench:
    """The points at which the outputs of a kernel are run, and what they lose there."""

    inputs: Sequence[Input]
    outputs: Mapping[str, Term]
    format_name: str
    columns: Columns = field(init=False)

    def __post_init__(self) -> None:
        drawn = points.scalar_points([_argument(i) for i in self.inputs], COUNT, 0, F32)
        drawn |= {i.name: np.full(COUNT, _default(i)) for i in self.inputs if i.kind == "parameter"}
        self.columns = self._beside_thresholds(drawn)
        self.exact = {n: self._run(t, self.columns, "float64") for n, t in self.outputs.items()}
        self.excuse = self._excuses()

    def improved(self) -> dict[str, Term]:
        """The outputs, those that lose too much with parts computed finer."""
        now = dict(self.outputs)
        for name in self.outputs:
            for _ in range(STEPS):
                better = self._step(name, now[name])
                if better is None:
                    break
                now = {n: replace(t, {better[0]: better[1]}) for n, t in now.items()}
        return now

    def lost(self, name: str, term: Term) -> float:
        """The most ulps that a form of an output loses, those that its condition explains apart."""
        return self._worst(name, self._losses(name, term))

    def _step(self, name: str, term: Term) -> tuple[Term, Term] | None:
        """The part to be computed finer, and how: the cheapest that suffices, else the one that gains most."""
        promised = PROMISED[self.format_name][name.startswith("hessian")]
        before = self._losses(name, term)
        lost = self._worst(name, before)
        if lost <= promised:
            return None
        ways = (ARITHMETIC, WITHIN) if self.format_name == "float32" and lost > DEAR * promised else ()
        allowed = np.maximum(HARM * before, max(2 * promised, lost / 2))
        price, best = _price(term), 0.0
        chosen: tuple[Term, Term] | None = None
        for part, finer in itertools.islice(_finer(term, ways), max(FEW, WORK // len(walk(term)))):
            tried = replace(term, {part: finer})
            after = self._losses(name, tried)
            left = max(self._worst(name, after), SPARED * promised)
            if left >= LEAST * lost or np.any(after > allowed):
                continue
            gain = ENOUGH if left <= SPARED * promised else math.log(lost / left)
            worth = gain / max(_price(tried) - price, 1.0)
            if worth > best:
                best, chosen = worth, (part, finer)
        return chosen

    def _losses(self, name: str, term: Term) -> Doubles:
        return self._ulps(name, self._run(term, self.columns, "float32"))

    def _worst(self, name: str, losses: Doubles) -> float:
        return float((losses / (1 + self.excuse[name])).max())

    def _run(self, term: Term, columns: Columns, fmt: str) -> Doubles:
        size = len(next(iter(columns.values())))
        run = Evaluator(columns) if fmt == "float64" else _Shaken(columns, F32)
        return np.broadcast_to(np.asarray(run(term), np.float64), (size,))

    def _ulps(self, name: str, other: Doubles) -> Doubles:
        exact = self.exact[name]
        with np.errstate(all="ignore"):
            lost = np.abs(other - exact) / ulp_of(exact, F32)
        return np.where(np.isfinite(lost) & (np.abs(exact) <= F32.largest), lost, 0.0)

    def _excuses(self) -> dict[str, Doubles]:
        """Near a root: by how many ulps truth moves when inputs move by half an ulp. Elsewhere 0."""
        condition = {n: np.zeros_like(v) for n, v in self.exact.items()}
        beside = {n: np.zeros(v.shape, bool) for n, v in self.exact.items()}
        for given in (i for i in self.inputs if i.kind == "scalar"):
            domain, held = parse_domain(given.domain), self.columns[given.name]
            for by, near in ((ulp_of(held, F32) / 2, False), (-held / 2, True), (held / 2, True), (held, True)):
                there = {**self.columns, given.name: _within(domain, held, held + by)}
                for n, term in self.outputs.items():
                    moved = self._run(term, there, "float64")
                    if near:
                        beside[n] |= np.sign(moved) * np.sign(self.exact[n]) <= 0
                    else:
                        condition[n] += self._ulps(n, moved)
        return {n: np.where(beside[n], condition[n], 0.0) for n in self.outputs}

    def _beside_thresholds(self, drawn: Columns) -> Columns:
        """The points, and some on either side of each place at which a form turns: pairs of points that a comparison
        tells apart, moved towards each other."""
        tests = [t for t in walk(*self.outputs.values()) if t.op in COMPARISONS]
        fixed = [i.name for i in self.inputs if i.kind == "parameter" or parse_domain(i.domain).values]
        columns = {n: [v] for n, v in drawn.items()}
        rng = np.random.default_rng(COUNT)
        for test in tests[:8]:
            holds = self._run(test, drawn, "float64") != 0
            low, high = (rng.permutation(np.flatnonzero(side)) for side in (holds, ~holds))
            size = min(len(low), len(high), TURNING)
            a, b = ({n: v[places[:size]] for n, v in drawn.items()} for places in (low, high))
            b |= {n: a[n] for n in fixed}
            for _ in range(HALVINGS if size else 0):
                middle = {n: _rounded(a[n] / 2 + b[n] / 2) for n in a}
                at = self._run(test, middle, "float64") != 0
                a = {n: np.where(at, middle[n], a[n]) for n in a}
                b = {n: np.where(at, b[n], middle[n]) for n in b}
            for end in (a, b):
                for n, held in columns.items():
                    held.append(self._nudged(n, np.tile(end[n], NUDGES), rng, n not in fixed))
        return {n: np.concatenate(v) for n, v in columns.items()}

    def _nudged(self, name: str, values: Doubles, rng: np.random.Generator, moves: bool) -> Doubles:
        """Values, most of them moved by a few units in their last place."""
        if not moves:
            return values
        steps = rng.integers(-REACH, REACH + 1, values.size) * rng.integers(0, 2, values.size)
        domain = next(parse_domain(i.domain) for i in self.inputs if i.name == name)
        return _within(domain, values, _rounded(values + steps * ulp_of(values, F32)))


class _Shaken(Evaluator):
    """Operations correctly rounded, functions off by a little more, to either side."""

    def _compute(self, t: Term) -> Doubles:
        if t.op not in FUNCTIONS:
            return super()._compute(t)
        value = SIMPLE[t.op](*self._aligned(t))
        side = np.where(np.asarray(value, np.float32).view(np.int32) & 1, SHAKEN, -SHAKEN)
        return self._round(value + side * ulp_of(value, self.fmt))


def _rounded(values: Doubles) -> Doubles:
    return values.astype(np.float32).astype(np.float64)


def _argument(given: Input) -> Argument:
    return Argument(given.name, "input" if given.role == "tangent" else given.role, parse_domain(given.domain))


def _default(given: Input) -> float:
    return F32.eps if given.default == "eps" else round_fraction(Fraction(given.default or "1"), F32)


def _within(domain: Domain, held: Doubles, values: Doubles) -> Doubles:
    """The moved values, those that were not in the domain as they were held."""
    return np.where(inside(domain, values), values, held)


def _price(term: Term) -> float:
    """What a form costs; what is computed in float64 several times as much."""
    def of(t: Term) -> float:
        return COSTS.get(t.op, FUNCTION_COST)

    return sum(WIDE * sum(map(of, walk(spelled(t)))) if t.op in SPELLED else of(t) for t in walk(term))


def _finer(term: Term, ways: Sequence[frozenset[str]]) -> Iterator[tuple[Term, Term]]:
    """Parts of a form, each with a finer way of computing it; the outermost first. ways: what twice the digits may
    reach, below the operation that a part begins with."""
    for t in reversed(walk(term)):
        for finer in (_kept_apart(t), *(_wide(t, way) for way in ways)):
            if finer is not None:
                yield t, finer


def _kept_apart(t: Term) -> Term | None:
    """exp of a sum as `exp_diff`, which keeps what rounding the sum takes; a scale that is a power of two is exact."""
    if t.op != "exp":
        return None
    scale, inner = Fraction(1), t.args[0]
    while inner.op == "neg" or (inner.op == "mul" and any(_power_of_two(a) for a in inner.args)):
        if inner.op == "neg":
            scale, inner = -scale, inner.args[0]
        else:
            at = next(i for i, a in enumerate(inner.args) if _power_of_two(a))
            scale, inner = scale * number(inner.args[at]), inner.args[1 - at]
    if inner.op not in ("add", "sub"):
        return None
    left, right = (_scaled(a, scale) for a in inner.args)
    return make("exp_diff", left, right if inner.op == "sub" else neg(right))


def _scaled(t: Term, by: Fraction) -> Term:
    if by == 1:
        return t
    return neg(_scaled(t, -by)) if by < 0 else make("mul", t, _number(by))


def _number(value: Fraction) -> Term:
    return node("const", (), value)


def _power_of_two(t: Term) -> bool:
    if not is_const(t) or not number(t):
        return False
    value = abs(number(t))
    return value.numerator & (value.numerator - 1) == 0 and value.denominator & (value.denominator - 1) == 0


def _wide(term: Term, way: frozenset[str]) -> Term | None:
    """A part in twice the digits, rounded once, down to what is not of the `way`. None where fewer than two operations
    would round, or it is too long."""
    leaves: list[Term] = []
    inside: list[Term] = []

    def visit(t: Term) -> None:
        if t in inside or t in leaves or t.op in ("const", "pi"):
            return
        held = (t.op in way or (t is term and t.op in WITHIN)) and (t.op != "pow" or _whole_power(t))
        (inside if held else leaves).append(t)
        for a in (t.args[:1] if t.op == "pow" else t.args) if held else ():
            visit(a)

    visit(term)
    rounding = sum(t.op not in FREE for t in inside)
    if rounding < 2 or len(inside) > MOST_NODES or not 0 < len(leaves) <= MOST_LEAVES:
        return None
    if any(t.op in SPELLED or t.sort == "truth" for t in inside) or any(t.sort == "truth" for t in leaves):
        return None
    return node("wide", tuple(leaves), _written(term, leaves))


def _whole_power(t: Term) -> bool:
    return is_const(t.args[1]) and number(t.args[1]).denominator == 1 and 2 <= number(t.args[1]) <= LARGEST_POWER


def _written(t: Term, leaves: Sequence[Term]) -> str:
    if t in leaves:
        return f"${leaves.index(t)}"
    if t.op in ("const", "pi"):
        return str(number(t)) if t.op == "const" else "pi"
    return f"({' '.join([t.op, *(_written(a, leaves) for a in t.args)])})"
