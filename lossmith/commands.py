"""What each command does, once its options are read. Each returns an exit status."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossmith.derivations import catalogue
from lossmith.errors import EXIT_FINDING, EXIT_WELL, UsageError, did_you_mean

if TYPE_CHECKING:
    from lossmith.codegen.provenance import Status
    from lossmith.derivations.derivation import Derivation


def run_list(options: argparse.Namespace) -> int:
    """The catalogue, a line per unit."""
    units = catalogue.described()
    if options.json:
        return _print_json({"units": units})
    rows = [("name", "shape", "arguments", "title")]
    for u in units:
        variant = u["name"] != u["loss"]
        given = ", ".join(a["name"] + ("[k]" if a["axis"] == "class" else "") for a in u["arguments"])
        rows.append(("  " * variant + u["name"], u["shape"], given, u["title"]))
    _print_table(rows)
    return EXIT_WELL


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _print_json(value: Any) -> int:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
    return EXIT_WELL


def run_derive(options: argparse.Namespace) -> int:
    """One derivation, printed or written."""
    from lossmith.api import derive

    derivation = derive(options.loss, options.of, options.wrt)
    if options.output is None:
        _print_derivation(derivation, options.format)
        return EXIT_WELL
    from lossmith.codegen.write import write_all

    target = Path(options.output)
    write_all(target.parent, {target.name: _formatted(derivation, options.format).rstrip("\n") + "\n"})
    return EXIT_WELL


def _print_derivation(derivation: Derivation, form: str) -> None:
    """On a terminal with colours and to its width; elsewhere as plain text."""
    if form != "text" or not sys.stdout.isatty():
        print(_formatted(derivation, form).rstrip("\n"))
        return
    from rich.console import Console

    from lossmith.derivations.typeset.text import derivation_rich

    console = Console(highlight=False)
    console.print(derivation_rich(derivation, max(80, console.width)), end="", soft_wrap=True)


def _formatted(derivation: Derivation, form: str) -> str:
    if form == "html":
        from lossmith.derivations.typeset.html import derivation_html

        return derivation_html(derivation)
    if form == "json":
        from lossmith.derivations.typeset.json import derivation_json

        return json.dumps(derivation_json(derivation), indent=1, ensure_ascii=False, allow_nan=False)
    writers: dict[str, Callable[[], str]] = {
        "text": derivation.to_text, "latex": derivation.to_latex, "markdown": derivation.to_markdown,
    }
    return writers[form]()


def run_generate(options: argparse.Namespace) -> int:
    """Write kernels; or with --check say what is stale."""
    from lossmith.codegen.generate import TARGETS, generate

    with Progress() as progress:
        result = generate(options.names or None, tuple(options.target or TARGETS), options.output, options.check,
                          options.jobs or os.cpu_count() or 1, progress)
    if options.json:
        _print_json({
            "units": list(result.units), "written": list(result.written), "unchanged": len(result.unchanged),
            "stale": [{"path": s.path, "why": s.kind, "type": _typed(s.remedy, options)} for s in result.findings],
        })
    elif options.check:
        _print_findings(result.findings, len(result.texts), options)
    else:
        for path in result.written:
            print(f"{options.output}/{path}")
        print(f"{len(result.written)} files written, {len(result.unchanged)} unchanged", file=sys.stderr)
    return EXIT_FINDING if result.findings else EXIT_WELL


def _typed(remedy: str, options: argparse.Namespace) -> str:
    """What to type, with the place that was asked for where it is not the usual one."""
    place = f" -o {shlex.quote(options.output)}" if options.output != "generated" else ""
    return remedy + place if "lossmith generate" in remedy else remedy


def _print_findings(findings: Sequence[Status], total: int, options: argparse.Namespace) -> None:
    if not findings:
        print(f"{total} files are up to date")
        return
    _print_table([("file", "what happened", "type"), *((s.path, s.kind, _typed(s.remedy, options)) for s in findings)])
    all_of_them = _typed(f"lossmith generate {shlex.join(options.names)}".rstrip(), options)
    print(f"{len(findings)} of {total} files are not up to date; for all of them type: {all_of_them}")


def run_stabilize(options: argparse.Namespace) -> int:
    """A stable form of the user's own formula."""
    from lossmith.api import stabilize

    found = stabilize(options.formula, options.domain, options.wrt, options.where, options.dtype or None)
    _print_derivation(found, options.format)
    return EXIT_WELL


def run_audit(options: argparse.Namespace) -> int:
    """Accuracy measured: of a loss of the catalogue, of anyone's function, of one form against another."""
    from lossmith.audit_command import run

    return run(options)


def run_build(options: argparse.Namespace) -> int:
    """C compiled ahead of its use."""
    from lossmith.build_command import run

    return run(options)


def run_bench(options: argparse.Namespace) -> int:
    """Times and errors of ours and of what people use."""
    from lossmith.bench_command import run

    return run(options)


def run_doctor(options: argparse.Namespace) -> int:
    """What this machine can build and run."""
    from lossmith.doctor import examine

    found = examine()
    if options.json:
        _print_json({"checks": [vars(c) for c in found]})
    else:
        _print_table([("", "what", "found", "so that"), *(
            ("ok" if c.well else "MISSING" if c.required else "-", c.name, c.found, c.purpose) for c in found)])
        for c in found:
            if not c.well and c.remedy:
                print(f"to have {c.name}: {c.remedy}")
    return EXIT_WELL if all(c.well or not c.required for c in found) else EXIT_FINDING


def run_cache(options: argparse.Namespace) -> int:
    """What is kept between runs."""
    from lossmith.cache_command import run

    return run(options)


def run_explain(options: argparse.Namespace) -> int:
    """What an error code means, or one of the ways in which losses fail."""
    from lossmith.audit import ways
    from lossmith.derivations import parser

    titles = {**parser.CODES, **{code: way.title for code, way in ways.WAYS.items()}}
    if options.code is None:
        _print_table(list(titles.items()))
        return EXIT_WELL
    code = options.code.upper()
    if code not in titles:
        what = "finding" if code.startswith("L") else "error code"
        raise UsageError(f"there is no {what} '{options.code}': {did_you_mean(code, titles)}")
    print(ways.explain(code) if code in ways.WAYS else parser.explain(code))
    return EXIT_WELL


class Progress:
    """One line on stderr that says what is being done, on a terminal only; it is wiped at the end."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()

    def __enter__(self) -> Callable[[str], None]:
        return self.say

    def say(self, what: str) -> None:
        if self.shown:
            print(f"\r\x1b[2K{what[:100]} ...", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
