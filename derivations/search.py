"""Searching for a stable form of an elementwise formula: a beam over rules, ordered by measured error.

Every candidate is measured in the form that a machine computes, every operation rounded, against
ball arithmetic on the definition. The path to the best candidate is the derivation. Bounded by
counts of candidates, so that the answer is the same on every machine; the clock only stops what
has gone out of hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from lossmith.derivations import evaluate, prove
from lossmith.derivations.derivation import Order, StableForm, Step
from lossmith.derivations.guards import guard
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import cost, expansion, machine, names_left
from lossmith.derivations.match import Rewrite, index, rewrites
from lossmith.derivations.measure import Judge, bits, judge
from lossmith.derivations.moves import Move, from_rewrite, from_seed, replayed
from lossmith.derivations.polynomial import collect, ordered
from lossmith.derivations.regimes import Piecewise, best_split
from lossmith.derivations.rules import RULES
from lossmith.derivations.seeds import recognized, seeds, towards_one
from lossmith.derivations.terms import Term, leaves, nodes_count, replace, walk
from lossmith.derivations.ulp import FORMATS, Doubles

POINTS, FRESH = 360, 700  # points that the search sees, and fresh ones that the answer must hold on
TARGETS = (4.0, 4.0, 6.0)  # ulp: a loss, a gradient, a second derivative
REPAIRS = 2  # how often fresh points at which the answer fails are added, and the search goes on
BEAM, DEPTH, AFTER = 16, 7, 2  # candidates kept a round, rounds, and rounds after the target is met
PER_ULP, PER_STEP = 1.5, 0.75  # what an ulp and a step of derivation weigh beside the cost of a kernel
CLOSE = 6.0  # what it weighs to come close to the target
WORK = 40_000  # nodes of measured forms
EXCUSED = 16.0  # how many times better than one form near a root two pieces must be
GROWTH = 80  # a candidate may be this much larger than what it came from
_rules = index(RULES)
Verdict = Literal["stable", "improved", "unchanged"]


@dataclass(frozen=True, eq=False)
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
    """How much work is allowed: nodes of measured forms. The clock is for emergencies."""

    nodes: int
    seconds: float
    used: int = 0
    started: float = field(default_factory=time.monotonic)

    def spent(self) -> bool:
        return self.used >= self.nodes or time.monotonic() - self.started > self.seconds


@dataclass
class Search:
    """The pool of candidates for one formula, and the beam over it."""

    judge: Judge
    arguments: tuple[Argument, ...]
    budget: Budget
    target: float
    pool: dict[int, Candidate] = field(default_factory=dict)
    expanded: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.strict = np.ones(self.judge.count)
        self.allowance = self.strict
        self.moderate = _moderate(self.judge)

    def holds(self, conditions: Iterable[Term]) -> bool:
        """Whether side conditions hold on the moderate points (they are proved on the final path only)."""
        for condition in conditions:
            left, right = (self.moderate(a) for a in condition.args)
            # The closure of the condition: what holds inside holds at the edge by continuity.
            broken = {"gt": left < right, "ge": left < right, "lt": left > right, "le": left > right}.get(condition.op)
            if broken is not None and np.any(broken):
                return False
        return True

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
        grown = moves
        for step in towards_one(start, lambda r: self.holds(r.conditions)):
            grown = (*grown, from_rewrite(step))
            self.admit(step.after, grown)
        for step in recognized(start, lambda r: self.holds(r.conditions)):
            moves = (*moves, from_rewrite(step))
            self.admit(step.after, moves)
            start = step.after
        for seed in seeds(start):
            grown = (*moves, from_seed(seed))
            if self.admit(seed.term, grown) is None:
                continue
            term = seed.term
            for step in recognized(term, lambda r: self.holds(r.conditions)):
                grown = (*grown, from_rewrite(step))
                self.admit(step.after, grown)

    def grow(self, parent: Candidate) -> None:
        """Every rewrite of one candidate."""
        self.expanded.add(parent.serial)
        for step in _all_rewrites(parent.term):
            if step.after.size > 3 * parent.term.size + GROWTH or ordered(step.after).id in self.pool:
                continue
            if step.conditions and not self.holds(step.conditions):
                continue
            self.admit(step.after, (*parent.moves, from_rewrite(step)))
            if self.budget.spent():
                return

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
        # The best of a pool at one point is luck when many take part: the third best is not.
        reached = np.sort(table, axis=0)[min(2, len(pool) // 10)]
        poor = np.nonzero(reached > self.target / 2)[0]
        for i in poor[np.argsort(-reached[poor], kind="stable")][:80]:
            self.strict[i] = max(1.0, min(self.judge.condition(int(i)), float(reached[i]) / 2))
        self.allowance = self.strict.copy()
        for errors in table[:10] if fully and not self.good() else ():
            failing = np.nonzero((errors > self.target * self.allowance) & (self.judge.truth != 0))[0]
            for i in failing.tolist() if len(failing) <= self.judge.count // 3 else ():
                if self.judge.near_root(i):
                    self.allowance[i] = max(self.allowance[i], self.judge.condition(i))

    def errors(self, c: Candidate) -> Doubles:
        """A candidate's errors in ulp, each point's divided by its allowance."""
        return np.asarray((2.0**c.bits - 1) / self.allowance, dtype=np.float64)

    def ulp(self, c: Candidate) -> float:
        """The worst of a candidate's errors."""
        return float(np.max(self.errors(c)))

    def price(self, c: Candidate) -> float:
        """What decides between good forms: a kernel's cost, its error, the length of the derivation."""
        ulp = self.ulp(c)
        close = CLOSE if ulp > 0.75 * self.target else 0.0
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

    def again(self, judge: Judge) -> Search:
        """The same search on more points, from where this one got to."""
        other = Search(judge, self.arguments, self.budget, self.target)
        kept = [c for c in self.pool.values() if not c.moves]
        kept += self.good()[:40] + sorted(self.pool.values(), key=lambda c: c.score)[:200]
        for c in _unique(kept):
            other.admit(c.term, c.moves)
        return other

    def strictly_met(self) -> bool:
        """Whether some form meets the target with no more excuse than the pool as a whole needs."""
        return any(np.all(2.0**c.bits - 1 <= self.target * self.strict) for c in self.pool.values())

    def good(self) -> list[Candidate]:
        """Candidates within the target, the best first."""
        found = [c for c in self.pool.values() if self.ulp(c) <= self.target]
        return sorted(found, key=lambda c: (self.price(c), c.serial))

    def run(self) -> None:
        """Grow the beam until the target is met and further rounds bring nothing cheaper."""
        quiet, before = 0, float("inf")
        for depth in range(DEPTH):
            self.excuse(fully=depth >= 2)
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
                return
            for parent in front:
                if self.budget.spent():
                    self.excuse(fully=True)
                    return
                self.grow(parent)
        self.excuse(fully=True)


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
    yield from rewrites(term, _rules)
    for t in walk(term):
        if t.op in ("add", "sub", "mul", "div"):
            found = collect(t)
            if found is not t:
                yield Rewrite(_Collecting("collect", t, found), term, t, found, replace(term, {t: found}), ())


