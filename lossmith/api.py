"""The public functions derive, stabilize and audit; `generate` is codegen's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lossmith.derivations import catalogue
from lossmith.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from lossmith.audit.result import Result
    from lossmith.derivations.derivation import Derivation, Order
    from lossmith.derivations.loss import Unit
    from lossmith.stabilized import Stabilized

Of = Literal["loss", "gradient", "hessian"]
OF: tuple[Of, ...] = ("loss", "gradient", "hessian")

__all__ = ["audit", "derive", "stabilize"]


def derive(loss: str, of: Of = "loss", wrt: str | None = None) -> Derivation:
    """How the stable form of a loss, its gradient or its Hessian follows from the definition.

    loss: a name that `lossmith list` prints. wrt: the argument to differentiate by, the first input
    when None; for the Hessian also two, as "x,z". Raises UnknownLoss, UsageError.
    """
    unit = catalogue.load(loss)
    order = order_of(unit, of, wrt)
    from lossmith.derivations.kept import derive as run

    return run(unit, order)


def order_of(unit: Unit, of: str, wrt: str | None) -> Order:
    """The order of a derivation, as the chain knows it, from what a user asks for. Raises UsageError."""
    if of not in OF:
        raise UsageError(f"nothing is derived 'of {of}': {did_you_mean(of, OF)}")
    from lossmith.formula import differentiable

    by = [w.strip() for w in (wrt or unit.primary.name).split(",")]
    for name in by:
        differentiable(name, unit.name, unit.arguments)
    if of == "loss":
        if wrt is not None:
            raise UsageError("a loss is not taken with respect to anything: say of='gradient' or of='hessian'")
        return ()
    if len(by) > (1 if of == "gradient" else 2):
        raise UsageError(f"a {of} is taken by {'one argument' if of == 'gradient' else 'one or two arguments'}")
    return (by[0],) if of == "gradient" else (by[0], by[-1])


def stabilize(formula: str, domain: Mapping[str, str] | str | Iterable[str], wrt: str | Sequence[str] | None = None,
              where: str | Iterable[str] = (), dtype: Any = None) -> Stabilized:
    """A stable form of any formula, how it was found, and with `.compile()` a function that computes it.

    formula: as typed in Python with NumPy's and SciPy's names, parsed and never evaluated. domain:
    from each argument to its domain ("real", "[0,1]", ..; `x[k]` declares a row), or as text:
    "x=real, 0 < p < 1". A name that is summed over the classes or indexed is a row by itself; the
    function that `compile` returns then takes arrays with the class axis last. wrt: the argument
    whose derivative is wanted instead of the value, "x,y" for a second derivative. where: relations
    between arguments, "x > y". dtype: the formats that the form is judged in, one or several, as names
    or NumPy's and torch's own; float32 and float64 together when None. Raises FormulaError, UsageError.
    """
    from lossmith.formula import dtypes_of, formats_held, formula_unit, has_value, order_by, varies

    dtypes = dtypes_of(dtype)
    unit = formula_unit(formula, domain, where)
    varies(unit)
    order = order_by(wrt, unit.arguments)
    from lossmith.derivations.kept import derive as run
    from lossmith.stabilized import stabilized

    found = run(unit, order, formats_held(unit, dtypes))
    has_value(unit, found.form)
    return stabilized(found, unit)


def audit(unit: str | Callable[..., Any], *arguments: Any, **options: Any) -> Result:
    """Measure generated kernels, or any function of arrays, against ball arithmetic on the definition.

    unit: a name that `lossmith list` prints, or a function that computes the loss that `truth=` names.
    The other arguments (target, dtype, tier, ...) and the errors are those of lossmith.audit.run.audit.
    """
    from lossmith.audit.run import audit as run

    return run(unit, *arguments, **options)
