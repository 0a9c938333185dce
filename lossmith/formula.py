"""A user's formula as a unit: read, its relations looked at, before anything heavy is started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lossmith.derivations import declarations, parser
from lossmith.derivations.declarations import tightened
from lossmith.derivations.loss import Argument, Unit
from lossmith.derivations.refusals import FormulaError
from lossmith.derivations.terms import Term, leaves, name_of
from lossmith.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from lossmith.derivations.derivation import StableForm

Domains = Mapping[str, str] | str | Iterable[str]
Dtypes = ("float64", "float32", "float16", "bfloat16")
USUAL = ("float32", "float64")  # what a form is judged in when nobody says
PROBED = 48  # points that are looked for, to see that relations do not contradict one another


def formula_unit(formula: str, domain: Domains, where: str | Iterable[str] = ()) -> Unit:
    """The unit of a formula as a user types it; it has the arguments that the formula or a relation names.

    domain, where: as for `lossmith.stabilize`. Raises FormulaError.
    """
    if not isinstance(formula, str):
        raise UsageError(f"a formula is text, not {type(formula).__name__}")
    if not isinstance(domain, str | Mapping):
        domain = _texts(domain, "a domain", "x=real, 0 < p < 1")
    where = where if isinstance(where, str) else _texts(where, "a relation", "x > y")
    term, known = parser.parse_formula(formula, declarations.table_of(domain), rows=True)
    given = parser.parse_relations(where, known)
    used = {name_of(t) for root in (term, *given) for t in leaves(root)}
    known, given = tightened({n: a for n, a in known.items() if n in used}, given)
    _check_relations(known, given)
    return Unit("formula", "formula", formula.strip(), term, tuple(known.values()), (), (), given=given)


def _texts(given: object, what: str, such: str) -> tuple[str, ...]:
    """Several texts as they are. Raises UsageError for anything else."""
    texts = tuple(given) if isinstance(given, Iterable) else (given,)
    for one in texts:
        if not isinstance(one, str):
            raise UsageError(f"{what} is text, such as \"{such}\", not {type(one).__name__}")
    return texts


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


def varies(unit: Unit) -> None:
    """Raises FormulaError (E116) for a formula that is a number, whatever its arguments are."""
    if not unit.arguments:
        raise FormulaError("E116", "nothing varies in this formula: it is a number", unit.title, stop=len(unit.title),
                           hint="a formula names an argument: log(1 + x), with --domain \"x=real\"")


def has_value(unit: Unit, form: StableForm) -> None:
    """Raises FormulaError (E116) where no point of the domains gave the formula a value."""
    rows = any(a.axis == "class" for a in unit.arguments)
    if rows and form.order:  # such a derivative may be a number, which is not measured
        return
    if all(m.points == 0 for m in form.errors) and (form.errors or not rows):
        where = ", ".join(f"{a.name} {'' if str(a.domain)[0].isalpha() else 'in '}{a.domain}" for a in unit.arguments)
        raise FormulaError("E116", f"this has no value for any number tried, {where}", unit.title,
                           stop=len(unit.title), hint="change the formula, a domain, or a relation")


def formats_held(unit: Unit, dtypes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The formats in which every domain holds a number; None where these are the usual ones.

    Raises FormulaError (E113) where a format that was asked for, or each of the usual ones, lacks one.
    """
    missing = {d: _missing(unit, d) for d in dtypes or USUAL}
    kept = tuple(d for d, what in missing.items() if not what)
    if len(kept) == len(missing):
        return dtypes
    if dtypes or not kept:
        raise FormulaError("E113", next(filter(None, missing.values())), hint="give another dtype, or a wider domain")
    return kept


def _missing(unit: Unit, dtype: str) -> str:
    """What keeps a format from holding a point of the domains; empty where nothing does."""
    from lossmith.derivations.points import scalar_points, special_values
    from lossmith.derivations.relations import ContradictionError, names_in
    from lossmith.derivations.ulp import FORMATS

    for a in unit.arguments:
        if a.role != "label" and not special_values(a.domain, FORMATS[dtype]):
            return f"no {dtype} number lies in the domain of '{a.name}', {a.domain}"
    if unit.given and dtype != "float64":  # of float64 it is known
        chosen = [a for a in unit.arguments if a.name in names_in(unit.given)]
        try:
            scalar_points(chosen, PROBED, 0, FORMATS[dtype], given=unit.given)
        except ContradictionError as problem:
            return str(problem)
    return ""


def order_by(wrt: str | Sequence[str] | None, arguments: Sequence[Argument]) -> tuple[str, ...]:
    """What a derivative is taken by: `"x"`, `"x,x"`, `("x", "y")`; () for None. Raises UsageError."""
    if wrt is None:
        return ()
    by = tuple(w.strip() for w in _texts(wrt.split(",") if isinstance(wrt, str) else wrt, "wrt", "x, or x,y"))
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


def dtype_name(dtype: object) -> str:
    """The name of a dtype, which may be one of NumPy's or torch's."""
    if isinstance(dtype, str):
        return dtype
    return str(getattr(dtype, "__name__", None) or getattr(dtype, "name", None) or dtype).rpartition(".")[2]


def dtypes_of(dtype: object) -> tuple[str, ...] | None:
    """The formats to judge a form in; None stands for the usual ones. Raises UsageError."""
    if dtype is None:
        return None
    chosen = tuple(map(dtype_name, dtype if isinstance(dtype, list | tuple) else (dtype,)))
    for name in chosen:
        if name not in Dtypes:
            raise UsageError(f"there is no dtype '{name}': {did_you_mean(str(name), Dtypes)}")
    return tuple(dict.fromkeys(chosen)) or None
