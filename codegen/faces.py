"""Which of the generated NumPy and PyTorch functions compute with compiled C, and why the others do not.

`lossmith.generated` attaches a face to each module that is imported from it: the module's own functions stay as
they are written, and what they do with plain arrays is done by the C of `generated/c` where that is built, or can
be built now. LOSSMITH_BACKEND=pure leaves the modules alone; LOSSMITH_BACKEND=c raises where C cannot be built.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
import sysconfig
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "LOSSMITH_BACKEND"
BACKENDS = ("auto", "pure", "c")
HELPERS = Path(__file__).resolve().parents[1] / "templates" / "face" / "face.j2"
# As the faces' C has them: what a kernel takes at most; what is to be made of its losses; what is said of a call.
INPUTS, NUMBERS = 6, 4
EACH, MEAN, SUM, CHECKED = range(4)
SOUND, SMALL, OUTSIDE, TOO_LONG = range(4)
_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
_FORMULA = re.compile(r"^(?://|#) formula ([0-9a-f]+) ", re.MULTILINE)
_building = threading.Lock()
# Why something is not computed in C: a unit's name, or that of the faces' own library, to a line.
refusals: dict[str, str] = {}


def backend() -> str:
    """What is asked for: `auto` (C where it can be had), `pure`, or `c` (an error where it cannot be had).
    Raises ValueError."""
    asked = os.environ.get(VARIABLE, "").strip() or "auto"
    if asked not in BACKENDS:
        raise ValueError(f"{VARIABLE} is '{asked}': set it to auto, pure or c")
    return asked


def attach(module: ModuleType) -> None:
    """Let the functions of a generated module, as it is imported, use compiled C from their first call on."""
    if backend() == "pure" or module.__file__ is None:
        return
    unit = module.__name__.rpartition(".")[2]
    source = Path(module.__file__).parents[1] / "c" / f"{unit}.c"
    if not source.exists():
        refusals[unit] = f"{source.name} is not there: lossmith generate {unit} --target c"
    elif _formula(source) != _formula(Path(module.__file__)):
        refusals[unit] = f"{source.name} is of another formula: lossmith generate {unit}"
    else:
        kind = Path(module.__file__).parent.name
        importlib.import_module(f"lossmith.codegen.face_{kind}").attach(module, Library(source))


def pure(target: str, unit: str) -> ModuleType:
    """The module of a target as it is written, whatever the backend. Raises ModuleNotFoundError."""
    return _loaded(target, Path(importlib.import_module(f"lossmith.generated.{target}").__path__[0]) / f"{unit}.py")


def _loaded(target: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lossmith_pure_{target}_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        name = f"lossmith.generated.{target}.{path.stem}"
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _formula(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        found = _FORMULA.search(file.read(2000))
    return found[1] if found else str(path)


class Library:
    """The compiled functions of one unit, each type and tier built or found when it is first asked for."""

    def __init__(self, source: Path) -> None:
        self.unit, self.source = source.stem, source
        self.insists = backend() == "c"

    @property
    def compiled(self) -> Any:
        return _compiled(self.source)

    def numpy_module(self) -> ModuleType:
        """The NumPy module that was generated beside the C, as it is written. Raises ModuleNotFoundError."""
        return _loaded("np", self.source.parents[1] / "np" / f"{self.unit}.py")

    def parameters(self, entry: str) -> tuple[Any, ...]:
        """What the functions of an entry take. Raises KeyError."""
        return tuple(self.compiled.prototypes[self.unit, entry, "f32", "fast"].parameters)

    def has(self, entry: str) -> bool:
        return (self.unit, entry, "f32", "fast") in self.compiled.prototypes

    def function(self, entry: str, dtype: str, tier: str) -> Callable[..., int] | None:
        """The C function as ctypes calls it; None where there is none, or it cannot be had, which `refusals` tells.
        Raises CompileError where C is insisted on."""
        from lossmith.codegen import compiled

        if (self.unit, entry, dtype, tier) not in self.compiled.prototypes or self.unit in refusals:
            return None
        with _building:
            try:
                found: Callable[..., int] = self.compiled.function(self.unit, entry, dtype, tier)
            except compiled.CompileError as problem:
                if self.insists:
                    raise
                refusals[self.unit] = str(problem)
                return None
        return found


@cache
def _compiled(source: Path) -> Any:
    from lossmith.codegen import compiled

    return compiled.load(source)


@cache
def helpers() -> Any:
    """The faces' own C library; None where it cannot be had. Raises CompileError where C is insisted on."""
    from lossmith.codegen import compiled

    try:
        with _building:
            return compiled.obtain(helper_source(), "f32", "fast")
    except compiled.CompileError as problem:
        if backend() == "c":
            raise
        refusals["faces"] = str(problem)
        return None


