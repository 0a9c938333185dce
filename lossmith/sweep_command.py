"""`lossmith audit ... --exhaustive --dtype float32`: all 2^32 numbers, with a progress bar, to be continued."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lossmith.errors import EXIT_FINDING, EXIT_WELL, UsageError
from lossmith.own import CompiledAdapter, is_vocabulary

if TYPE_CHECKING:
    from lossmith.audit.adapters import Adapter
    from lossmith.audit.subject import Subject
    from lossmith.audit.whole import Sweep, Tally


def swept(options: argparse.Namespace) -> int:
    """Every number of float32 for each output and hard label; a finding where the bound is broken."""
    from lossmith.audit.adapters import Unavailable
    from lossmith.audit.whole import Sweep, sweeps

    if options.dtype not in (None, ["float32"]):
        raise UsageError("all numbers of float32 take a command of their own: leave the other --dtype out")
    well, found, planned = True, [], list[Sweep]()
    try:
        subject, given = _meant(options)
        for tier in options.tier or ["fast"]:
            planned += sweeps(subject, given, tier, options.output or ["loss"])
        for sweep in planned:
            holds, said = _one(sweep, options, kept_in(options.state, sweep, len(planned) > 1))
            well &= holds
            found.append(said)
    except (ValueError, Unavailable) as error:
        raise UsageError(str(error)) from None
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'lossmith[sweep]'") from None
    if options.json:
        print(json.dumps(found, indent=1))
    return EXIT_WELL if well else EXIT_FINDING


def _meant(options: argparse.Namespace) -> tuple[Subject, Adapter]:
    """What is audited: kernels of the catalogue, a function of the vocabulary, anyone's function."""
    from lossmith.audit import subject as subjects
    from lossmith.audit.adapters import adapter
    from lossmith.audit.foreign import ForeignAdapter, resolve
    from lossmith.derivations.declarations import table_of

    if ":" in options.loss:
        sys.path.insert(0, "")
        truth = subjects.of_truth(options.truth, table_of(options.domain) if options.domain else None, options.where)
        order = [n.strip() for n in options.arguments.split(",")] if options.arguments else ()
        given = ForeignAdapter(resolve(options.loss), options.loss, order=order)
        given.check(truth)
        return truth, given
    if is_vocabulary(options.loss):
        return subjects.of_truth(options.loss), CompiledAdapter()
    return subjects.load(options.loss), adapter(options.target)


def kept_in(asked: str | None, sweep: Sweep, several: bool) -> Path:
    """Where a sweep is kept: in the file that is asked for, or, of several, in one beside it that has its name."""
    plain = re.sub(r"[^a-z0-9]+", "-", sweep.title.lower()).strip("-")
    path = Path(asked or "lossmith.jsonl")
    return path.with_name(f"{path.stem}-{plain}{path.suffix}") if several or not asked else path


def _one(sweep: Sweep, options: argparse.Namespace, state: Path) -> tuple[bool, dict[str, object]]:
    """One sweep, with a bar on the terminal and its figures below it: whether it keeps to its bound, and these."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lossmith.audit.contract import bound
    from lossmith.audit.whole import F32, checked, run

    derived, met = checked(sweep)
    started = time.monotonic()
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task(sweep.title, total=None)
        tally = run(sweep, state, options.jobs or -1, options.every,
                    lambda done, of, so_far: bar.update(task, completed=done, total=of))
    promised = bound(sweep.output, sweep.given.name, F32, sweep.tier)
    limit = promised if options.fail_over is None else options.fail_over
    seconds = time.monotonic() - started
    if not options.json:
        print(_text(sweep, tally, limit, derived, met, seconds, options.every, state))
    return tally.holds(limit), {"sweep": sweep.title, **dataclasses.asdict(tally), "where": tally.where, "bound": limit,
                   "reference": derived, "reference_met": met, "seconds": round(seconds, 1), "every": options.every}


def _text(sweep: Sweep, t: Tally, limit: float, derived: float, met: float, seconds: float, every: int,
          state: Path) -> str:
    part = "" if every == 1 else f" (every {every}th block)"
    return "\n".join([
        f"{sweep.title}: {t.numbers:,} numbers{part}, {'holds' if t.holds(limit) else 'FAILS'}",
        f"  worst     {t.max_ulp:.9g} ulp at {t.where}; bound {limit:g}"
        + (f"; {t.normal_ulp:.9g} where the exact value is no subnormal" if t.normal_ulp < t.max_ulp else ""),
        f"  nearest   {t.numbers - t.inexact:,}; not the nearest: {t.inexact:,}; over 0.501 ulp: {t.over:,}; over 1: "
        f"{t.over_one:,}",
        f"  wrong     {t.wrong_nan} nan, {t.wrong_inf} inf",
        f"  reference float64, within {max(t.bound, derived):.2g} ulp as derived, {met:.2g} at the points checked; "
        f"ball arithmetic decided {t.balls:,}",
        f"  {seconds:.0f} s; kept in {state}: remove it to begin anew",
    ])


