"""Generated C built by the machine's compiler, kept in a private folder, and called with NumPy arrays.

Nothing is loaded but what this module built: a library lies in a folder that belongs to the user
and is closed to others, beside a record of its hash, and it is read and compared before it is loaded.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import math
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lossmith.codegen.prototypes import Parameter, read

Array = npt.NDArray[Any]
COMPILERS = ("cc", "gcc", "clang")
# Of templates/c: what a kernel is computed with is exactly what is written.
EXACT = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
# Whatever $CC asks for: what is linked with -ffast-math changes how the whole process rounds.
PLAIN = ("-fno-fast-math", "-fno-unsafe-math-optimizations")
FLAGS = ("-std=c11", "-O3", *PLAIN, *EXACT, "-fPIC", "-shared", "-Wno-unknown-pragmas", "-DLOSSMITH_ONE_VERSION")
# Tried in this order: all that this processor can do, and threads; then less of either.
_NATIVE = ("-march=native", "-mprefer-vector-width=512")
EXTRA = ((*_NATIVE, "-fopenmp"), ("-march=native", "-fopenmp"), ("-fopenmp",), ("-march=native", "-fopenmp-simd"),
         ("-fopenmp-simd",), ())
PARTS = {("f32", "fast"): 1, ("f64", "fast"): 2, ("f16", "fast"): 4, ("bf16", "fast"): 8, ("f32", "accurate"): 16,
         ("f64", "accurate"): 32}
SUFFIX = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}
SECONDS = 120
_child = False
_most = 0


class CompileError(RuntimeError):
    """C that cannot be built or loaded here; one line says why, and what to do."""


def _in_child() -> None:
    global _child
    _child = True  # an OpenMP library does not survive a fork with its threads


os.register_at_fork(after_in_child=_in_child)


def compiler() -> list[str] | None:
    """The C compiler as a command: $CC where it is set, else the first of cc, gcc, clang; None where there is none."""
    named = os.environ.get("CC", "").strip()
    for words in [shlex.split(named)] if named else [[name] for name in COMPILERS]:
        found = shutil.which(words[0])
        if found:
            return [found, *words[1:]]
    return None


def cache_folder() -> Path:
    """The folder of built libraries: $LOSSMITH_CACHE, else the user's cache, where it is private or can be made so;
    else a temporary one for this process."""
    if os.environ.get("LOSSMITH_NO_CACHE", "") not in ("", "0"):
        return _temporary()
    named = os.environ.get("LOSSMITH_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lossmith"
    folder = base / "c"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_private(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return _temporary()


@cache
def _temporary() -> Path:
    """A folder of this process, taken away when it ends; a forked child, which shares it, leaves it alone."""
    folder, owner = Path(tempfile.mkdtemp(prefix="lossmith-")), os.getpid()

    @atexit.register
    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    return folder


def is_private(folder: Path) -> bool:
    """Whether a folder is a real one of the user's own, closed to others, in folders that nobody else can change."""
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        return False
    for parent in folder.resolve().parents:
        above = parent.stat()
        shared = above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX
        if shared or above.st_uid not in (0, os.getuid()):
            return False
    return True


@dataclass(frozen=True)
class Source:
    """A generated C file and its header. flags: what it is compiled with where that succeeds, else without."""

    name: str
    source: bytes
    header: bytes
    flags: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: str | Path) -> Source:
        """What lies at a path to a .c file. Raises OSError."""
        path = Path(path)
        return cls(path.stem, path.read_bytes(), path.with_suffix(".h").read_bytes())


def build(source: Source, parts: Iterable[tuple[str, str]] | None = None, folder: Path | None = None,
          flags: Sequence[str] = ()) -> Path:
    """Compile generated C; the library, new or kept from before.

    parts: pairs of dtype (f32, f64, f16, bf16) and tier (fast, accurate) to build; None: all. folder:
    where to keep it; it must be private. flags: more compiler flags, later ones win. Raises CompileError.
    """
    command = compiler()
    if command is None:
        raise no_compiler()
    where = cache_folder() if folder is None else folder
    if folder is not None:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_private(where):
            raise CompileError(f"{where} is open to other users: built code is kept in a private folder only")
    chosen = sum(PARTS.values()) if parts is None else sum({PARTS[p] for p in parts})
    whole = [*FLAGS, f"-DLOSSMITH_PARTS={chosen}", *flags]
    library = where / f"{source.name}-{_key(source, command, whole)}.so"
    if not _ours(library):
        try:
            compile_into(command, whole, source, library)
        except OSError as problem:
            raise CompileError(f"nothing can be built in {where}: {problem.strerror or problem}") from None
    return library


def no_compiler() -> CompileError:
    """What to say, and to do, where `compiler` finds none."""
    named = os.environ.get("CC", "").strip()
    return CompileError(f"CC names '{named}', which is not here: install it, or unset CC" if named else
                        "no C compiler is at hand: install gcc or clang, or name one in CC")


