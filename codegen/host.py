"""A generated .cu built for this machine's CPU, loaded, and called with NumPy arrays.

The same file that nvcc compiles; templates/cu/host/cuda_on_host.h supplies the language.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lossmith.codegen.prototypes import Parameter, Prototype, read

HARNESS = Path(__file__).resolve().parents[1] / "templates" / "cu" / "host"
FLAGS = ("-x", "c++", "-std=c++17", "-O1", "-ffp-contract=off", "-fno-gnu-unique", "-fPIC", "-shared", "-Wall",
         "-Wno-unknown-pragmas", "-Werror", "-include", "cuda_on_host.h")
ORDERS = ("forward", "reverse", "random")
Array = npt.NDArray[Any]


class HostError(RuntimeError):
    """A .cu file that cannot be built or run on the CPU; one line says why."""


def compiler() -> str | None:
    """The C++ compiler that is used: $CXX, else g++, else None."""
    return shutil.which(os.environ.get("CXX") or "g++")


def private_folder() -> Path:
    """A folder of the user's own, closed to others (0700), in which built libraries are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "lossmith" / "host"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="lossmith-"))


def _is_private(folder: Path) -> bool:
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077


def build(source: str | Path, folder: str | Path | None = None, flags: Sequence[str] = ()) -> Path:
    """Compile a .cu file (its .h beside it) for the CPU; the library, new or kept from before.

    folder: where to put it; it must belong to the user and be closed to others. flags: more
    compiler flags, later ones win. Raises HostError: no compiler, or the first error it gave.
    """
    source, program = Path(source), compiler()
    if program is None:
        raise HostError("no C++ compiler is at hand: install g++, or name one in CXX")
    where = private_folder() if folder is None else Path(folder)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(where):
        raise HostError(f"{where} is open to other users: built code is loaded from a private folder only")
    command = [program, *FLAGS, *flags, "-I", str(HARNESS)]
    library = where / f"{source.stem}-{_fingerprint(source, command)}.so"
    if not library.exists():
        handle, name = tempfile.mkstemp(suffix=".so", dir=where)
        os.close(handle)
        try:
            done = subprocess.run([*command, str(source), "-o", name], capture_output=True, text=True, check=False)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "error" in line]
                raise HostError((errors or done.stderr.splitlines() or ["the compiler failed and said nothing"])[0])
            Path(name).replace(library)
        finally:
            Path(name).unlink(missing_ok=True)
    return library


def _fingerprint(source: Path, command: Sequence[str]) -> str:
    made = hashlib.sha256("\0".join(command).encode())
    for path in (source, source.with_suffix(".h"), *sorted(HARNESS.glob("*.h"))):
        made.update(path.read_bytes() if path.exists() else b"")
    return made.hexdigest()[:16]


def load(source: str | Path, folder: str | Path | None = None, flags: Sequence[str] = ()) -> HostLibrary:
    """Build a .cu file and load it. Raises HostError, or OSError where the file or its .h is missing."""
    source = Path(source)
    return HostLibrary(build(source, folder, flags), read(source.with_suffix(".h").read_text(encoding="utf-8")))


def storage(dtype: str) -> np.dtype[Any]:
    """NumPy's dtype for `f32`, `f64`, `f16` or `bf16`; bfloat16 is carried as uint16 without ml_dtypes."""
    plain = {"f32": "float32", "f64": "float64", "f16": "float16"}
    if dtype in plain:
        return np.dtype(plain[dtype])
    with contextlib.suppress(ImportError):
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(np.uint16)


class HostLibrary:
    """The launchers of a .cu file, on the CPU."""

    def __init__(self, library: str | Path, prototypes: Sequence[Prototype]) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.cuda_on_host_message.restype = ctypes.c_char_p
        self.prototypes = {(p.unit, p.entry, p.dtype, p.tier): p for p in prototypes}

    def order(self, name: str) -> None:
        """In which order threads take their turns: forward, reverse or random."""
        self._library.cuda_on_host_order(ORDERS.index(name))

    def call(self, unit: str, entry: str, arrays: Mapping[str, Any], dtype: str = "f32",
             tier: str = "fast") -> dict[str, Array]:
        """Launch one entry; its outputs by name (`loss`, `gradient`, `hessian`).

        arrays: inputs by name. Elementwise: any shapes that broadcast. Rows: row inputs
        (..., classes), the others (...); labels are integers; parameters are numbers. Inputs
        of another dtype are converted. Raises KeyError for an entry or input that is not there,
        ValueError for shapes that do not fit, HostError where the launch fails.
        """
        prototype = self.prototypes[unit, entry, dtype, tier]
        values, sizes, outer = _gather(prototype, arrays, storage(dtype))
        arguments: list[Any] = []
        outputs: dict[str, Array] = {}
        for p in prototype.parameters:
            if p.kind == "output":
                shape = (*outer, sizes["classes"]) if "classes" in p.shape else outer
                outputs[p.name] = np.empty(shape, storage(dtype))
            arguments.append(self._argument(p, values, outputs, sizes))
        self.launch(prototype.symbol, arguments)
        return outputs

    @staticmethod
    def _argument(p: Parameter, values: Mapping[str, Any], outputs: Mapping[str, Array],
                  sizes: Mapping[str, int]) -> Any:
        if p.kind == "number":
            return ctypes.c_double(float(values[p.name]))
        if p.kind == "size":
            return ctypes.c_longlong(sizes[p.name])
        return ctypes.c_void_p((outputs if p.kind == "output" else values)[p.name].ctypes.data)

    def launch(self, symbol: str, arguments: Sequence[Any]) -> None:
        """Call a launcher with ctypes arguments, without its stream. Raises HostError if it does not succeed."""
        status = getattr(self._library, symbol)(*arguments, ctypes.c_void_p(None))
        if status:
            message = self._library.cuda_on_host_message().decode() if status == 719 else "an invalid value"
            raise HostError(f"{symbol}: error {status}, {message}")


def _gather(prototype: Prototype, arrays: Mapping[str, Any],
            dtype: np.dtype[Any]) -> tuple[dict[str, Any], dict[str, int], tuple[int, ...]]:
    """Inputs as contiguous arrays of one shape, the sizes to pass, and the shape without the class axis."""
    given = [p for p in prototype.parameters if p.kind in ("input", "label", "number")]
    values: dict[str, Any] = {p.name: arrays[p.name] for p in given if p.kind == "number"}
    plain = {p.name: np.asarray(arrays[p.name]) for p in given if p.kind != "number"}
    rows = {p.name for p in given if "classes" in p.shape}
    classes = {plain[n].shape[-1] for n in rows}
    if len(classes) > 1:
        raise ValueError(f"rows of different lengths: {', '.join(str(c) for c in sorted(classes))}")
    width = classes.pop() if classes else 0
    outer = np.broadcast_shapes(*(a.shape[:-1] if n in rows else a.shape for n, a in plain.items()))
    for p in given:
        if p.kind == "number":
            continue
        shape = (*outer, width) if p.name in rows else outer
        kind = np.dtype(np.int64) if p.kind == "label" else dtype
        values[p.name] = np.ascontiguousarray(np.broadcast_to(plain[p.name], shape), dtype=kind)
    count = math.prod(outer)
    return values, {"count": count, "rows": count, "classes": width}, outer


@contextlib.contextmanager
def each_order(library: HostLibrary, name: str) -> Iterator[None]:
    """Threads take their turns in this order inside the `with`, forward again after it."""
    library.order(name)
    try:
        yield
    finally:
        library.order("forward")
