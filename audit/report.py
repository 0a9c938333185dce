"""From a result to its report: curves, seams, code and derivation gathered, then written as one page."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from lossmith.audit.adapters import Adapter, NumpyAdapter, TorchAdapter
from lossmith.audit.curves import curves
from lossmith.audit.page import Page, write
from lossmith.audit.peers import peer
from lossmith.audit.result import Origin, Result
from lossmith.audit.seams import seam_rows
from lossmith.audit.subject import Subject
from lossmith.derivations import catalogue
from lossmith.derivations.ulp import FORMATS

SOURCES = (("np", "py"), ("pt", "py"), ("c", "c"), ("cu", "cu"))


def to_html(result: Result, path: str | Path, command: str = "") -> None:
    """Write the report of a result. command: what reproduces it; the command line of this process by default.

    Raises ValueError for a result that was put together by hand, and knows nothing of its subject.
    """
    if not result.origins:
        raise ValueError("only the result of an audit has a report")
    first = result.origins[0]
    found = [c for o in result.origins for c in curves(o.subject, o.given, FORMATS[o.dtype], o.tier)]
    peers = list(_peers(first))
    rows = list(seam_rows(first.subject, FORMATS[first.dtype], first.tier, peers))
    page = Page(first.subject, first.given.name, result, found, command or shlex.join(sys.argv),
                peers=[f"{p.name} {first.dtype}" for p in peers], seams=rows, sources=_sources(first.subject),
                derivations=_derivations(first.subject))
    write(page, path)


def _peers(origin: Origin) -> Iterator[Adapter]:
    """What is audited, and whatever else computes the same: the generated modules, torch's own function."""
    yield origin.given
    name = origin.subject.name
    others: list[Adapter] = [NumpyAdapter(), TorchAdapter()] if name in catalogue.unit_names() else []
    own = peer(name) if others else None
    for other in [*others, *([own] if own else [])]:
        same = other.name.partition(" ")[2] or other.name
        if same not in (origin.given.name, origin.given.name.rpartition(":")[2]) and _here(other):
            yield other


def _here(one: Adapter) -> bool:
    return one.name == "np" or find_spec("torch") is not None


def _sources(subject: Subject) -> Mapping[str, str]:
    """The generated code of a unit of the catalogue, by target."""
    if subject.name not in catalogue.unit_names():
        return {}
    from importlib.resources import files

    out = {}
    for target, ending in SOURCES:
        place = files(f"lossmith.generated.{target}") / f"{subject.name}.{ending}"
        if place.is_file():
            out[target] = place.read_text(encoding="utf-8")
    return out


def _derivations(subject: Subject) -> str:
    """The derivation of the loss and of its first gradient, typeset; with the error after every step. Nothing of
    what cannot be derived."""
    from lossmith.derivations.derive import derive
    from lossmith.derivations.typeset.html import section

    found = []
    for order in ((), (subject.unit.primary.name,)):
        with contextlib.suppress(ValueError, ArithmeticError):
            found.append(section(derive(subject.unit, order)))
    return "\n".join(found)