def stabilize(definition: Term, arguments: tuple[Argument, ...], order: Order = (), *, seeds: tuple[Term, ...] = (),
              dtypes: Sequence[str] = ("float32", "float64"), given: Sequence[Term] = (), time_limit: float = 60.0,
              work: int = WORK) -> tuple[tuple[Step, ...], StableForm]:
    """A stable form of an elementwise formula, and the steps from the definition to it.

    definition: a scalar term over `arguments`; order: what it is the derivative of (it sets the
    target). seeds: other forms known to be equal. The form is in the machine's vocabulary and
    never measures worse than the definition; where nothing better is found it is the definition.
    Raises ValueError for a term that is not a scalar.
    """
    if definition.sort != "scalar":
        raise ValueError("only a scalar formula can be stabilized here")
    fmt = FORMATS[dtypes[0]]
    target = TARGETS[min(len(order), 2)]
    sight = judge(definition, arguments, fmt, POINTS, 1)
    if not any(True for _ in leaves(definition)) or not sight.count:
        return _as_given(definition, arguments, order, sight)
    sight = _finite(sight)
    fresh = _finite(judge(definition, arguments, fmt, FRESH, 2))
    edges = judge(definition, arguments, fmt, FRESH // 4, 3, infinite=True)
    budget = Budget(work, time_limit)
    search = Search(sight, arguments, budget, target)
    search.plant(definition, ())
    for seed in seeds:
        search.plant(seed, (Move.equal(definition, seed),))
    answer = _found(search, fresh, edges)
    for _ in range(REPAIRS):
        failed = _failures(answer, fresh, target)
        if not failed or budget.spent():
            break
        search = search.again(sight := sight.with_points(fresh, failed))
        answer = _found(search, fresh, edges)
    root = _finished(search, next(iter(search.pool.values())))
    if _worse(answer.term, root.term, fresh):
        answer = root
    return _report(answer, definition, arguments, order, fresh, target)


def _worse(answer: Term, given: Term, fresh: Judge) -> bool:
    """Whether the answer loses more than what was given, at the worst fresh point and on the whole."""
    one, other = bits(fresh.ulps(answer)), bits(fresh.ulps(given))
    return bool(fresh.count and one.max() > other.max() and one.mean() > other.mean())


def _found(search: Search, fresh: Judge, edges: Judge) -> Answer:
    search.run()
    single = _answer(search, edges)
    if single.pieces > 1 or search.strictly_met():
        return single
    # Good but for what conditioning excuses: two simple pieces may do without the excuse.
    search.allowance = search.strict
    split = best_split(search)
    if split is None or not split.simple or split.ulp > search.target:
        return single
    pieces = _piecewise(search, split)
    gained = fresh.measurement(pieces.term).ulp * EXCUSED <= fresh.measurement(single.term).ulp
    return pieces if gained else single


def _finite(whole: Judge) -> Judge:
    keep = np.isfinite(whole.truth)
    return Judge(whole.definition, {n: c[keep] for n, c in whole.env.items()}, whole.truth[keep], whole.fmt)


def _as_given(definition: Term, arguments: tuple[Argument, ...], order: Order, sight: Judge,
              ) -> tuple[tuple[Step, ...], StableForm]:
    """A constant, or a formula that has no value at any point: nothing to search for."""
    moves = tuple(from_rewrite(step) for step in expansion(definition))
    term = moves[-1].after if moves else definition
    error = sight.measurement(term) if sight.count else None
    left = "" if sight.count else "the formula has no value at any point that was tried"
    form = StableForm(term, definition, arguments, order, error, "unchanged", left)
    return tuple(_steps(moves, arguments, sight, np.ones(sight.count))), form


@dataclass(frozen=True)
class Answer:
    """The chosen form: moves from the definition, then into the machine's vocabulary, guards last."""

    moves: tuple[Move, ...]
    term: Term
    ulp: float
    pieces: int = 1


def _answer(search: Search, edges: Judge) -> Answer:
    """One piece within the target; else pieces; else the best there is. Never worse than the definition."""
    good = search.good()
    root = next(iter(search.pool.values()))
    if not good:
        search.allowance = search.strict
        split = best_split(search)
        if split is not None:
            return _piecewise(search, split)
        good = [min(search.pool.values(), key=search.shortfall)]
    elif search.ulp(root) <= search.target and search.price(good[0]) > 0.9 * search.price(root):
        good = [root]
    finalists = [_finished(search, c) for c in good[:12] if search.price(c) <= search.price(good[0]) + 25]
    wrong = [int((edges.ulps(a.term) > 64 * search.target).sum()) if edges.count else 0 for a in finalists]
    return finalists[int(np.argmin(wrong))]


def _finished(search: Search, c: Candidate) -> Answer:
    moves = _pruned(search, c)
    term = moves[-1].after if moves else c.term
    moves = (*moves, *(from_rewrite(step) for step in expansion(term)))
    term = moves[-1].after if moves else c.term
    guarded = guard(term, search.arguments)
    if guarded is not term:
        moves = (*moves, Move.guard(term, guarded))
    return Answer(moves, guarded, search.ulp(c))


def _pruned(search: Search, c: Candidate) -> tuple[Move, ...]:
    """The path without the steps that it does not need."""
    moves = list(c.moves)
    i = 0
    while i < len(moves) and len(moves) > 1:
        shorter = moves[:i] + moves[i + 1:]
        again = replayed(moves[0].before, shorter)
        if again is not None:
            form = guard(machine(again), search.arguments)
            errors = search.judge.ulps(form) / search.allowance
            if cost(form) <= c.cost and float(errors.max()) <= search.ulp(c) + 1e-9:
                moves = list(_rewired(moves[0].before, shorter))
                continue
        i += 1
    return tuple(moves)


def _rewired(start: Term, moves: Iterable[Move]) -> Iterator[Move]:
    term = start
    for move in moves:
        made = move.on(term)
        assert made is not None
        yield made
        term = made.after


def _piecewise(search: Search, split: Piecewise) -> Answer:
    """Split first, then rewrite each piece along its own path."""
    definition = search.judge.definition
    pieces: list[Term] = [definition] * len(split.candidates)
    moves: list[Move] = []
    before = definition
    after = split.join(pieces)
    moves.append(Move.split(before, after, split.words(), split.latex()))
    for i, c in enumerate(split.candidates):
        for move in _pruned(search, c):
            pieces[i] = move.after
            before, after = after, split.join(pieces)
            moves.append(move.inside(before, after))
    moves += [from_rewrite(step) for step in expansion(after)]
    term = moves[-1].after
    guarded = guard(term, search.arguments)
    if guarded is not term:
        moves.append(Move.guard(term, guarded))
    return Answer(tuple(moves), guarded, split.ulp, len(pieces))


def _failures(answer: Answer, fresh: Judge, target: float) -> list[int]:
    """Fresh points at which the answer is off by more than the target and more than their conditioning."""
    errors, limit = fresh.ulps(answer.term), max(target, answer.ulp)
    suspects = np.nonzero(errors > limit)[0]
    worst_first = suspects[np.argsort(-errors[suspects], kind="stable")][:40].tolist()
    return [i for i in worst_first if errors[i] > limit * fresh.condition(i)]


def _report(answer: Answer, definition: Term, arguments: tuple[Argument, ...], order: Order, fresh: Judge, target: float
            ) -> tuple[tuple[Step, ...], StableForm]:
    raw, allowance = fresh.measurement(answer.term), _allowed(answer.term, fresh, target)
    error = fresh.measurement(answer.term, allowance)
    left = ""
    if error.ulp > target:
        left = f"{error.ulp:.3g} ulp at {error.where}"
    elif raw.ulp > target:
        left = f"the formula itself is ill-conditioned at {raw.where} and nearby: {raw.ulp:.3g} ulp there"
    verdict: Verdict = "stable" if error.ulp <= target else "unchanged" if answer.term is definition else "improved"
    steps = tuple(_steps(answer.moves, arguments, fresh, allowance))
    return steps, StableForm(answer.term, definition, arguments, order, error, verdict, left)


def _allowed(term: Term, fresh: Judge, target: float) -> Doubles:
    """What each point's conditioning excuses, where the term misses the target."""
    allowance = np.ones(fresh.count)
    for i in np.nonzero(fresh.ulps(term) > target)[0][:200]:
        allowance[i] = max(1.0, fresh.condition(int(i)))
    return allowance


def _steps(moves: Iterable[Move], arguments: tuple[Argument, ...], fresh: Judge, allowance: Doubles) -> Iterator[Step]:
    for move in moves:
        yield Step(move.name, move.before, move.after, move.source, move.result, move.condition, move.words, move.latex,
                   prove.evidence(move, arguments), fresh.measurement(move.before, allowance),
                   fresh.measurement(move.after, allowance))
