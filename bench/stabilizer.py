"""The stabilizer on the set of formulas in bench/formulas: worst error before and after, on points of its own.

    python bench/stabilizer.py                        the whole set, float64 and float32
    python bench/stabilizer.py --only softplus        what matches: name, name.x (gradient), name.x,x (Hessian)
    python bench/stabilizer.py --family erf --failures
    python bench/stabilizer.py --full --record        more points; writes bench/records/<date>-stabilizer.md and .json

Every item runs in a process of its own, which ends after 60 s of CPU time. Errors are in ulp of the
truth, which is ball arithmetic on the definition; `excused` is the worst error after each point's is
divided by that point's condition: by how many ulp truth itself moves when one argument moves by half an ulp.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import multiprocessing
import platform
import resource
import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import formula_measure as fm
import numpy as np
from formula_set import Item, items

RECORDS = Path(__file__).resolve().parent / "records"
DTYPES = ("float64", "float32")
LIMIT, MEASURING = 60, 240  # seconds of CPU time
MEMORY = 4 << 30
Record = dict[str, Any]


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Stabilize the set of formulas and measure what comes out.")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="items whose name matches")
    parser.add_argument("--family", action="append", default=[], metavar="FILE", help="a file of bench/formulas")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default: both")
    parser.add_argument("--values", action="store_true", help="leave gradients and Hessians out")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth item, for a quick look")
    parser.add_argument("--start", type=int, default=0, metavar="I", help="with --every: from the Ith on")
    parser.add_argument("--full", action="store_true", help="six times as many points")
    parser.add_argument("--seed", type=int, default=20261122, help="of the points")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--failures", action="store_true", help="print only what is above 16 ulp, with where")
    parser.add_argument("--json", action="store_true", help="print records as JSON, a line each")
    parser.add_argument("--record", action="store_true", help="write bench/records/<date>-stabilizer.md and .json")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the record")
    return parser.parse_args(arguments)


def _work(pipe: Any, item: Item, dtypes: Sequence[str], effort: fm.Effort, seed: int) -> None:
    """In the worker: search, tell, measure, tell."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _allow(LIMIT)
    found = None
    try:
        found, head = fm.search(item, dtypes)
        pipe.send({"status": "ok", **head})
    except NotImplementedError as problem:
        pipe.send({"status": f"unsupported: {problem}"})
    except BaseException as problem:
        pipe.send({"status": f"error: {type(problem).__name__}: {str(problem).splitlines()[0][:200]}"})
    _allow(MEASURING)
    try:
        pipe.send({"dtypes": fm.measured(item, found, dtypes, effort, seed)})
    except BaseException as problem:
        pipe.send({"status": f"unmeasured: {type(problem).__name__}: {str(problem).splitlines()[0][:200]}"})


def _allow(seconds: int) -> None:
    """So much more CPU time for this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    now = math.ceil(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (now + seconds, resource.RLIM_INFINITY))


def run(item: Item, dtypes: Sequence[str], effort: fm.Effort, seed: int) -> Record:
    """One item in a process of its own."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=_work, args=(there, item, dtypes, effort, seed))
    record: Record = {"family": item.family, "name": item.label, "formula": item.formula, "domain": item.domain,
                      "where_": list(item.where), "note": item.note, "status": "timeout", "seconds": None}
    worker.start()
    there.close()
    end = time.monotonic() + 3 * (LIMIT + MEASURING)
    try:
        while here.poll(max(0.0, end - time.monotonic())):
            record |= here.recv()
    except EOFError:
        pass
    if worker.is_alive():
        worker.kill()
    worker.join()
    if record["status"] == "timeout":
        record["seconds"] = float(LIMIT)
    if record["status"] == "ok" and "dtypes" not in record:
        record["status"] = "unmeasured: out of time"
    return record


def sweep(chosen: Sequence[Item], given: argparse.Namespace) -> Iterator[Record]:
    """Records in the order of the set."""
    dtypes, effort = tuple(given.dtype or DTYPES), fm.FULL if given.full else fm.QUICK
    with ThreadPoolExecutor(given.jobs) as pool:
        yield from pool.map(lambda item: run(item, dtypes, effort, given.seed), chosen)


# --- what is printed ---------------------------------------------------------------------------


def number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return "inf" if math.isinf(value) else f"{value:.3g}"


def place(point: Mapping[str, float] | None) -> str:
    return ", ".join(f"{n} = {v!r}" for n, v in (point or {}).items())


HEAD = f"{'item':38} {'dtype':8} {'before':>9} {'after':>9} {'excused':>9} {'verdict':11} {'steps':>5} " \
       f"{'seconds':>7} {'MiB':>5}  evidence"


def lines(record: Record) -> list[str]:
    """A line per format."""
    out = []
    for dtype, parts in (record.get("dtypes") or {"-": None}).items():
        before, after = (parts or {}).get("before") or {}, (parts or {}).get("after") or {}
        status = record.get("verdict", "") if record["status"] == "ok" else record["status"].split(":")[0]
        evidence = ", ".join(record.get("evidence", ()))
        out.append(f"{record['name']:38} {dtype:8} {number(before.get('ulp')):>9} {number(after.get('ulp')):>9} "
                   f"{number(after.get('excused')):>9} {status:11} {record.get('steps', '-'):>5} "
                   f"{number(record['seconds']):>7} {record.get('rss_mib', '-'):>5}  {evidence}")
    return out