def _key(source: Source, command: Sequence[str], flags: Sequence[str]) -> str:
    made = hashlib.sha256()
    asked = "\0".join([*command, *flags, *source.flags]).encode()
    for text in (source.source, source.header, _version(tuple(command)), asked, _processor()):
        made.update(hashlib.sha256(text).digest())
    return made.hexdigest()[:32]


@cache
def _version(command: tuple[str, ...]) -> bytes:
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise CompileError(f"the C compiler {command[0]} cannot be run: {problem}") from None
    return said.stdout


@cache
def _processor() -> bytes:
    """What says which processor this is: a library built for it is not loaded on another."""
    found = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        wanted = ("model name", "flags", "Features", "CPU part")
        found += sorted({line for line in lines if line.startswith(wanted)})
    return "\0".join(found).encode()


def compile_into(command: Sequence[str], flags: Sequence[str], source: Source, library: Path,
                 extra: Sequence[Sequence[str]] = EXTRA, mode: int = 0o700) -> None:
    """Compile in a folder of its own beside the library; the record of its hash is written first, both by renaming."""
    with tempfile.TemporaryDirectory(prefix=".building-", dir=library.parent) as place:
        work = Path(place)
        (work / f"{source.name}.c").write_bytes(source.source)
        (work / f"{source.name}.h").write_bytes(source.header)
        made = work / "made.so"
        said = ""
        tries = [[*words, *own] for words in extra for own in ((source.flags, ()) if source.flags else ((),))]
        for more in tries:
            said = _run([*command, *more, *flags, f"{source.name}.c", "-o", made.name, "-lm"], work)
            if not said:
                break
        if said:
            raise CompileError(f"the C compiler {command[0]} failed: {said}")
        made.chmod(mode)
        record = work / "record"
        record.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), encoding="ascii")
        record.replace(record_of(library))
        made.replace(library)


def _run(command: Sequence[str], work: Path) -> str:
    """What the compiler complains of, in one line; empty where it succeeded."""
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", timeout=SECONDS,
                              check=False)
    except subprocess.TimeoutExpired:
        return f"it took more than {SECONDS} s"
    except OSError as problem:
        return str(problem)
    if done.returncode == 0:
        return "" if (work / "made.so").exists() else "it wrote nothing"
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return lines[0] if lines else f"it ended with {done.returncode} and said nothing"


