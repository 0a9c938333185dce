"""The catalogue: which losses there are, and how a loss file becomes units.

Loss files run with SymPy's evaluation off, so that the author's order of terms survives: with it
on, the mere construction of a sum re-orders it. Importing this module does not import SymPy;
`names` and `described` need it only where the committed manifest is missing.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import sys
import tomllib
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossmith.derivations.loss import Loss, Unit

LOSSES = Path(__file__).resolve().parent / "losses"


class UnknownLoss(KeyError):  # noqa: N818  (it is what the user typed, and reads so in a message)
    """A name that is not in the catalogue. `near` is the name that was probably meant, if any."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        self.name = name
        found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
        self.near = found[0] if found else None

    def __str__(self) -> str:
        hint = f": did you mean '{self.near}'?" if self.near else ": `lossmith list` prints every name"
        return f"there is no loss '{self.name}'{hint}"


class LossFileError(ValueError):
    """A loss file that cannot be read; one line that names the file, and the line where it is known."""


def names() -> tuple[str, ...]:
    """The losses of the catalogue, in alphabetical order. Does not import SymPy."""
    return tuple(sorted(p.stem for p in LOSSES.glob("[a-z]*.py")))


def loss_file(name: str) -> Path:
    """The file that defines a loss of the catalogue. Raises UnknownLoss."""
    if name not in names():
        raise UnknownLoss(name, names())
    return LOSSES / f"{name}.py"


def unit_names() -> tuple[str, ...]:
    """The units of the catalogue: each loss, followed by its variants."""
    return tuple(unit.name for name in names() for unit in units(name))


@functools.cache
def units(name: str) -> tuple[Unit, ...]:
    """A loss of the catalogue and its variants. Raises UnknownLoss, LossFileError."""
    loss = _loss_in(loss_file(name))
    if loss.name != name:
        raise LossFileError(f"{name}.py defines the loss '{loss.name}': file and loss must have one name")
    return _units_of(loss)


def load(unit_name: str) -> Unit:
    """The unit of that name. Raises UnknownLoss, with the name that was probably meant."""
    # The longest loss name first: `kl_divergence_from_logits` belongs to `kl_divergence`.
    owners = [n for n in names() if unit_name == n or unit_name.startswith(n + "_")]
    for owner in sorted(owners, key=len, reverse=True):
        for unit in units(owner):
            if unit.name == unit_name:
                return unit
    near = [u["name"] for u in described()]
    raise UnknownLoss(unit_name, near)


def resolve(wanted: Iterable[str]) -> tuple[str, ...]:
    """Unit names for what a user asked for: the name of a loss means it and all of its variants."""
    chosen: dict[str, None] = {}
    for name in wanted:
        chosen.update(dict.fromkeys(u.name for u in units(name)) if name in names() else {load(name).name: None})
    return tuple(chosen)


def load_file(path: str | Path) -> list[Unit]:
    """The units of a user's own file.

    FILE.py is executed, and must define LOSS; FILE.toml is only read: `name`, `title`, `formula`,
    and a table `domain` from each argument to its domain (`parameter`: a table from a parameter to
    its value; `target`: the list of arguments that are targets, all but the first when left out;
    `where`: relations between the arguments).
    Raises LossFileError, one line.
    """
    path = Path(path)
    if path.suffix == ".py":
        return list(_units_of(_loss_in(path)))
    if path.suffix == ".toml":
        from lossmith.derivations.loss import first_unit

        return [first_unit(_loss_in_toml(path))]
    raise LossFileError(f"{path}: a loss is written in a .py file that defines LOSS, or in a .toml file")


def _units_of(loss: Loss) -> tuple[Unit, ...]:
    from lossmith.derivations.declaring import units_of

    return units_of(loss)


def _loss_in(path: Path) -> Loss:
    from lossmith.derivations.loss import Loss

    found = getattr(execute(path), "LOSS", None)
    if not isinstance(found, Loss):
        raise LossFileError(f"{path.name} defines no loss: write `LOSS = Loss(name=..., title=..., formula=...)`")
    return found


def execute(path: Path) -> ModuleType:
    """Run a loss file with SymPy's evaluation off; the module. Raises LossFileError, one line."""
    import sympy

    # Imported first: what these modules compute for themselves is not to be left unevaluated.
    from lossmith.derivations import declaring, functions  # noqa: F401

    spec = importlib.util.spec_from_file_location(f"_lossmith_loss_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise LossFileError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with sympy.evaluate(False):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise LossFileError(f"{path.name}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise LossFileError(f"{path.name}{_line(error, path)}: {_one_line(error)}") from None
    finally:
        sys.dont_write_bytecode = kept
    return module


def _line(error: BaseException, path: Path) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: " + " ".join(str(error).split())[:200]


KEYS = ("name", "title", "formula", "domain", "target", "parameter", "where", "summary", "reference")


def _loss_in_toml(path: Path) -> Loss:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LossFileError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LossFileError(f"{path.name}: {error}") from None
    for key in data:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(KEYS)}"
            raise LossFileError(f"{path.name}: unknown key '{key}': {hint}")
    for key, kind in (("name", str), ("formula", str), ("domain", dict)):
        if not isinstance(data.get(key), kind):
            example = {"name": 'name = "my_loss"', "formula": 'formula = "(x - y)**2"', "domain": '[domain] x = "real"'}
            raise LossFileError(f"{path.name} needs the key '{key}', such as {example[key]}")
    try:
        return _loss_from_table(data)
    except ValueError as error:
        raise LossFileError(f"{path.name}: {error}") from None


def _loss_from_table(data: Mapping[str, Any]) -> Loss:
    """Everything that a formula in TOML says is text; only the parser of formulas reads it."""
    from lossmith.derivations import parser
    from lossmith.derivations.loss import Loss, Reference
    from lossmith.derivations.terms import leaves, name_of

    formula, known = parser.parse_formula(
        data["formula"],
        {k: str(v) for k, v in data["domain"].items()},
        targets=data.get("target"),
        parameters={k: str(v) for k, v in data.get("parameter", {}).items()},
    )
    given = parser.parse_relations(data.get("where", ()), known)
    used = {name_of(t) for root in (formula, *given) for t in leaves(root)}
    references = (Reference(str(data["reference"])),) if "reference" in data else ()
    return Loss(data["name"], str(data.get("title", data["name"])), formula, references,
                summary=str(data.get("summary", "")), given=given,
                arguments=tuple(a for a in known.values() if a.name in used))


MANIFEST = Path("generated") / "manifest.json"


def described() -> list[dict[str, Any]]:
    """What `lossmith list` prints: per unit its name, loss, title, shape, arguments and policies.

    Read from the manifest that `lossmith generate` commits beside the kernels; computed from the
    loss files where there is none, or where it does not hold the losses that there are.
    """
    path = LOSSES.parent.parent / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["units"]
        if {u["loss"] for u in found} == set(names()):
            return list(found)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return [describe(unit) for name in names() for unit in units(name)]


def describe(unit: Unit) -> dict[str, Any]:
    """One unit as plain data, for the manifest."""
    return {
        "name": unit.name,
        "loss": unit.loss,
        "title": unit.title,
        "shape": unit.shape,
        "arguments": [
            {"name": a.name, "role": a.role, "axis": a.axis, "domain": str(a.domain), "meaning": a.meaning}
            | ({"default": a.default} if a.default is not None else {})
            for a in unit.arguments
        ],
        "policies": [list(p) for p in unit.policies],
    }
