"""The beam: the pool of candidate forms of one formula, grown by rules, ordered by measured error.

Every candidate is measured in the form that a machine computes, every operation rounded, on the
points of every format. Bounded by counts of candidates, so that the answer is the same on every
machine; the clock only stops what has gone out of hand.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from lossmith.derivations import evaluate
from lossmith.derivations.expanding import expanded, is_series, series_of
from lossmith.derivations.guards import guard
from lossmith.derivations.integrals import integrated
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import cost, expansion, machine, names_left
from lossmith.derivations.match import Rewrite, index, rewrites
from lossmith.derivations.measure import Judge, bits
from lossmith.derivations.moves import Move, from_rewrite, from_seed, outside, without_choices
from lossmith.derivations.polynomial import collect, ordered, unordered
from lossmith.derivations.precise import WAYS, doubled
from lossmith.derivations.rules import RULES
from lossmith.derivations.seeds import paired, recognized, seeds, steadied, towards_one
from lossmith.derivations.singular import patched
from lossmith.derivations.tails import NAME as HALVED
from lossmith.derivations.tails import halved
from lossmith.derivations.terms import Term, nodes_count, replace, walk
from lossmith.derivations.ulp import FORMATS, Doubles

BEAM, DEPTH, AFTER = 16, 7, 2  # candidates kept a round, rounds, and rounds after the target is met
PER_ULP, PER_STEP = 1.5, 1.25  # what an ulp and a step of derivation weigh beside the cost of a kernel
CLOSE = 6.0  # what it weighs to come close to the target
CONTRACT = 2.0  # ulp: what a float64 kernel of a loss is held to
NEARLY = 2.0**16  # times the smallest normal number: a value below may be a tail
HEALED = 12  # leading candidates in which limits are put where a quotient is 0 / 0
DOUBLED = 16  # leading candidates that are tried in twice the digits, where no form meets the target
POOR, ROUNDINGS = 200, 4.0  # points that may be excused; what a few roundings near a root may cost in any case
LEADING, ROOTS = 60, 240  # candidates that say where roots are near, and at how many points they may
EXPANDED = (1, 3)  # the rounds in which series are tried, where nothing is good yet
FIRST = 0.4  # of the work that the first round may do: series come after it
GROWTH = 80  # a candidate may be this much larger than what it came from
LAST = frozenset({"square-apart"})  # rules that fit so much that they are tried only where nothing is good in the end
_rules = index([r for r in RULES if r.name not in LAST])
_last_rules = index([r for r in RULES if r.name in LAST])


@dataclass(eq=False)
class Candidate:
    """One form: how it was reached, what the machine computes for it (guarded), and its errors in bits."""

    term: Term
    form: Term
    moves: tuple[Move, ...]
    bits: Doubles
    cost: float
    serial: int

    @property
    def worst(self) -> float:
        return float(self.bits.max())

    @property
    def score(self) -> tuple[float, int]:
        """The order of the beam: the mean has a slope where the worst point has none."""
        return float(self.bits.mean()) + 0.15 * self.worst + 0.004 * self.cost, self.serial


@dataclass
class Budget:
    """How much work is allowed: nodes of measured forms. The clock, which counts this process alone, is for
    emergencies, and they are counted: what it has stopped is not what another run would find."""

    stopped: ClassVar[int] = 0

    nodes: int
    seconds: float
    used: int = 0
    started: float = field(default_factory=time.process_time)
    began: float = field(default_factory=time.monotonic)

    def spent(self) -> bool:
        return self.used >= self.nodes or self.late()

    def late(self) -> bool:
        # The clock on the wall is cheap to read, and no process has had more time than that.
        late = time.monotonic() - self.began > self.seconds < time.process_time() - self.started
        Budget.stopped += late
        return late


@dataclass
class Search:
    """The pool of candidates for one formula, and the beam over it."""

    definition: Term
    judge: Judge
    arguments: tuple[Argument, ...]
    budget: Budget
    target: float
    pool: dict[int, Candidate] = field(default_factory=dict)
    expanded: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.healed: set[int] = set()
        self.halved: set[int] = set()
        self.nested = False
        self.integrated = False
        self.strict = np.ones(self.judge.count)
        self.allowance = self.strict
        self.moderate = _moderate(self.judge)

    def holds(self, conditions: Iterable[Term]) -> bool:
        """Whether side conditions hold on the moderate points (they are proved on the final path only)."""
        return hold(self.moderate, conditions)

    def admit(self, term: Term, moves: tuple[Move, ...]) -> Candidate | None:
        """Measure a new form; None if an equally rounding one is known."""
        key = ordered(term).id
        if key in self.pool:
            return None
        form = guard(machine(term), self.arguments)
        made = Candidate(term, form, moves, bits(self.judge.ulps(form)), cost(form), len(self.pool))
        self.pool[key] = made
        self.budget.used += nodes_count(form)
        return made

    def plant(self, start: Term, moves: tuple[Move, ...]) -> None:
        """A starting form with what recognition and the normal forms make of it."""
        self.admit(start, moves)
        first, given, grown = start, moves, moves
        for step in towards_one(start, lambda r: self.holds(r.conditions)):
            grown = (*grown, from_rewrite(step))
            self.admit(step.after, grown)
        for step in recognized(start, lambda r: self.holds(r.conditions)):
            moves = (*moves, from_rewrite(step))
            self.admit(step.after, moves)
            start = step.after
        self.steady(start, moves)
        self.sow(start, moves)
        if moves != given:  # what is recognized may hide what is rational
            self.sow(first, given)

    def sow(self, start: Term, moves: tuple[Move, ...]) -> None:
        """The normal forms of one starting form, with what recognition makes of each."""
        for seed in seeds(start):
            grown = (*moves, from_seed(seed))
            if self.admit(seed.term, grown) is None:
                continue
            for step in recognized(seed.term, lambda r: self.holds(r.conditions)):
                grown = (*grown, from_rewrite(step))
                self.admit(step.after, grown)

    def steady(self, start: Term, moves: tuple[Move, ...]) -> None:
        """What the rules that are good everywhere make of a form, step by step; other pairings first."""

        def allowed(r: Rewrite) -> bool:
            return self.holds(r.conditions)

        ways = [(start, moves), *((step.after, (*moves, from_rewrite(step))) for step in paired(start, allowed))]
        for term, way in ways:
            for step in steadied(term, allowed):
                way = (*way, from_rewrite(step))
                self.admit(step.after, way)

    def grow(self, parent: Candidate) -> None:
        """Every rewrite of one candidate."""
        self.expanded.add(parent.serial)
        self.steady(parent.term, parent.moves)
        for step in _all_rewrites(parent.term):
            if self.budget.spent():
                return
            if step.after.size > 3 * parent.term.size + GROWTH or ordered(step.after).id in self.pool:
                continue
            if step.conditions and not self.holds(step.conditions):
                continue
            self.admit(step.after, (*parent.moves, from_rewrite(step)))

    def heal(self) -> None:
        """Limits put in where the leading candidates are 0 / 0 and truth is not."""
        leaders = sorted(self.pool.values(), key=lambda c: c.score)[:HEALED]
        for c in leaders:
            if c.serial in self.healed or self.budget.spent():
                continue
            self.healed.add(c.serial)
            undefined = np.isnan(self.judge.value(c.form)) & np.isfinite(self.judge.truth)
            if 0 < undefined.sum() <= self.judge.count // 3:
                for move in patched(c.term):
                    self.admit(move.after, (*c.moves, move))

    def resort(self) -> None:
        """The leading candidates by the rules of last resort."""
        for c in sorted(self.pool.values(), key=lambda c: c.score)[:HEALED]:
            for step in rewrites(c.term, _last_rules):
                self.admit(step.after, (*c.moves, from_rewrite(step)))

    def halve(self) -> None:
        """The exponentials of the leading candidates in halves, where these fail and truth, or such an exponential,
        is nearly nothing."""
        small = [np.abs(self.judge.truth[place]) < fmt.tiny * NEARLY for fmt, place in self.judge.stretches]
        tail = np.concatenate(small) & (self.judge.truth != 0)
        limit = np.log2(1 + self.target)
        for c in sorted(self.pool.values(), key=lambda c: c.score)[:HEALED]:
            if c.serial in self.halved or self.budget.late():
                continue
            failing = c.bits > limit
            if not np.any(failing & tail) and not np.any(failing & self._faint(c)):
                continue
            self.halved.add(c.serial)
            for term, moves in self.machines(c):
                for more in halved(term):
                    self.admit(more[-1].after, (*moves, *more))

    def _faint(self, c: Candidate) -> npt.NDArray[np.bool_]:
        """The points at which an exponential of a candidate has lost digits, or vanished."""
        least = np.min([self.judge.value(t) for t in walk(c.form) if t.op in ("exp", "exp_diff")]
                       or [np.ones(self.judge.count)], axis=0)
        return np.concatenate([least[place] < fmt.tiny for fmt, place in self.judge.stretches])

    def expand(self) -> int:
        """Taylor polynomials beside the leading forms; how many new forms that makes."""
        before = len(self.pool)
        for term, moves in expanded(self):
            self.admit(term, moves)
        return len(self.pool) - before

    def integrate(self) -> bool:
        """Integrals of slopes beside the leading forms, once, where none is good; whether that is new."""
        before = len(self.pool)
        if self.nested or self.integrated or len(self.judge.env) < 2 or self.budget.late():
            return False
        self.integrated = True
        for term, moves in integrated(self):
            found = self.admit(term, moves)
            if found is not None:
                self.expanded.add(found.serial)  # an end: rules would take the sum apart
        if len(self.pool) > before:
            self.excuse(fully=True)
        return len(self.pool) > before

    def within(self, definition: Term, judge: Judge, work: int, target: float) -> Search:
        """A search of its own for a part of an answer, when it has run."""
        inner = Search(definition, judge, self.arguments, Budget(work, self.budget.seconds / 4), target)
        inner.nested = True
        inner.plant(definition, ())
        inner.run()
        return inner

    def double(self) -> bool:
        """The leading forms in twice the digits, where none meets the target without excuse; whether that is new."""
        before, limit = len(self.pool), np.log2(1 + self.target)
        if any(c.worst <= limit for c in self.pool.values()):
            return False
        for c in self._to_double():
            for term, moves in self.machines(c):
                kept = functools.partial(is_series, known=series_of(moves))
                for begin in WAYS:
                    made = doubled(term, begin, kept)
                    found = self.admit(made, (*moves, Move.twice(term, made))) if made is not term else None
                    if found is not None:
                        self.expanded.add(found.serial)  # an end: rules have nothing to hold on to
        if len(self.pool) > before:
            self.excuse(fully=True)
        return len(self.pool) > before

    def _to_double(self) -> list[Candidate]:
        """The leading candidates, the first that each other set of few steps led to, and some in halves.

        Of sums that differ in their order alone the first: in twice the digits they are the same.
        """
        first: dict[object, Candidate] = {}
        for c in sorted(self.pool.values(), key=lambda c: c.score):
            first.setdefault(unordered(c.term), c)
        order = list(first.values())
        ways: dict[frozenset[str], Candidate] = {}
        for c in order:
            ways.setdefault(frozenset(m.name for m in c.moves), c)
        leading = order[:DOUBLED]
        others = sorted((c for c in ways.values() if c not in leading), key=lambda c: (len(c.moves), c.score))
        in_halves = [c for c in others if any(m.name == HALVED for m in c.moves)]
        return _unique([*leading, *others[:DOUBLED], *in_halves[: DOUBLED // 4]])

    def machines(self, c: Candidate) -> Iterator[tuple[Term, tuple[Move, ...]]]:
        """A candidate's term, and its machine form where that is another, with the moves to each."""
        yield c.term, c.moves
        moves = (*c.moves, *map(from_rewrite, expansion(c.term)))
        if moves != c.moves:
            yield moves[-1].after, moves

    def front(self) -> list[Candidate]:
        """The next candidates to grow: two thirds by score, the rest by coverage of the points still lost."""
        waiting = sorted((c for c in self.pool.values() if c.serial not in self.expanded), key=lambda c: c.score)
        chosen = waiting[: 2 * BEAM // 3]
        rest = waiting[2 * BEAM // 3: 1500]
        if not rest:
            return chosen
        covered = np.min([c.bits for c in chosen], axis=0)
        table = np.array([c.bits for c in rest])
        while len(chosen) < BEAM:
            gain = np.maximum(covered - table, 0).sum(axis=1)
            best = int(np.argmax(gain))
            if gain[best] <= 0:
                break
            covered = np.minimum(covered, table[best])
            chosen.append(rest[best])
        return chosen

    def excuse(self, fully: bool = False) -> None:
        """Allow each point what its own conditioning costs, as far as no candidate does better.

        Fully: where the leading candidates fail, all that conditioning costs. A single form that
        loses no more than its inputs do is worth more than pieces chosen point by point.
        """
        pool = sorted(self.pool.values(), key=lambda c: c.score)[:60]
        table = 2.0 ** np.array([c.bits for c in pool]) - 1
        self.strict = np.ones(self.judge.count)
        # The best of a pool at one point is luck when many take part: the seventh part of the leaders is not.
        reached = np.sort(table, axis=0)[len(pool) // 7]
        best = np.median(table, axis=0)
        poor = np.nonzero(best > self.target)[0]
        for i in poor[np.argsort(-best[poor], kind="stable")][:POOR].tolist():
            least = ROUNDINGS if self.judge.truth[i] != 0 and self.judge.near_root(i) else 0.0
            self.strict[i] = max(1.0, min(self.judge.excused(i), max(least, float(reached[i]) / 2)))
        self.allowance = self.strict.copy()
        for errors in table[:10] if fully and not self.good() else ():
            failing = np.nonzero((errors > self.target * self.allowance) & (self.judge.truth != 0))[0]
            for i in failing.tolist() if len(failing) <= self.judge.count // 3 else ():
                if self.judge.near_root(i):
                    self.allowance[i] = max(self.allowance[i], self.judge.excused(i))

    def lenient(self) -> Doubles:
        """The allowance with all that conditioning costs near roots, where a leading candidate loses anything."""
        allowance, limit = self.allowance.copy(), np.log2(1 + self.target / 2)
        pool = list(self.pool.values())
        poor = np.array([c.bits for c in pool]) > limit
        order = np.lexsort(([c.cost for c in pool], poor.sum(axis=1) // 8))[:LEADING]
        failing = np.where(self.judge.truth != 0, poor[order].sum(axis=0), 0)
        for i in np.argsort(-failing, kind="stable")[:ROOTS].tolist():
            if failing[i] and self.judge.near_root(i):
                allowance[i] = max(allowance[i], self.judge.excused(i))
        return allowance

    def errors(self, c: Candidate) -> Doubles:
        """A candidate's errors in ulp, each point's divided by its allowance."""
        return np.asarray((2.0**c.bits - 1) / self.allowance, dtype=np.float64)

    def ulp(self, c: Candidate) -> float:
        """The worst of a candidate's errors."""
        return float(np.max(self.errors(c)))

    def price(self, c: Candidate) -> float:
        """What decides between good forms: a kernel's cost, its error, the length of the derivation."""
        errors = self.errors(c)
        ulp = float(errors.max())
        close = CLOSE if ulp > 0.75 * self.target else 0.0
        for fmt, place in self.judge.stretches:
            if fmt.name == "float64" and float(errors[place].max()) > CONTRACT * self.target / 4:
                close = CLOSE
        return c.cost + PER_ULP * max(1.0, ulp) + close + PER_STEP * (len(c.moves) + names_left(c.term))

    def lower(self, c: Candidate) -> None:
        """Admit a candidate's machine form, so that the rules can work on that too."""
        moves = c.moves
        for step in expansion(c.term):
            moves = (*moves, from_rewrite(step))
        if moves is not c.moves:
            self.admit(moves[-1].after, moves)

    def shortfall(self, c: Candidate) -> tuple[float, float, int]:
        """The order of candidates that all miss the target: how much is lost over all points, then the price."""
        lost = np.log2(1 + self.errors(c))
        over = np.maximum(lost - np.log2(1 + self.target), 0)
        return round(float(over.mean()) + 0.05 * float(over.max()), 2), self.price(c), c.serial

    def extend(self, more: Judge) -> None:
        """Further points, at which every candidate is measured too."""
        more = more.without(self.judge)
        if not more.count:
            return
        for c in self.pool.values():
            c.bits = np.concatenate([c.bits, bits(more.ulps(c.form))])
        self.judge = self.judge.joined(more)
        self.moderate = _moderate(self.judge)
        self.allowance = self.strict = np.ones(self.judge.count)

    def strictly_met(self) -> bool:
        """Whether some form meets the target with no more excuse than the pool as a whole needs."""
        limit = np.log2(1 + self.target * self.strict)
        return any(not np.any(c.bits > limit) for c in self.pool.values())

    def good(self) -> list[Candidate]:
        """Candidates within the target, the best first."""
        limit = np.log2(1 + self.target * self.allowance)
        found = [c for c in self.pool.values() if not np.any(c.bits > limit)]
        return sorted(found, key=lambda c: (self.price(c), c.serial))

    def run(self) -> None:
        """Grow the beam until the target is met and further rounds bring nothing cheaper."""
        quiet, before = 0, float("inf")
        for depth in range(DEPTH):
            self.heal()
            if depth > max(EXPANDED) or len(self.judge.env) == 1:  # with several arguments series come first
                self.halve()
            self.excuse(fully=depth >= 2)
            good = self.good()
            if not good and depth in EXPANDED and self.expand():
                self.excuse(fully=depth >= 2)
                good = self.good()
            if not good and depth == EXPANDED[0] and self.integrate():
                good = self.good()
            for c in good[:4]:
                self.lower(c)
            if good:
                good = self.good()
                price = self.price(good[0])
                quiet = quiet + 1 if price > before - 0.5 else 0
                before = min(before, price)
                if quiet >= AFTER:
                    return
            front = self.front()
            if good:
                front = _unique([*[c for c in good[:4] if c.serial not in self.expanded], *front[: BEAM // 2]])
            if not front:
                break
            for parent in front:
                if self.budget.spent():
                    return self._last(healing=False)
                if depth == 0 and self.budget.used > FIRST * self.budget.nodes:
                    break
                self.grow(parent)
        self._last(healing=True)

    def _last(self, healing: bool) -> None:
        """What is tried when the rounds or the work are at an end: it costs little, and may be what was missing."""
        if healing:
            self.heal()
        self.halve()
        self.excuse(fully=True)
        if not self.good():
            self.resort()
        if not self.good() and not self.budget.late() and self.expand():
            self.excuse(fully=True)
        if not self.good():
            self.integrate()


def hold(at: evaluate.Evaluator, conditions: Iterable[Term]) -> bool:
    """Whether conditions hold at some points."""
    for condition in conditions:
        left, right = (at(a) for a in condition.args)
        # The closure of the condition: what holds inside holds at the edge by continuity.
        broken = {"gt": left < right, "ge": left < right, "lt": left > right, "le": left > right}.get(condition.op)
        if broken is not None and np.any(broken):
            return False
    return True


def _unique(candidates: Iterable[Candidate]) -> list[Candidate]:
    return list({c.serial: c for c in candidates}.values())


def _moderate(whole: Judge) -> evaluate.Evaluator:
    """The points of ordinary magnitude in float64, where a side condition can be read off."""
    table = np.stack(list(whole.env.values())) if whole.env else np.zeros((0, whole.count))
    size = np.abs(table)
    ordinary = np.all((size == 0) | ((size >= 2.0**-10) & (size <= 32)), axis=0)
    inside = ordinary & np.isfinite(whole.truth)
    if inside.sum() < 8:
        inside = np.isfinite(whole.truth)
    return evaluate.Evaluator({n: c[inside] for n, c in whole.env.items()}, FORMATS["float64"])


@dataclass(frozen=True)
class _Collecting:
    """The macro rewrite that collects a sum or product; shaped like a rule."""

    name: str
    pattern: Term
    replacement: Term
    collected: frozenset[Term] = frozenset()
    conditions: tuple[Term, ...] = ()
    words: str = "collect like parts"
    reason_latex: str = r"\text{collect}"
    condition: str = ""


def _all_rewrites(term: Term) -> Iterator[Rewrite]:
    plain = without_choices(term)
    if plain is not term:  # Taylor polynomials stay as they are
        for step in _all_rewrites(plain):
            after = outside(term, step.source, step.result)
            if after is not term:
                yield changed(step, before=term, after=after)
        return
    yield from rewrites(term, _rules)
    for t in walk(term):
        if t.op in ("add", "sub", "mul", "div"):
            found = collect(t)
            if found is not t:
                yield Rewrite(_Collecting("collect", t, found), term, t, found, replace(term, {t: found}), ())


