"""`lossmith cache`: where what is kept between runs lies, how large it is, and doing away with it."""

from __future__ import annotations

import argparse

from lossmith.derivations.private import Facts, Folder
from lossmith.errors import EXIT_WELL

# Every kind that is kept; the compiled ones are written elsewhere, in folders that are as private.
KINDS = {
    "derivations": "stable forms found before",
    "c": "kernels compiled for this machine",
    "host": "CUDA kernels built for the CPU",
}


def run(options: argparse.Namespace) -> int:
    """Print what is kept, or clear it."""
    from lossmith.commands import _print_json, _print_table

    if options.clear:
        removed = {kind: Folder(kind, 0).clear() for kind in KINDS}
        if options.json:
            return _print_json({"removed": removed})
        print(f"{sum(removed.values())} entries removed")
        return EXIT_WELL
    found = [(kind, Folder(kind, 0).facts()) for kind in KINDS]
    if options.json:
        return _print_json({kind: vars(facts) for kind, facts in found})
    _print_table([("what", "where", "entries", "size"), *(
        (KINDS[kind], facts.path, str(facts.entries), facts.refusal or sized(facts.size)) for kind, facts in found)])
    return EXIT_WELL


def sized(size: int) -> str:
    """Bytes as a person reads them."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000 or unit == "MB":
            return f"{size:.4g} {unit}"
        size = round(size / 1000, 1) if size < 1e6 else size // 1000  # type: ignore[assignment]
    raise AssertionError


def summary(facts: Facts) -> str:
    """One folder in a line."""
    if facts.refusal:
        return f"{facts.path} {facts.refusal}".strip()
    return f"{facts.path}: {facts.entries} entries, {sized(facts.size)}"