def helper_source() -> Any:
    from lossmith.codegen import compiled

    headers = sysconfig.get_path("include")
    plain = not (Path(headers) / "Python.h").exists() or _FREE_THREADED
    return compiled.Source("face", HELPERS.read_bytes(), b"", () if plain else ("-DLOSSMITH_PYTHON", f"-I{headers}"))


class Plan(ctypes.Structure):
    """An entry of a kernel, as `Plan` of the faces' C."""

    _fields_ = (("kernel", ctypes.c_void_p), ("times", ctypes.c_void_p), *((name, ctypes.c_int64) for name in
                ("inputs", "numbers", "outputs", "rows", "size", "summed", "scaled")),
                ("kind", ctypes.c_int64 * INPUTS), ("domain", ctypes.c_int64 * INPUTS), ("wide", ctypes.c_int64 * 2),
                ("low", ctypes.c_double * INPUTS), ("high", ctypes.c_double * INPUTS))


def planned(function: Callable[..., int], parameters: Sequence[Any], domains: dict[str, Any],
            size: int, times: Callable[..., int] | None = None) -> Plan | None:
    """How an entry is called whose values lie in these domains; None where C does not know how, or a domain is of
    another kind. size: of a floating point number, in bytes. times: the entry with a factor of the gradient."""
    order = {"input": 0, "label": 0, "number": 1, "output": 2, "size": 3, "threads": 4}
    kinds = [order[p.kind] for p in parameters]
    inputs = [p for p in parameters if order[p.kind] == 0]
    outputs = [p for p in parameters if p.kind == "output"]
    if kinds != sorted(kinds) or len(inputs) > INPUTS or kinds.count(1) > NUMBERS or len(outputs) > 2 \
            or any(len(values) not in (0, 2) for _, _, _, values in domains.values()):
        return None
    names = [p.name for p in outputs]
    also = None if times is None or kinds.count(1) == NUMBERS else ctypes.cast(times, ctypes.c_void_p)  # type: ignore[arg-type]
    made = Plan(ctypes.cast(function, ctypes.c_void_p), also, len(inputs), kinds.count(1), len(outputs),  # type: ignore[arg-type]
                kinds.count(3) > 1, size, *(names.index(n) if n in names else -1 for n in ("loss", "gradient")))
    made.wide[:len(outputs)] = ["classes" in p.shape for p in outputs]
    for n, p in enumerate(inputs):
        made.kind[n] = 2 if p.kind == "label" else int("classes" in p.shape)
        if (name := p.name.removesuffix("_")) in domains:
            _, low, high, values = domains[name]
            made.domain[n] = 2 if values else 1
            made.low[n], made.high[n] = values or (low, high)
    return made


def caller(helpers: Any) -> Callable[..., int]:
    """`lossmith_face` of the faces' library: a plan, places of inputs and outputs, sizes; see its source. It is a
    function of Python where the library was built with Python.h, else one of ctypes, which takes a microsecond more."""
    found: Callable[..., int]
    if hasattr(helpers, "lossmith_face_called") and not _FREE_THREADED:
        made = ctypes.PyDLL(None, handle=helpers._handle).lossmith_face_called
        made.argtypes, made.restype = (), ctypes.py_object
        found = made()
        return found
    function: Any = helpers.lossmith_face
    function.argtypes = (*(ctypes.c_void_p,) * (INPUTS + 4), ctypes.c_int64, ctypes.c_int64, ctypes.c_int,
                         ctypes.c_int)
    function.restype = ctypes.c_int
    found = function
    return found


def helper(helpers: Any, name: str) -> Any:
    """`scale` or `flow` of the faces' library, for a type, as ctypes calls it."""
    function = getattr(helpers, f"lossmith_{name}")
    kinds = {"s": (ctypes.c_void_p, ctypes.c_double, ctypes.c_int64, ctypes.c_int),
             "f": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int)}
    function.argtypes, function.restype = kinds[name[0]], None
    return function
