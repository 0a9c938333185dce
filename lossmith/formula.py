"""A user's formula as a unit: read, its relations looked at, before anything heavy is started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lossmith.derivations import declarations, parser
from lossmith.derivations.declarations import tightened
from lossmith.derivations.loss import Argument, Unit
from lossmith.derivations.refusals import FormulaError
from lossmith.derivations.terms import Term, leaves, name_of
from lossmith.errors import UsageError, did_you_mean

Domains = Mapping[str, str] | str | Iterable[str]
Dtypes = ("float64", "float32", "float16", "bfloat16")
PROBED = 48  # points that are looked for, to see that relations do not contradict one another


def formula_unit(formula: str, domain: Domains, where: str | Iterable[str] = ()) -> Unit:
    """The unit of a formula as a user types it; it has the arguments that the formula or a relation names.

    domain, where: as for `lossmith.stabilize`. Raises FormulaError.
    """
    if not isinstance(formula, str):
        raise UsageError(f"a formula is text, not {type(formula).__name__}")
    term, known = parser.parse_formula(formula, declarations.table_of(domain), rows=True)
    given = parser.parse_relations(where, known)
    used = {name_of(t) for root in (term, *given) for t in leaves(root)}
    known, given = tightened({n: a for n, a in known.items() if n in used}, given)
    _check_relations(known, given)
    return Unit("formula", "formula", formula, term, tuple(known.values()), (), (), given=given)


def _check_relations(known: Mapping[str, Argument], given: tuple[Term, ...]) -> None:
    """Raises FormulaError (E114) where no numbers satisfy all relations at once."""
    if not given:
        return
    from lossmith.derivations.points import scalar_points
    from lossmith.derivations.relations import ContradictionError, names_in
    from lossmith.derivations.ulp import FORMATS

    chosen = [known[n] for n in names_in(given)]
    try:
        scalar_points(chosen, PROBED, 0, FORMATS["float64"], given=given)
    except ContradictionError as error:
        raise FormulaError("E114", str(error), hint="change a relation, or a domain") from None


def order_by(wrt: str | Sequence[str] | None, arguments: Sequence[Argument]) -> tuple[str, ...]:
    """What a derivative is taken by: `"x"`, `"x,x"`, `("x", "y")`; () for None. Raises UsageError."""
    if wrt is None:
        return ()
    by = tuple(w.strip() for w in (wrt.split(",") if isinstance(wrt, str) else wrt))
    if not 1 <= len(by) <= 2 or not all(by):
        raise UsageError("a derivative is taken by one argument, or by two: x, or x,y")
    for name in by:
        differentiable(name, "the formula", arguments)
    return by


def differentiable(name: str, where: str, arguments: Sequence[Argument]) -> None:
    """Raises UsageError for an argument by which nothing is differentiated."""
    names = [a.name for a in arguments if a.differentiable]
    if name not in names:
        end = did_you_mean(name, names) if names else "it has no argument that could move"
        raise UsageError(f"{where} has no gradient by '{name}': {end}")


def dtypes_of(dtype: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """The formats to judge a form in; None stands for the usual ones. Raises UsageError."""
    if dtype is None:
        return None
    chosen = (dtype,) if isinstance(dtype, str) else tuple(dtype)
    for name in chosen:
        if name not in Dtypes:
            raise UsageError(f"there is no dtype '{name}': {did_you_mean(str(name), Dtypes)}")
    return tuple(dict.fromkeys(chosen)) or None
