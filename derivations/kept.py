"""Derivations kept between runs, by formula, by what lossmith's own sources say, and by versions.

`derive` and `derive_hessian_vector` are those of `derive.py`, looked up first; nothing of the search is
imported where the answer is known. An entry is data (`plain.py`) in a private folder (`private.py`),
with a checksum and the question it answers; one that does not read as it was written is dropped, and
derived again. Deleting the folder loses nothing but time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from lossmith.derivations import plain
from lossmith.derivations.derivation import Derivation, Order
from lossmith.derivations.loss import Argument, Reference, Unit
from lossmith.derivations.private import Folder
from lossmith.derivations.terms import Term

from lossmith import __version__

HERE = Path(__file__).resolve().parent
FORMAT = 1
FOLDER = Folder("derivations", most=4096)
DEPENDS = ("sympy", "python-flint", "numpy")
SHOWS = ("typeset", "losses", "identities")  # folders that no derivation of a given formula depends on
_STARTED = time.time()
Dtypes = tuple[str, ...] | None


@dataclass(frozen=True)
class Question:
    """All that a derivation follows from, but for the sources and versions."""

    name: str
    title: str
    formula: Term
    arguments: tuple[Argument, ...]
    references: tuple[Reference, ...]
    policies: tuple[tuple[str, str], ...]
    given: tuple[Term, ...]
    order: tuple[str, ...]
    dtypes: tuple[str, ...]


def derive(unit: Unit, order: Order = (), dtypes: Dtypes = None) -> Derivation:
    """`derive.derive`, from what was kept where it was asked before. Raises KeyError as it does."""
    for name in order:
        unit.argument(name)

    def search() -> tuple[Derivation, ...]:
        from lossmith.derivations.derive import derive as run

        return (run(unit, order, dtypes),)

    return _answer(unit, order, dtypes, search)[0]


def derive_hessian_vector(unit: Unit) -> dict[str, Derivation]:
    """`derive.derive_hessian_vector`, from what was kept where it was asked before."""

    def search() -> tuple[Derivation, ...]:
        from lossmith.derivations.derive import derive_hessian_vector as run

        return tuple(run(unit).values())

    return {d.order[0]: d for d in _answer(unit, ("*", "tangent"), None, search)}


def _answer(unit: Unit, order: Order, dtypes: Dtypes,
            search: Callable[[], tuple[Derivation, ...]]) -> tuple[Derivation, ...]:
    """What was kept; else what the search finds, which is kept from now on."""
    if FOLDER.path() is None or (sources := _sources()) is None:
        return search()
    arguments = tuple(replace(a, order=0) for a in unit.arguments)  # which counts what was declared before it
    question = Question(unit.name, unit.title, _definition(unit), arguments, unit.references, unit.policies,
                        unit.given, order, dtypes or ())
    asked = json.dumps([FORMAT, sources, plain.packed([question], Question)], separators=(",", ":"))
    key = hashlib.sha256(asked.encode()).hexdigest()
    found = _read(key, question)
    if found is not None:
        return found
    stopped = _stopped()
    made = search()
    if _stopped() == stopped and _sources() == sources:
        FOLDER.write(f"{key}.json", _entry(key, made))
    return made


def _stopped() -> int:
    """How often the clock has cut a search short: another run would find something else."""
    beam = sys.modules.get("lossmith.derivations.beam")
    return 0 if beam is None else int(beam.Budget.stopped)


def _definition(unit: Unit) -> Term:
    """The formula as a term; see `derive.definition_of`, which imports all of the search."""
    if isinstance(unit.formula, Term):
        return unit.formula
    from lossmith.derivations.importer import to_term

    return to_term(unit.formula)


def _entry(key: str, found: Sequence[Derivation]) -> bytes:
    body = json.dumps({"key": key, **plain.packed(found, Derivation)}, separators=(",", ":")).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _read(key: str, question: Question) -> tuple[Derivation, ...] | None:
    """An entry that answers this very question; one that does not is removed."""
    data = FOLDER.read(f"{key}.json")
    if data is None:
        return None
    try:
        return _trusted(data, key, question)
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        FOLDER.remove(f"{key}.json")
        return None


def _trusted(data: bytes, key: str, question: Question) -> tuple[Derivation, ...]:
    digest, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise plain.Malformed("the checksum is not that of the entry")
    read: Any = json.loads(body)
    if read["key"] != key:
        raise plain.Malformed("the entry answers another question")
    found = tuple(plain.checked(d) for d in plain.unpacked(read, Derivation))
    for d in found:
        along = question.order[-1:] == ("tangent",)
        if d.name != question.name or d.definition is not question.formula or d.given != question.given or \
                (d.order[1:] != ("tangent",) if along else d.order != question.order) or \
                d.arguments[:len(question.arguments)] != question.arguments:
            raise plain.Malformed("the entry answers another question")
    return found


def _sources() -> str | None:
    """What the answer depends on beside the question; None where sources were edited after they were loaded."""
    found = _digest()
    if found is None or any(p.stat().st_mtime > _STARTED for p in _files()):
        return None
    return found


@functools.cache
def _files() -> tuple[Path, ...]:
    found = [p for p in (*HERE.rglob("*.py"), *HERE.rglob("*.json"))
             if p.relative_to(HERE).parts[0] not in SHOWS]
    return tuple(sorted(found))


@functools.cache
def _digest() -> str | None:
    made = hashlib.sha256(repr((__version__, sys.version_info[:2], [_version(d) for d in DEPENDS])).encode())
    try:
        for path in _files():
            made.update(path.relative_to(HERE).as_posix().encode() + b"\0")
            made.update(hashlib.sha256(path.read_bytes()).digest())
    except OSError:
        return None
    return made.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
