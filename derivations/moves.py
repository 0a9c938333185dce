"""Moves: the steps of a derivation while it is being searched for, and replaying them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace as changed

from lossmith.derivations.match import Rewrite
from lossmith.derivations.rules import Rule
from lossmith.derivations.seeds import Seed
from lossmith.derivations.terms import Term, is_const, make, rebuild, show, walk

INTEGRAL = "integral-remainder"
OTHERWISE = "else-definition"  # the rule of the step after which the definition stands by
NODES = 5  # at least so many in an integral


@dataclass(frozen=True)
class Move:
    """One step: in `before`, `source` became `result`, which gave `after`.

    rule: the rule that was used, None for algebra that is no single rule. conditions: its side
    conditions on this source.
    """

    name: str
    words: str
    latex: str
    before: Term
    after: Term
    source: Term
    result: Term
    conditions: tuple[Term, ...] = ()
    rule: Rule | None = None

    @property
    def condition(self) -> str:
        return ", ".join(show(c) for c in self.conditions)

    def on(self, term: Term) -> Move | None:
        """The same step on another term; None where its source does not occur."""
        if all(t is not self.source for t in walk(term)):
            return None
        return changed(self, before=term, after=outside(term, self.source, self.result))

    def inside(self, before: Term, after: Term) -> Move:
        """The same step within one piece of a larger term."""
        return changed(self, before=before, after=after)

    @staticmethod
    def equal(definition: Term, seed: Term) -> Move:
        """A form that the caller knows to be equal."""
        return Move("equal-form", "an equal form, derived on its own", r"\text{an equal form}", definition, seed,
                    definition, seed)

    @staticmethod
    def twice(before: Term, after: Term) -> Move:
        words = "what is rounded before it is amplified is computed in twice the digits"
        return Move("twice-the-digits", words, r"\text{in twice the digits}", before, after, before, after)

    @staticmethod
    def split(before: Term, after: Term, words: str, latex: str) -> Move:
        return Move("split", words, latex, before, after, before, after)

    @staticmethod
    def otherwise(before: Term, after: Term) -> Move:
        words = "the definition where this form has no finite value"
        latex = r"\text{the definition where this has no finite value}"
        return Move(OTHERWISE, words, latex, before, after, before, after)

    @staticmethod
    def standing_in(before: Term, after: Term) -> Move:
        words = "the definition, and this form where that has no finite value"
        latex = r"\text{the definition, and this where that has no finite value}"
        return Move(OTHERWISE, words, latex, before, after, before, after)

    @staticmethod
    def guard(before: Term, after: Term) -> Move:
        words = "0 times infinity, and 0 over 0 of unrelated parts, are 0: the limit of the definition"
        latex = r"0 \cdot \infty = 0 \text{, the limit of the definition}"
        return Move("absorb-infinity", words, latex, before, after, before, after)


def is_choice(term: Term) -> bool:
    """Whether a term is a Taylor polynomial of u or an integral where |u| is small, and a formula elsewhere."""
    if term.op != "where" or term.args[0].op != "le" or term.args[0].args[0].op != "abs":
        return False
    if _is_integral(term):
        return True
    u, ready = term.args[0].args[0].args[0], set[Term]()
    for t in walk(term.args[1]):
        if t is u or t.op in ("const", "var") or (
                t.op in ("add", "sub", "mul", "div", "neg") and all(a in ready for a in t.args)):
            ready.add(t)
    return term.args[1] in ready and is_const(term.args[0].args[1])


def _is_integral(term: Term) -> bool:
    """Whether a choice is a sum of many parts with weights, or that times t or t**2."""
    t, total = term.args[0].args[0].args[0], term.args[1]
    for _ in range(2):
        if total.op in ("mul", "absorb") and total.args[0] is t:
            total = total.args[1]
    parts = 1
    while total.op in ("add", "sub", "gap") and _is_weighted(total.args[1]):
        total, parts = total.args[0], parts + 1
    return parts >= NODES and _is_weighted(total)


def _is_weighted(part: Term) -> bool:
    part = part.args[0] if part.op == "neg" else part
    return part.op in ("mul", "div", "absorb") and is_const(part.args[0])


def without_choices(term: Term) -> Term:
    """The term with every Taylor polynomial replaced by what stands elsewhere."""
    if all(t.op != "where" for t in walk(term)):
        return term
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        done[t] = done[t.args[2]] if is_choice(t) else made
    return done[term]


def outside(term: Term, source: Term, result: Term) -> Term:
    """`source` replaced by `result`, but not within Taylor polynomials."""
    done: dict[Term, Term] = {source: result}

    def go(t: Term) -> Term:
        found = done.get(t)
        if found is None:
            if is_choice(t):
                found = make("where", *t.args[:2], go(t.args[2]))
            else:
                found = rebuild(t, tuple(go(a) for a in t.args)) if t.args else t
            done[t] = found
        return found

    return go(term)


def from_rewrite(step: Rewrite) -> Move:
    """A move from the use of a rule (or of a macro that is shaped like one)."""
    rule = step.rule if isinstance(step.rule, Rule) else None
    words = str(getattr(step.rule, "words", ""))
    latex = str(getattr(step.rule, "reason_latex", ""))
    before = step.before
    return Move(step.rule.name, words, latex, before, step.after, step.source, step.result, step.conditions, rule)


def from_seed(seed: Seed) -> Move:
    """A move from a normal form of the whole term."""
    return Move(seed.name, seed.words, seed.latex, seed.source, seed.term, seed.source, seed.term)


def replayed(start: Term, moves: Iterable[Move]) -> Term | None:
    """The term that the moves make of `start`; None where a source does not occur."""
    term = start
    for move in moves:
        made = move.on(term)
        if made is None:
            return None
        term = made.after
    return term
