"""`lossmith build`: the C kernels compiled ahead of their use, for this machine or for wheels to carry."""

from __future__ import annotations

import argparse
from pathlib import Path

from lossmith.derivations.private import Folder
from lossmith.errors import EXIT_WELL, UsageError, did_you_mean


def run(options: argparse.Namespace) -> int:
    """Build what is asked for, a line for each library. Raises UsageError, CompileError."""
    from lossmith.codegen import ahead, compiled, faces
    from lossmith.commands import Progress, _print_json

    sources = [compiled.Source.of(path) for path in _paths(options.names)]
    if not options.portable and compiled.cache_folder() != Folder("c", 0).path():
        raise UsageError("nothing can be kept: the cache is not private, read-only or off; `lossmith doctor` says more")
    parts = [(compiled.SUFFIX[dtype], tier) for dtype in options.dtype or ("float32", "float64")
             for tier in options.tier or ("fast",)]
    work = [(faces.helper_source(), "f32", "fast")]
    work += [(s, d, t) for s in sources for d, t in parts if (d, t) in compiled.PARTS]
    built: list[Path] = []
    with Progress() as say:
        for source, dtype, tier in work:
            say(f"building {source.name} {dtype} {tier}")
            built.append(ahead.build(source, dtype, tier) if options.portable
                         else compiled.build(source, [(dtype, tier)]))
    if options.json:
        return _print_json({"built": [str(path) for path in built]})
    for path in built:
        print(path)
    return EXIT_WELL


def _paths(names: list[str]) -> list[Path]:
    """The generated C of the losses named, or of all. Raises UsageError."""
    from lossmith.codegen import ahead

    folder = ahead.FOLDER.parent
    known = {path.stem: path for path in sorted(folder.glob("*.c"))}
    if not known:
        raise UsageError(f"there is no generated C in {folder}: lossmith generate --target c -o {folder.parent}")
    for name in names:
        if name not in known:
            raise UsageError(f"there is no generated C of '{name}': {did_you_mean(name, list(known))}")
    return [known[name] for name in names or known]
