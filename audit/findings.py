"""Findings: in which of the ten ways a function fails, the input that shows it, the fix, whether it matters."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from lossmith.audit.adapters import kind_of
from lossmith.audit.subject import Subject
from lossmith.audit.ways import WAYS
from lossmith.derivations import catalogue
from lossmith.derivations.derivation import StableForm
from lossmith.derivations.derive import derive
from lossmith.derivations.terms import show


@dataclasses.dataclass(frozen=True)
class Witness:
    """An input in words and hex, and there the computed and the exact value in hex; both also as numbers."""

    where: str
    got: str
    wanted: str
    computed: float
    exact: float


@dataclasses.dataclass(frozen=True)
class Finding:
    """One way in which one output fails.

    `because`: the evidence, as found at the witness. `points` of `examined`: at how many of the
    failing inputs that were looked at. `command` prints a stable form of what is computed.
    `matters`: whether it can be told in use, and `verdict` on what that was decided.
    """

    code: str
    output: str
    dtype: str
    witness: Witness
    because: str
    points: int
    examined: int
    matters: bool
    verdict: str
    command: str = ""

    @property
    def title(self) -> str:
        return WAYS[self.code].title

    @property
    def fix(self) -> str:
        return WAYS[self.code].fix

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self) | {"title": self.title, "fix": self.fix}

    def to_text(self) -> str:
        """A few lines for the terminal."""
        w = self.witness
        lines = [f"{self.output} ({self.dtype})  {self.code}  {self.title}"]
        for label, text in (
            ("at", f"{w.where}: {w.computed:.9g} ({w.got}) where {w.exact:.9g} ({w.wanted}) is right"),
            ("why", f"{self.because}; {self.points} of {self.examined} failing inputs looked at"),
            ("fix", self.fix + (f"; a stable form: {self.command}" if self.command else "")),
            ("matters", ("yes, " if self.matters else "harmless, ") + self.verdict),
        ):
            lines += textwrap.wrap(text, 110, initial_indent=f"  {label:8} ", subsequent_indent=" " * 11,
                                   break_on_hyphens=False, break_long_words=False)
        return "\n".join(lines)


def command_for(subject: Subject, output: str) -> str:
    """What prints a stable form of an output, with its derivation and its measured error."""
    by = order_of(subject, output)
    if subject.name in catalogue.unit_names():
        wrt = f" --wrt {','.join(dict.fromkeys(by))}" if by and set(by) != {subject.unit.primary.name} else ""
        return f"lossmith derive {subject.name}" + (f" --of {kind_of(output)}{wrt}" if by else "")
    declared = [f'--domain "{a.name}{"[k]" if a.axis == "class" else ""}={a.domain}"' for a in subject.arguments]
    known = [f'--where "{show(c)}"' for c in subject.unit.given]
    derived = [f"--wrt {','.join(by)}"] if by else []
    return " ".join([f'lossmith stabilize "{show(subject.outputs["loss"])}"', *declared, *known, *derived])


def order_of(subject: Subject, output: str) -> tuple[str, ...]:
    """By which arguments an output differentiates, one for each time: a Hessian's diagonal twice by the same."""
    by = subject.wrt(output)
    return by * 2 if kind_of(output) == "hessian" and len(by) == 1 else by


def stable_form(subject: Subject, output: str) -> StableForm:
    """Our own form of an output and its measured error. It is derived anew: seconds. Raises what deriving raises."""
    return derive(subject.unit, order_of(subject, output)).form


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each way of each output in each format: the first one's witness, all the points.

    A form that cancels has milder roundings beside; those are not told again.
    """
    found: dict[tuple[str, str, str], Finding] = {}
    for f in findings:
        key = (f.output, f.dtype, f.code)
        known = found.get(key)
        found[key] = f if known is None else dataclasses.replace(
            known, points=known.points + f.points, examined=known.examined + f.examined,
            matters=known.matters, verdict=known.verdict)
    return tuple(_without_repeats(found.values()))


def _without_repeats(found: Iterable[Finding]) -> Iterator[Finding]:
    listed = list(found)
    for f in listed:
        told = any(o.output == f.output and o.dtype == f.dtype and o.code != f.code for o in listed)
        if not (f.because.startswith(MILD) and told):
            yield f


MILD = "roundings add up"
