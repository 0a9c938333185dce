"""Searching for a stable form of an elementwise formula, and choosing the answer.

The beam (beam.py) finds candidates; the answer is chosen among single forms first, then among
pieces (regimes.py); points at which it fails are looked for (climb.py) and the search goes on with
them. What comes back never measures worse than what was given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from lossmith.derivations import balls, points, prove, relations
from lossmith.derivations import seeds as seeds_of
from lossmith.derivations.answers import Answer, choose, finished
from lossmith.derivations.beam import Budget, Search, hold
from lossmith.derivations.climb import climbed, disputed
from lossmith.derivations.depth import deep
from lossmith.derivations.derivation import Measurement, Order, StableForm, Step
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.expanding import beside_roots
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import expansion
from lossmith.derivations.measure import Judge, judges, satisfying
from lossmith.derivations.moves import Move, from_rewrite
from lossmith.derivations.terms import Term, leaves, make_room, name_of
from lossmith.derivations.ulp import FORMATS, Doubles
from lossmith.derivations.verdicts import STABLE, judged
from lossmith.derivations.weighing import RUINED, faults, kept, loss, worse

POINTS, FRESH = 360, 700  # points that the search sees, and fresh ones that the answer must hold on
SHARE = 0.72  # of so many points each format gets, where there are several
TARGETS = (4.0, 4.0, 6.0)  # ulp: a loss, a gradient, a second derivative
HOLDING = 3  # how often another form is taken where the answer fails after all
REPAIRS = 3  # how often points at which the answer fails are added, and the search goes on
RECOGNIZED, NEAR = 200, 40.0  # points at which the condition of a recognition must hold, and how large they are
INFINITE = 16  # one point in so many may have an infinite value
CORNERED = 3  # arguments that have corners at infinity
CORNERS = 16  # corners of the domains at which it is asked whether a formula has a value
SEARCHING = 0.7  # of the time; the rest is for finishing and for evidence
WORK = 40_000  # nodes of measured forms
SUSPECTS = 60  # points off by more than the target of which it is asked whether they are excused; twice as many at most
UNEXCUSED = 24  # forms that need no excuse, of which the first that holds on fresh points is taken
REFUSED = "another form was refused by a check"


@deep()
def stabilize(definition: Term, arguments: tuple[Argument, ...], order: Order = (), *, seeds: tuple[Term, ...] = (),
              dtypes: Sequence[str] = ("float32", "float64"), given: Sequence[Term] = (), time_limit: float = 60.0,
              work: int = WORK) -> tuple[tuple[Step, ...], StableForm]:
    """A stable form of an elementwise formula, and the steps from the definition to it.

    definition: a scalar term over `arguments`; order: what it is the derivative of (it sets the
    target). seeds: other forms known to be equal. dtypes: the form is to be good in each of these
    formats. given: relations between arguments that hold wherever the form is used. The form is in
    the machine's vocabulary and never measures worse than the definition; where nothing better is
    found it is the definition. Raises ValueError for a term that is not a scalar.
    """
    if definition.sort != "scalar":
        raise ValueError("only a scalar formula can be stabilized here")
    make_room()
    budget = Budget(work, SEARCHING * time_limit)
    target = TARGETS[min(len(order), 2)]
    draw = _Drawing(definition, arguments, tuple(dtypes), tuple(given))
    sight = draw.points(POINTS, 1)
    if not any(True for _ in leaves(definition)) or not sight.count:
        return _as_given(definition, arguments, order, sight)
    sight, fresh = _some(sight), _some(draw.points(FRESH, 2, faint=True))
    edges = _with_corners(draw.points(FRESH // 4, 3, infinite=True))
    search = Search(definition, sight, arguments, budget, target)
    search.admit(definition, ())
    root = finished(search, next(iter(search.pool.values())))
    fresh = fresh.joined(_some(climbed(root, (), fresh, given)))
    if not order and _plainly_good(root, sight, fresh, edges, target):
        root = _defined(root, (sight, fresh, edges))
        return _report(root, root, arguments, order, fresh, target, given)
    search.plant(definition, ())
    for seed in seeds:
        search.plant(seed, (Move.equal(definition, seed),))
    answer, fresh = _searched(search, fresh, edges, given)
    # Where it does harm is often a small place, which other points find.
    other = _some(draw.points(FRESH, 4))
    if answer is not root:
        other = other.joined(_some(disputed(answer.term, root.term, fresh, given)))
    found = [answer]
    if answer is not root and (missed := _harmed(answer, root, other, search) or _overlooked(
            answer, fresh, other, search)):
        search.extend(other.select(missed))
        answer, fresh = _searched(search, fresh.joined(other.select(missed)), edges, given)
        other = other.joined(_some(disputed(answer.term, root.term, fresh, given)))
        found.insert(0, answer)
    answer = kept(found, root, (fresh, other, edges, _cornered(edges, given)), target)
    answer, fresh = _defined(answer, (sight, fresh, edges)), fresh.joined(other)
    try:
        return _report(answer, root, arguments, order, fresh, target, given)
    except ArithmeticError as refused:  # a step that its check refutes is not handed on
        return as_written(definition, arguments, order, dtypes=dtypes, given=given, why=str(refused))


def as_written(definition: Term, arguments: tuple[Argument, ...], order: Order = (), *,
               dtypes: Sequence[str] = ("float32", "float64"), given: Sequence[Term] = (), why: str = "",
               ) -> tuple[tuple[Step, ...], StableForm]:
    """The definition itself in the machine's vocabulary, for where a check refused what was found.

    As `stabilize`; why: what the check said, kept in `remaining`.
    """
    target = TARGETS[min(len(order), 2)]
    fresh = _some(_Drawing(definition, arguments, tuple(dtypes), tuple(given)).points(FRESH, 2))
    if not fresh.count:
        return _as_given(definition, arguments, order, fresh)
    search = Search(definition, fresh, arguments, Budget(0, 0.0), target)
    search.admit(definition, ())
    root = finished(search, next(iter(search.pool.values())))
    steps, form = _report(root, root, arguments, order, fresh, target, given)
    return steps, dataclasses.replace(form, remaining="; ".join(filter(None, (form.remaining, f"{REFUSED}: {why}"))))


def recognized(definition: Term, arguments: tuple[Argument, ...], given: Sequence[Term] = ()) -> Term:
    """The definition in the names that mathematics has for its parts: one form of it that is worth differentiating."""
    used = {name_of(t) for t in leaves(definition)} | set(relations.names_in(given))
    chosen = [a for a in arguments if a.name in used]
    if definition.sort != "scalar" or not chosen:
        return definition
    columns = points.scalar_points(chosen, RECOGNIZED, 5, FORMATS["float32"], given=given)
    near = np.all([np.abs(c) <= NEAR for c in columns.values()], axis=0)
    at = Evaluator({n: c[near] for n, c in columns.items()})
    chain = seeds_of.recognized(definition, lambda r: hold(at, r.conditions))
    return chain[-1].after if chain else definition


class _Drawing:
    """Draws points of every format for one formula."""

    def __init__(self, definition: Term, arguments: tuple[Argument, ...], dtypes: tuple[str, ...],
                 given: tuple[Term, ...]) -> None:
        self.definition, self.arguments, self.given = definition, arguments, given
        self.fmts = [FORMATS[d] for d in dtypes]

    def points(self, count: int, seed: int, infinite: bool = False, faint: bool = False) -> Judge:
        each = count if len(self.fmts) == 1 else int(SHARE * count)
        counts = dict.fromkeys(self.fmts, each)
        return judges(self.definition, self.arguments, counts, seed, infinite, self.given, faint)


def _some(whole: Judge) -> Judge:
    """The points with a finite value, and some of those at which finite inputs make it infinite."""
    rows = np.isinf(whole.truth).nonzero()[0]
    kept = rows[:: max(1, INFINITE * len(rows) // max(1, whole.count))]
    return whole.select(np.sort(np.concatenate([np.isfinite(whole.truth).nonzero()[0], kept])))


def _plainly_good(root: Answer, sight: Judge, fresh: Judge, edges: Judge, target: float) -> bool:
    """Whether what was given needs nothing: within the target wherever it was tried."""
    return all(not j.count or float(j.ulps(root.term).max()) <= target for j in (sight, fresh, edges))


def _searched(search: Search, fresh: Judge, edges: Judge, given: Sequence[Term]) -> tuple[Answer, Judge]:
    """The answer that holds on the fresh points too, and on those that were looked for because of it."""
    drawn = fresh
    search.run()
    answer, rivals = choose(search, fresh, edges)
    seen = [answer]
    for attempt in range(REPAIRS):
        fresh = fresh.joined(_some(climbed(answer, rivals, fresh, given, attempt)))
        failed = _failures(answer, fresh, search.target)
        if not failed or search.budget.late():
            break
        search.extend(fresh.select(failed))
        search.run()
        answer, rivals = choose(search, fresh, edges)
        seen.append(answer)

    def better(one: Answer, other: Answer) -> Answer:
        if faults(other, edges, search.target) > faults(one, edges, search.target):
            return one
        return min(one, other, key=lambda a: loss(a, fresh))

    if float(fresh.ulps(answer.term).max(initial=0.0)) > search.target and search.double():
        other, fresh = _among(search, fresh, edges, given)
        answer = better(answer, other)
    holding = _holding(search, answer, fresh)
    if faults(holding, edges, search.target) <= faults(answer, edges, search.target):
        answer = holding
    if float(fresh.ulps(answer.term).max(initial=0.0)) > STABLE and (plain := _without_excuse(search, fresh)):
        answer = better(answer, plain)
    # Points that were sought until something failed say little of all others: those that were drawn do.
    if _failures(answer, fresh, search.target):
        answer = min([answer, *seen], key=lambda a: (_ruined(a, drawn), a is not answer))
    return beside_roots(answer, fresh), fresh


def _ruined(answer: Answer, drawn: Judge) -> int:
    """At how many drawn points nothing is left of the value."""
    return int((drawn.ulps(answer.term) > RUINED).sum())


def _without_excuse(search: Search, fresh: Judge) -> Answer | None:
    """The best single form that is stable at every point, whatever conditioning would excuse, if there is one."""
    limit = np.log2(1 + STABLE)
    holding = sorted((c for c in search.pool.values() if c.worst <= limit), key=lambda c: (search.price(c), c.serial))
    found = next((c for c in holding[:UNEXCUSED] if float(fresh.ulps(c.form).max(initial=0.0)) <= STABLE), None)
    return finished(search, found) if found is not None else None


def _holding(search: Search, answer: Answer, fresh: Judge) -> Answer:
    """The answer; where it fails at points that were looked for last, the cheapest form that fails nowhere."""
    chosen = answer
    for _ in range(HOLDING):
        failed = _failures(chosen, fresh, search.target)
        if not failed:
            return chosen
        search.extend(fresh.select(failed))
        good = search.good()
        if not good:
            break
        chosen = finished(search, good[0])
    return answer


def _among(search: Search, fresh: Judge, edges: Judge, given: Sequence[Term]) -> tuple[Answer, Judge]:
    """The answer among the forms that there are, chosen again at the points at which it fails."""
    answer, rivals = choose(search, fresh, edges)
    for attempt in range(REPAIRS):
        fresh = fresh.joined(_some(climbed(answer, rivals, fresh, given, attempt)))
        failed = _failures(answer, fresh, search.target)
        if not failed or search.budget.late():
            break
        search.extend(fresh.select(failed))
        search.excuse(fully=True)
        answer, rivals = choose(search, fresh, edges)
    return answer, fresh


def _harmed(answer: Answer, root: Answer, other: Judge, search: Search) -> list[int]:
    """Points at which the answer does harm, the worst first, while there is time to search on with them."""
    if search.budget.late() or not worse(answer, root, other, search.target):
        return []
    return _failures(answer, other, search.target)


def _overlooked(answer: Answer, fresh: Judge, other: Judge, search: Search) -> list[int]:
    """Points at which an answer fails that is stable wherever it was looked at until now, while there is time."""
    if search.budget.late() or _failures(answer, fresh, STABLE):
        return []
    return _failures(answer, other, STABLE)


def _failures(answer: Answer, fresh: Judge, target: float) -> list[int]:
    """Fresh points at which the answer is off by more than the target and more than their conditioning."""
    errors, limit = fresh.ulps(answer.term), max(target, answer.ulp)
    suspects = np.nonzero(errors > limit)[0]
    order = suspects[np.argsort(-errors[suspects], kind="stable")]
    rest = order[SUSPECTS:]
    # The worst may all be near one root, which excuses them: the rest is looked at too, at even distances.
    tried = [*order[:SUSPECTS].tolist(), *rest[:: max(1, len(rest) // SUSPECTS)][:SUSPECTS].tolist()]
    return [i for i in tried if errors[i] > limit * fresh.excused(i)][:40]


def _defined(answer: Answer, tried: Sequence[Judge]) -> Answer:
    """The answer without its guards where no point that was tried needs them and some corner has no value to guard."""
    if not answer.moves or answer.moves[-1].name != Move.guard(answer.term, answer.term).name:
        return answer
    plain = answer.moves[-1].before
    if any(j.count and (j.ulps(plain) > j.ulps(answer.term)).any() for j in tried):
        return answer
    judge = tried[0]
    corners = _corners([a for a in judge.arguments if a.name in judge.env])
    given = np.broadcast_to(Evaluator(corners)(answer.term), np.shape(next(iter(corners.values()))))
    bare = np.broadcast_to(Evaluator(corners)(plain), given.shape)
    rows = np.nonzero(np.isnan(bare) & ~np.isnan(given))[0][:CORNERS]
    at = {n: c[rows] for n, c in corners.items()}
    if not len(rows) or not np.isnan(balls.truth_many(judge.definition, at, arguments=judge.arguments)).any():
        return answer
    return dataclasses.replace(answer, moves=answer.moves[:-1], term=plain)


def _with_corners(edges: Judge) -> Judge:
    """Points at infinity, and the corners of the domains that lie there."""
    chosen = [a for a in edges.arguments if a.name in edges.env]
    if len(chosen) > CORNERED:
        return edges
    columns = _corners(chosen, infinite=True)
    wild = np.any([np.isinf(c) for c in columns.values()], axis=0)
    more = edges.at({n: c[wild] for n, c in columns.items()}, edges.fmts[-1]) if wild.any() else edges
    return edges.joined(more.without(edges)) if wild.any() else edges


def _cornered(edges: Judge, given: Sequence[Term]) -> Judge:
    """The corners of the domains as points, where there are not too many."""
    chosen = [a for a in edges.arguments if a.name in edges.env]
    columns = satisfying(_corners(chosen, infinite=True), given) if len(chosen) <= CORNERED else {}
    return edges.at(columns, edges.fmts[-1]) if columns else edges


def _corners(arguments: Sequence[Argument], infinite: bool = False) -> dict[str, Doubles]:
    """Every choice of 0, 1 and the ends of the domains, as far as the domains hold them; infinite ones if asked for."""
    found = []
    for a in arguments:
        ends = {float(v) for v in (0, 1, a.domain.low, a.domain.high)}
        found.append(np.array(sorted(v for v in ends if (infinite or np.isfinite(v)) and a.domain.holds(v)) or [1.0]))
    grids = np.meshgrid(*found, indexing="ij")
    return {a.name: np.asarray(g, dtype=np.float64).reshape(-1) for a, g in zip(arguments, grids, strict=True)}


def _as_given(definition: Term, arguments: tuple[Argument, ...], order: Order, sight: Judge,
              ) -> tuple[tuple[Step, ...], StableForm]:
    """A constant, or a formula that has no value at any point: nothing to search for."""
    moves = tuple(from_rewrite(step) for step in expansion(definition))
    term = moves[-1].after if moves else definition
    error = sight.measurement(term) if sight.count else None
    left = "" if sight.count else "the formula has no value at any point that was tried"
    errors = sight.measurements(term) if sight.count else ()
    form = StableForm(term, definition, arguments, order, error, "unchanged", left, errors, error)
    return tuple(_steps(moves, arguments, sight, np.ones(sight.count), ())), form


def _report(answer: Answer, root: Answer, arguments: tuple[Argument, ...], order: Order, fresh: Judge, target: float,
            given: Sequence[Term]) -> tuple[tuple[Step, ...], StableForm]:
    allowance = _allowed(answer.term, fresh, target)
    steps = tuple(_steps(answer.moves, arguments, fresh, allowance, given))
    return steps, judged(fresh.definition, answer.term, root, arguments, order, fresh, target, allowance)


def _allowed(term: Term, fresh: Judge, target: float) -> Doubles:
    """What each point's conditioning excuses, where the term misses the target."""
    allowance = np.ones(fresh.count)
    errors = fresh.ulps(term)
    poor = np.nonzero(errors > target)[0]
    for i in poor[np.argsort(-errors[poor], kind="stable")][:400]:
        allowance[i] = max(1.0, fresh.excused(int(i)))
    return allowance


def _steps(moves: Iterable[Move], arguments: tuple[Argument, ...], fresh: Judge, allowance: Doubles,
           given: Sequence[Term]) -> Iterator[Step]:
    known: dict[Term, Measurement] = {}
    for move in moves:
        for term in (move.before, move.after):
            if term not in known:
                known[term] = fresh.measurement(term, allowance)
        yield Step(move.name, move.before, move.after, move.source, move.result, move.condition, move.words, move.latex,
                   prove.evidence(move, arguments, tuple(given)), known[move.before], known[move.after])
