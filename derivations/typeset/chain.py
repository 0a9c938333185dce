"""A chain of equal formulas as lines to be set: what every format reads, derivation or identity.

Where a derivation splits by regimes, each regime is a case of its own: the lines of a case show
the one piece that they are about, and a last line puts the pieces together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lossmith.derivations.derivation import Evidence, Measurement, Order, StableForm, Step
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, make, number

SPLIT = "split"  # the rule of a step that writes one formula as pieces, all the same
NEGATED = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
FEW = 2  # steps within the pieces of a formula that a rule gave, below which the whole is repeated
UPWARD, DOWNWARD = ("gt", "ge"), ("lt", "le")
Case = tuple[Term, ...]  # conditions that hold together


class Chain(Protocol):
    """What can be typeset. `order` and `form` are None for an identity, which has no quantity of its own."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def arguments(self) -> tuple[Argument, ...]: ...
    @property
    def definition(self) -> Term: ...
    @property
    def steps(self) -> tuple[Step, ...]: ...
    @property
    def end_to_end(self) -> tuple[Evidence, ...]: ...
    @property
    def policies(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def references(self) -> tuple[str, ...]: ...
    @property
    def order(self) -> Order | None: ...
    @property
    def form(self) -> StableForm | None: ...


@dataclass(frozen=True)
class Line:
    """One line. `quantity`: what stands to the left of the equals sign (None: nothing, the line
    above goes on). `step`: what led here (None for the first line, and for one that only puts pieces
    together). `number`: of that step, from 1. `case`: where the line holds; None where that is
    everywhere, and () where the line follows from all cases together.
    """

    term: Term
    quantity: Order | None
    reason: str
    reason_latex: str
    error: Measurement | None
    step: Step | None = None
    number: int = 0
    case: Case | None = None

    @property
    def equals(self) -> bool:
        """Whether an equals sign stands before it: it does, but for the opening line of an identity."""
        return self.step is not None or self.quantity is not None or self.joins

    @property
    def joins(self) -> bool:
        """Whether it only puts the pieces of the cases above together."""
        return self.case == ()


def lines_of(chain: Chain) -> tuple[Line, ...]:
    """The lines of a chain, the definition first, regimes case by case."""
    return tuple(_in_cases(step_lines(chain)))


def step_lines(chain: Chain) -> tuple[Line, ...]:
    """The definition and a line for every step, each the whole formula. A step of differentiation
    starts a new quantity."""
    steps, order = chain.steps, chain.order
    derived = bool(order) and bool(steps) and steps[0].rule == "differentiate"
    measured = steps[0].error_before if steps else chain.form.error if chain.form else None
    start = () if derived else order
    reason = "definition" if order is not None else getattr(chain, "opening", "")
    out = [Line(chain.definition, start, reason, "", None if derived else measured)]
    for place, step in enumerate(steps, 1):
        quantity = order if derived and place == 1 else None
        error = step.error_after
        if quantity is not None and error is None and len(steps) > 1:
            error = steps[1].error_before
        out.append(Line(step.after, quantity, step.reason, step.reason_latex, error, step, place))
    return tuple(out)


def _in_cases(lines: Sequence[Line]) -> list[Line]:
    """The same lines, those between a split and the next change of the whole shown piece by piece."""
    out: list[Line] = []
    cuts: set[Term] = set()
    run: list[Line] = []  # lines that change one piece only, as they were
    split = False
    for line in (*lines, None):
        step = line.step if line is not None else None
        if step is not None and cuts and _piece(step, cuts) is not None:
            assert line is not None
            run.append(line)
            continue
        out += _told(run, cuts, split)
        run = []
        split = step is not None and step.rule == SPLIT
        cuts = _conditions(step.after) if step is not None and (split or step.before.op != "where") else set()
        if line is not None and not split:
            out.append(line)
    return out


def _told(run: Sequence[Line], cuts: set[Term], split: bool) -> list[Line]:
    """Lines that change one piece each: by cases where that says more than it repeats."""
    if not split and len(run) < FEW:
        return list(run)
    out = []
    for line in run:
        found = _piece(line.step, cuts) if line.step is not None else None
        assert found is not None
        case, piece = found
        out.append(Line(piece, None, line.reason, line.reason_latex, line.error, line.step, line.number, case))
    return out + ([_joined(run[-1])] if run else [])


def _joined(last: Line) -> Line:
    assert last.step is not None
    return Line(last.step.after, None, "", "", last.error, case=())


def _conditions(term: Term) -> set[Term]:
    found = set()
    while term.op == "where":
        found.add(term.args[0])
        term = term.args[2]
    return found


def _piece(step: Step, cuts: set[Term]) -> tuple[Case, Term] | None:
    """The one piece that a step changed, and where it applies; None where it changed more than one."""
    before, after = step.before, step.after
    case: list[Term] = []
    while before.op == after.op == "where" and before.args[0] is after.args[0] and before.args[0] in cuts:
        condition, yes, no = before.args
        if yes is not after.args[1] and no is not after.args[2]:
            return None
        if yes is not after.args[1]:
            return tightest((*case, condition)), after.args[1]
        case.append(negation(condition))
        before, after = no, after.args[2]
    return (tightest(case), after) if case else None


def tightest(case: Sequence[Term]) -> Case:
    """The conditions without those that another implies: of `x >= -1` and `x >= 1` the second."""
    return tuple(c for c in case if not any(_implies(d, c) for d in case if d is not c))


def _implies(one: Term, other: Term) -> bool:
    """Whether one bound of a quantity by a number implies another of the same kind."""
    if one.args[0] is not other.args[0] or one.args[-1].op != "const" or other.args[-1].op != "const":
        return False
    a, b = number(one.args[-1]), number(other.args[-1])
    upward, downward = (all(c.op in ops for c in (one, other)) for ops in (UPWARD, DOWNWARD))
    return (upward and a > b) or (downward and a < b)


def negation(condition: Term) -> Term:
    """The comparison that holds where the other does not (NaN apart)."""
    opposite = NEGATED.get(condition.op)
    return make(opposite, *condition.args) if opposite else make("not", condition)


def opens(lines: Sequence[Line], place: int) -> bool:
    """Whether a line is the first of its case, so that a heading belongs above it."""
    case = lines[place].case
    return case is not None and (place == 0 or lines[place - 1].case != case)


def all_terms(chain: Chain) -> list[Term]:
    """Every formula that is set as a line, in order, each once."""
    return list(dict.fromkeys(line.term for line in lines_of(chain)))