def failure_lines(record: Record) -> list[str]:
    """For each format in which the form is above the target: what, where, and the form."""
    out = []
    for dtype, parts in (record.get("dtypes") or {}).items():
        reason = fm.why(record, dtype)
        if not reason:
            continue
        after = parts["after"] or parts["before"]
        key = "excused_" if parts["after"] and fm.failing(after) else ""
        out.append(
            f"{record['name']}  {dtype}  [{reason}]  raw {number(after['ulp'])}  excused {number(after['excused'])}\n"
            f"    formula  {record['formula']}    {record['domain']} {record['where_'] or ''}\n"
            f"    at       {place(after.get(key + 'where'))}: {after.get(key + 'got')!r}, right is "
            f"{after.get(key + 'truth')!r}   (raw worst at {place(after.get('where'))})\n"
            f"    form     {record.get('form', record['status'])}   ({record.get('verdict', '')}, "
            f"{number(record['seconds'])} s)")
    return out


def share(records: Sequence[Record], dtype: str, key: str, part: str = "after") -> int:
    """How many items are within the target in a format."""
    return sum(bool((r.get("dtypes", {}).get(dtype, {}).get(part) or {}).get(key, math.inf) <= fm.TARGET)
               for r in records)


def harmed(records: Sequence[Record]) -> list[str]:
    """What came back worse than it was given: beyond the target, and beyond twice the error of the definition."""
    return [f"{r['name']} {d} ({number(p['before'][k])} to {number(p['after'][k])} {words})"
            for r in records for d, p in r.get("dtypes", {}).items() if p["after"]
            for k, words in (("ulp", "raw"), ("excused", "excused"))
            if p["after"][k] > max(fm.TARGET, 2 * p["before"][k])]


def overclaimed(records: Sequence[Record]) -> list[str]:
    """What the search calls stable and these points do not."""
    return [f"{r['name']} {d} ({number(p['after']['excused'])})" for r in records if r.get("verdict") == "stable"
            for d, p in r.get("dtypes", {}).items() if p["after"] and fm.failing(p["after"])]


def summary(records: Sequence[Record], dtypes: Sequence[str]) -> list[str]:
    total = len(records)
    out = []
    for dtype in dtypes:
        raw, excused, before = (share(records, dtype, k, p) for k, p in (
            ("ulp", "after"), ("excused", "after"), ("ulp", "before")))
        out.append(f"{dtype}: {raw} of {total} within 16 ulp ({100 * raw / total:.1f} %), {excused} with the condition "
                   f"excused ({100 * excused / total:.1f} %); {before} as written")
    out.append(f"worse than as written: {', '.join(harmed(records)) or 'none'}")
    out.append(f"called stable, and beyond 16 ulp here: {', '.join(overclaimed(records)) or 'none'}")
    seconds = sorted(r["seconds"] or 0.0 for r in records)
    out.append(f"seconds: median {statistics.median(seconds):.2f}, 95 % {seconds[int(0.95 * (total - 1))]:.2f}, "
               f"max {seconds[-1]:.2f}; memory: at most {max(r.get('rss_mib', 0) for r in records)} MiB")
    kinds = Counter(fm.why(r, d) for r in records for d in dtypes if d in r.get("dtypes", {}))
    kinds.pop("", None)
    out.append("above 16 ulp: " + ", ".join(f"{k} {n}" for k, n in sorted(kinds.items(), key=lambda p: (-p[1], p[0]))))
    return out


def to_markdown(records: Sequence[Record], dtypes: Sequence[str], command: str, date: str) -> str:
    """The record as a page."""
    page = [f"# The stabilizer on its set of formulas, {date}", "",
            f"`{command}`, Python {platform.python_version()}, NumPy {np.__version__}, one core per item.", "",
            "Worst error in ulp at points that the search has not seen; before: the definition as written, after: the",
            "compiled NumPy form; excused: divided by the condition of the point (by how many ulp truth moves when one",
            "argument moves by half an ulp). Seconds are CPU time of the search.", "",
            *[f"- {line}" for line in summary(records, dtypes)], "", "```", HEAD,
            *[line for r in records for line in lines(r)], "```", "", "## Above 16 ulp", "", "```",
            *[line for r in records for line in failure_lines(r)], "```", ""]
    return "\n".join(page)


def _plain(value: Any) -> Any:
    """JSON has no infinities and no NaN: as text."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main(arguments: Sequence[str]) -> int:
    """Run, print, keep. Exit 1 where something is above 16 ulp with the condition excused."""
    given = options(arguments)
    chosen = [i for i in items(given.only, given.family) if not (given.values and i.wrt)][given.start :: given.every]
    if not chosen:
        print("nothing in the set matches", file=sys.stderr)
        return 2
    dtypes = tuple(given.dtype or DTYPES)
    if not given.json and not given.failures:
        print(HEAD)
    records = []
    for record in sweep(chosen, given):
        records.append(record)
        shown = ([json.dumps(_plain(record))] if given.json else
                 failure_lines(record) if given.failures else lines(record))
        print("\n".join(shown), end="\n" if shown else "", flush=True)
    if not given.json:
        print("\n".join(summary(records, dtypes)))
    if given.record:
        page = RECORDS / f"{given.date}-stabilizer.md"
        command = shlex.join(["python", "bench/stabilizer.py", *arguments])
        page.write_text(to_markdown(records, dtypes, command, given.date), encoding="utf-8")
        data = {"date": given.date, "command": command, "records": [_plain(r) for r in records]}
        page.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 1 if any(share([r], d, "excused") < 1 for r in records for d in dtypes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
