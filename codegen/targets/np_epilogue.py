"""The statements of an epilogue: what differs at a row's label alone is computed there alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lossmith.codegen.kernel import names_used
from lossmith.derivations.terms import POSITION, Term, label, name_of, replace, row, var, walk


@dataclass(frozen=True)
class Statement:
    """`name = term`; or the value of a row `at` each row's label; or `put`: a row changed at the labels."""

    kind: Literal["let", "at", "put"]
    name: str
    term: Term
    label: str = ""
    at_label: Term | None = None
    comment: str = ""
    output: str = ""

    def terms(self) -> list[Term]:
        return [self.term] if self.at_label is None else [self.term, self.at_label]


def statements(lets: Sequence[tuple[str, Term, str]], outputs: Mapping[str, Term],
               rows: Iterable[str]) -> list[Statement]:
    """Temporaries and outputs as statements, those that no output needs left out."""
    maker = _Maker(set(rows))
    for name, term, comment in lets:
        maker.add(name, term, comment)
    for name, term in outputs.items():
        maker.add(name.partition("_")[0] if len(outputs) > 1 else name, term, output=name)
    needed: set[str] = set()
    kept: list[Statement] = []
    for s in reversed(maker.made):
        if s.output or s.name in needed:
            kept.append(s)
            needed |= names_used(s.terms())
    return kept[::-1]


class _Maker:
    """Collects statements; knows which names vary along the class axis, and what they are at a label."""

    def __init__(self, rows: set[str]) -> None:
        self.varying = set(rows)
        self.lets: dict[str, Term] = {}
        self.made: list[Statement] = []
        self.at: dict[tuple[str, str], str] = {}

    def add(self, name: str, term: Term, comment: str = "", output: str = "") -> None:
        """One temporary or output."""
        if output and name in {s.name for s in self.made} | self.varying:
            name = f"{name}_value"
        found = _at_label(term)
        if found is not None and self._varies(found[2]):
            where, special, ordinary = found
            there = self._there(special, where)
            self.made.append(Statement("put", name, ordinary, where, there, comment, output))
        else:
            self.made.append(Statement("let", name, term, comment=comment, output=output))
        self.lets[name] = term
        if self._varies(term):
            self.varying.add(name)

    def _varies(self, term: Term) -> bool:
        return any(name in self.varying for name in names_used([term]))

    def _there(self, term: Term, where: str) -> Term:
        """The term at a label: rows are gathered, temporaries that vary are computed there anew."""
        mapping: dict[Term, Term] = {POSITION: label(where)}
        for t in walk(term):
            if t.op in ("row", "var") and name_of(t) in self.varying:
                mapping[t] = self._name_there(t, where)
        return replace(term, mapping)

    def _name_there(self, leaf: Term, where: str) -> Term:
        name = name_of(leaf)
        if (name, where) not in self.at:
            there = f"{name}_there" if f"{name}_at_{where}" in self._names() else f"{name}_at_{where}"
            if name in self.lets:
                term = self.lets[name]
                found = _at_label(term)
                inner = found[1] if found is not None and found[0] == where else term
                self.made.append(Statement("let", there, self._there(inner, where)))
            else:
                self.made.append(Statement("at", there, row(name), where))
            self.at[name, where] = there
        return var(self.at[name, where])

    def _names(self) -> set[str]:
        used = names_used([t for s in self.made for t in s.terms()] + list(self.lets.values()))
        return used | {s.name for s in self.made}


def _at_label(term: Term) -> tuple[str, Term, Term] | None:
    """(label, special, ordinary) of `where(position = label, special, ordinary)`."""
    if term.op != "where" or term.args[0].op != "eq":
        return None
    pair = term.args[0].args
    for a, b in (pair, pair[::-1]):
        if a is POSITION and b.op == "label":
            return name_of(b), term.args[1], term.args[2]
    return None
