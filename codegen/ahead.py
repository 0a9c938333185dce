"""C built ahead of its use, for every processor of a kind: what `lossmith build --portable` leaves for wheels to carry.

A library lies beside the record of its hash, under a name that is made of its source, of what it was compiled with
and of the kind of machine; another source, or a library that was changed, is not loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import stat
import sys
from pathlib import Path

from lossmith.codegen import compiled
from lossmith.codegen.compiled import CompileError, Source

FOLDER = Path(__file__).resolve().parents[1] / "generated" / "c" / "built"
# One loop for each generation of processors, and no word of the one that compiles.
FLAGS = tuple(flag for flag in compiled.FLAGS if flag != "-DLOSSMITH_ONE_VERSION")
EXTRA = (("-fopenmp",), ("-fopenmp-simd",), ())


def place(source: Source, dtype: str, tier: str, folder: Path | None = None) -> Path:
    """Where the library of a source lies for a type and a tier, whether it is there or not."""
    made = hashlib.sha256()
    kind = "\0".join([sys.platform, platform.machine(), dtype, tier, *FLAGS]).encode()
    for text in (source.source, source.header, kind):
        made.update(hashlib.sha256(text).digest())
    return (folder or FOLDER) / f"{source.name}-{dtype}-{tier}-{made.hexdigest()[:32]}.so"


def build(source: Source, dtype: str, tier: str, folder: Path | None = None) -> Path:
    """Compile a type and a tier for any processor of this kind, unless that was done before. Raises CompileError."""
    command = compiled.compiler()
    if command is None:
        raise compiled.no_compiler()
    library = place(source, dtype, tier, folder)
    if _sound(library) is None:
        try:
            library.parent.mkdir(parents=True, exist_ok=True)
            flags = [*FLAGS, f"-DLOSSMITH_PARTS={compiled.PARTS[dtype, tier]}"]
            compiled.compile_into(command, flags, source, library, EXTRA, 0o755)
        except OSError as problem:
            raise CompileError(f"nothing can be built in {library.parent}: {problem.strerror or problem}") from None
    return library


def opened(source: Source, dtype: str, tier: str) -> ctypes.CDLL | None:
    """The library that was built ahead; None where there is none, or none that is what was built."""
    library = _sound(place(source, dtype, tier))
    if library is None:
        return None
    try:
        return ctypes.CDLL(str(library))
    except OSError:  # of another C library, or without the OpenMP it was built with
        return None


def _sound(library: Path) -> Path | None:
    try:
        found, recorded = _bytes(library), _bytes(compiled.record_of(library))
    except OSError:
        return None
    return library if hashlib.sha256(found).hexdigest().encode() == recorded else None


def _bytes(path: Path) -> bytes:
    """A file as installed beside lossmith's own: the user's or the system's, and not open to everybody."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid not in (0, os.getuid()) or facts.st_mode & stat.S_IWOTH:
            raise OSError(f"{path} can be changed by others")
        return file.read()