def record_of(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _ours(library: Path) -> bool:
    """Whether a library is there and is the one that was built: a file of the user's own, of the recorded hash."""
    try:
        found, recorded = _own_bytes(library), _own_bytes(record_of(library))
    except OSError:
        return False
    return hashlib.sha256(found).hexdigest().encode() == recorded


def _own_bytes(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise OSError(f"{path} is not a private file")
        return file.read()


def load(source: str | Path, folder: str | Path | None = None, flags: Sequence[str] = ()) -> Compiled:
    """The functions of a generated .c file (its .h beside it), each dtype and tier built when it is first called.

    Raises OSError where a file is missing, ValueError where the .h is no generated header; CompileError
    comes from the first call of what cannot be built.
    """
    source = Path(source)
    return load_text(source.stem, source.read_text(encoding="utf-8"),
                     source.with_suffix(".h").read_text(encoding="utf-8"), folder, flags)


def load_text(name: str, source: str, header: str, folder: str | Path | None = None,
              flags: Sequence[str] = ()) -> Compiled:
    """The same from texts: what `render` gives for a unit of that name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"'{name}' does not name a unit")
    return Compiled(Source(name, source.encode(), header.encode()), None if folder is None else Path(folder), flags)


def open_library(library: Path) -> ctypes.CDLL:
    """Load a library that was built here. Raises CompileError."""
    if not _ours(library):
        raise CompileError(f"{library} is not what was built here: remove it, or name another folder in LOSSMITH_CACHE")
    try:
        return ctypes.CDLL(str(library))
    except OSError as problem:
        raise CompileError(f"the built library cannot be loaded: {problem}") from None


def obtain(source: Source, dtype: str, tier: str, folder: Path | None = None,
           flags: Sequence[str] = ()) -> ctypes.CDLL:
    """A library for a type and a tier: what was built ahead, else what is kept, else built now. Raises CompileError."""
    from lossmith.codegen import ahead

    found = ahead.opened(source, dtype, tier) if folder is None and not flags else None
    return found or open_library(build(source, [(dtype, tier)], folder, flags))


def forked() -> bool:
    """Whether this is a forked child, in which no second thread may be started."""
    return _child


def limit_threads(most: int) -> None:
    """How many threads the NumPy functions may use in C; 0, as at first: as many as OpenMP offers. PyTorch's use
    as many as torch does."""
    global _most
    _most = most


def threads() -> int:
    """How many threads to ask C for."""
    return 1 if _child else _most


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


class Compiled:
    """The functions of one generated file."""

    def __init__(self, source: Source, folder: Path | None = None, flags: Sequence[str] = ()) -> None:
        self.source, self.folder, self.flags = source, folder, tuple(flags)
        found = read(source.header.decode())
        self.prototypes = {(p.unit, p.entry, p.dtype, p.tier): p for p in found}
        self._functions: dict[tuple[str, str, str, str], Any] = {}

    def function(self, unit: str, entry: str, dtype: str = "f32", tier: str = "fast") -> Any:
        """The C function as ctypes calls it: addresses, then sizes, then threads; 0 says that all went well.

        Built and loaded when it is first asked for. Raises KeyError, CompileError.
        """
        key = (unit, entry, dtype, tier)
        if key not in self._functions:
            prototype = self.prototypes[key]
            found = getattr(self._library(dtype, tier), prototype.symbol)
            kinds = {"number": ctypes.c_double, "size": ctypes.c_int64, "threads": ctypes.c_int}
            found.argtypes = [kinds.get(p.kind, ctypes.c_void_p) for p in prototype.parameters]
            found.restype = ctypes.c_int
            self._functions[key] = found
        return self._functions[key]

    def _library(self, dtype: str, tier: str) -> ctypes.CDLL:
        return obtain(self.source, dtype, tier, self.folder, self.flags)

    def call(self, unit: str, entry: str, arrays: Mapping[str, Any], dtype: str = "f32", tier: str = "fast",
             out: Mapping[str, Array] | None = None, threads: int = 0) -> dict[str, Array]:
        """One entry (`loss`, `gradient`, `loss_gradient`, `gradient_hessian`, `loss_gradient_times`); outputs by name.

        arrays: inputs by name. Elementwise: any shapes that broadcast. Rows: row inputs (..., classes), the
        others (...); labels are integers; parameters are numbers. Inputs that are not contiguous or of another
        dtype are copied. out: arrays to write, contiguous and of the result's shape and dtype, that overlap no
        input. threads: at most so many, 0 for as many as there are (1 in a forked child). Raises KeyError for an
        entry or input that is not there, ValueError for shapes or an out that do not fit, CompileError.
        """
        prototype, kind = self.prototypes[unit, entry, dtype, tier], storage(dtype)
        function = self.function(unit, entry, dtype, tier)
        values, sizes, outer = gather(prototype.parameters, arrays, kind)
        outputs: dict[str, Array] = {}
        arguments: list[Any] = []
        for p in prototype.parameters:
            if p.kind == "output":
                shape = (*outer, sizes["classes"]) if "classes" in p.shape else outer
                given = None if out is None else out.get(p.name)
                outputs[p.name] = np.empty(shape, kind) if given is None else _fitting(p.name, given, shape, kind)
                arguments.append(outputs[p.name].ctypes.data)
            elif p.kind == "size":
                arguments.append(sizes[p.name])
            elif p.kind == "threads":
                arguments.append(1 if _child else threads)
            else:
                value = values[p.name]
                arguments.append(float(value) if p.kind == "number" else value.ctypes.data)
        if function(*arguments):
            raise ValueError("a row has no classes, or more than 2^30")
        return outputs


def _fitting(name: str, given: Array, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
    if given.shape != shape or given.dtype != kind or not given.flags.c_contiguous or not given.flags.writeable:
        raise ValueError(f"out for {name} must be a contiguous array of {kind}, of shape {shape}")
    return given


def gather(parameters: Sequence[Parameter], arrays: Mapping[str, Any],
           dtype: np.dtype[Any]) -> tuple[dict[str, Any], dict[str, int], tuple[int, ...]]:
    """Inputs as contiguous arrays of one shape, the sizes to pass, and the shape without the class axis."""
    given = [p for p in parameters if p.kind in ("input", "label", "number")]
    arrays = {p.name: arrays[p.name] if p.name in arrays else arrays[p.name.removesuffix("_")] for p in given}
    values: dict[str, Any] = {p.name: arrays[p.name] for p in given if p.kind == "number"}
    plain = {p.name: np.asarray(arrays[p.name]) for p in given if p.kind != "number"}
    rows = {p.name for p in given if "classes" in p.shape}
    if any(not plain[n].ndim for n in rows):
        raise ValueError("a row input has no class axis")
    widths = {plain[n].shape[-1] for n in rows}
    if len(widths) > 1:
        raise ValueError(f"rows of different lengths: {', '.join(str(c) for c in sorted(widths))}")
    width = widths.pop() if widths else 0
    shapes = {a.shape[:-1] if n in rows else a.shape for n, a in plain.items()}
    outer = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
    for p in given:
        if p.kind == "number":
            continue
        shape = (*outer, width) if p.name in rows else outer
        kind = np.dtype(np.int64) if p.kind == "label" else dtype
        array = plain[p.name]
        if p.kind == "label" and array.dtype.kind not in "iu":
            raise ValueError(f"{p.name} holds labels, which are integers")
        if array.shape != shape or array.dtype != kind or not array.flags.c_contiguous:
            with np.errstate(all="ignore"):
                array = np.ascontiguousarray(np.broadcast_to(array, shape), dtype=kind)
        values[p.name] = array
    count = math.prod(outer)
    return values, {"count": count, "rows": count, "classes": width}, outer
