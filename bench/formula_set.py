"""The set of formulas in bench/formulas: reading it, and each formula, gradient and Hessian as one item."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lossmith.derivations import parser
from lossmith.derivations.calculus import derivative
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term

FOLDER = Path(__file__).resolve().parent / "formulas"
FIELDS = {"name", "formula", "domain", "where", "wrt", "note", "source"}


@dataclass(frozen=True)
class Item:
    """What is to be stabilized: a formula (`wrt` empty), or its derivative by the arguments in `wrt`."""

    family: str
    name: str
    formula: str
    domain: dict[str, str] = field(hash=False)
    where: tuple[str, ...] = ()
    wrt: tuple[str, ...] = ()
    note: str = ""

    @property
    def label(self) -> str:
        """`name`, `name.x`, `name.x,z`: what --only is matched against."""
        return f"{self.name}.{','.join(self.wrt)}" if self.wrt else self.name

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        return tuple(parser.arguments(self.domain).values())

    @cached_property
    def relations(self) -> tuple[Term, ...]:
        known = parser.arguments(self.domain)
        return tuple(parser.parse_condition(text, known) for text in self.where)

    @cached_property
    def definition(self) -> Term:
        """The formula as written, differentiated where a derivative is asked for. Raises FormulaError."""
        term = parser.parse_term(self.formula, parser.arguments(self.domain))
        return derivative(term, self.wrt, self.arguments) if self.wrt else term


def families() -> dict[str, list[dict[str, Any]]]:
    """The entries of every file, by the file's name. Raises ValueError on an entry that is not one."""
    out: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("formula")
        if entries is None:
            continue  # rows have a file and a runner of their own
        for entry in entries:
            if not {"name", "formula", "domain"} <= set(entry) <= FIELDS:
                raise ValueError(f"{path.name}: {entry.get('name', entry)} has fields {sorted(set(entry) ^ FIELDS)}")
        out[path.stem] = entries
    return out


def items(only: Sequence[str] = (), family: Sequence[str] = ()) -> list[Item]:
    """The whole set, or what matches one of the patterns (`*` as in file names; a plain word matches anywhere)."""
    found = [
        Item(name, entry["name"], entry["formula"], entry["domain"], tuple(entry.get("where", ())),
             tuple(w.strip() for w in wrt.split(",")) if wrt else (), entry.get("note", entry.get("source", "")))
        for name, entries in families().items() if not family or name in family
        for entry in entries for wrt in ("", *entry.get("wrt", ()))
    ]
    return [item for item in found if not only or any(_matches(item.label, p) for p in only)]


def _matches(label: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(label, pattern if any(c in pattern for c in "*?[") else f"*{pattern}*")
