"""What a user says of the arguments of a formula: their domains, and with that the part each plays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from lossmith.derivations import reserved, terms, vocabulary
from lossmith.derivations.domains import INDEX, Bound, Domain, DomainError, parse_domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.refusals import FormulaError
from lossmith.derivations.terms import Term, is_const, name_of, number

# A function whose name is also a letter: where it is declared, it is the argument.
LETTERS = frozenset({"gamma"})
_ROW = re.compile(r"^\s*([^\[\]\s]+)\s*\[\s*[A-Za-z]\w*\s*\]\s*$")
_BETWEEN = re.compile(r"^\s*([^<>=!\s]+)\s*(<=?)\s*([A-Za-z]\w*)\s*(<=?)\s*([^<>=!\s]+)\s*$")
_BESIDE = re.compile(r"^\s*([A-Za-z]\w*)\s*(<=|>=|!=|<|>)\s*([^<>=!\s]+)\s*$")


def why_not_a_name(name: str) -> str | None:
    """Why an argument cannot be called `name`, in words; None where it can."""
    if name in vocabulary.TAKEN and name not in LETTERS:
        return "it is the name of a function"
    return reserved.why_reserved(name)


def check_name(name: str) -> None:
    """Raises FormulaError (E110) for a name that an argument cannot have."""
    why = why_not_a_name(name)
    if why:
        shown = "".join(c if c.isprintable() else "?" for c in name[:40])
        raise FormulaError("E110", f"an argument cannot be called '{shown}': {why}", hint="choose another name")


def arguments(domain: Mapping[str, str | Domain], targets: Sequence[str] | None = None,
              parameters: Mapping[str, str] | None = None) -> dict[str, Argument]:
    """The arguments that a table of domains declares, in its order.

    domain: from name (`x`, or `x[k]` for a row) to a domain, as text. targets: names of those that
    the others are compared with; all but the first when None. parameters: values by name; a
    parameter is not differentiated. Raises FormulaError (E110, E113).
    """
    fixed = dict(parameters or {})
    made: dict[str, Argument] = {}
    for key, written in domain.items():
        row = _ROW.match(key)
        name = row[1] if row else key.strip()
        check_name(name)
        if name in made:
            raise FormulaError("E113", f"'{name}' has two domains", hint="give it one")
        try:
            known = written if isinstance(written, Domain) else parse_domain(str(written))
        except DomainError as error:
            raise FormulaError("E113", f"the domain of '{name}': {error}") from None
        kind = "label" if known.index else "parameter" if name in fixed else "target"
        if kind == "target" and (name not in targets if targets is not None else not made):
            kind = "input"
        axis = "class" if row or known.unit_sum else "none"
        made[name] = Argument(name, kind, known, axis, kind in ("input", "target"),  # type: ignore[arg-type]
                              default=fixed.get(name), order=len(made))
    for name in [*(targets or ()), *fixed]:
        if name not in made:
            raise FormulaError("E105", f"'{name}' has no domain", hint=f"declare it: {name} = \"real\"")
    return _beside_rows(made)


def _beside_rows(made: dict[str, Argument]) -> dict[str, Argument]:
    """The same arguments. Raises FormulaError (E110) where one has a name that means something beside rows."""
    for name in made if any(a.axis == "class" for a in made.values()) else ():
        if name in reserved.AXIS_WORDS:
            raise FormulaError("E110", f"an argument cannot be called '{name}': beside rows it is "
                               + ("the number of classes" if name == "C" else "the class index"),
                               hint="choose another name")
    return made


def are_rows_written(domain: Mapping[str, str | Domain]) -> bool:
    """Whether some argument is declared as `x[k]`: then exactly those, and distributions, are rows."""
    return any(_ROW.match(key) for key in domain)


def with_axes(declared: Mapping[str, Argument], rows: Iterable[str], labels: Iterable[str]) -> dict[str, Argument]:
    """The same arguments with what a formula shows: these are rows, and those are labels without a domain."""
    chosen = set(rows)
    made = {n: dataclasses.replace(a, axis="class") if n in chosen else a for n, a in declared.items()}
    for name in labels:
        check_name(name)
        made[name] = Argument(name, "label", INDEX, differentiable=False, order=len(made))
    return _beside_rows(made)


def symbols_of(declared: Mapping[str, Argument]) -> dict[str, Any]:
    """Arguments as SymPy symbols; a row is an IndexedBase."""
    import sympy
    from lossmith.derivations.declaring import Symbol

    made = {name: Symbol(a) for name, a in declared.items()}
    return {n: sympy.IndexedBase(s) if s.argument.axis == "class" else s for n, s in made.items()}


def symbols(domain: Mapping[str, str | Domain], targets: Sequence[str] | None = None,
            parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The arguments that a table of domains declares, as SymPy symbols."""
    return symbols_of(arguments(domain, targets, parameters))


# --- domains in one text -------------------------------------------------------------------------


def table_of(written: str | Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """A table of domains from text: `x=real, z=[0,1]`, `0 < p < 1`, `x > 0`, one or several of them.

    A mapping is returned as it is. Raises FormulaError (E113).
    """
    if isinstance(written, Mapping):
        return {str(k): v if isinstance(v, Domain) else str(v) for k, v in written.items()}
    found: dict[str, Any] = {}
    for part in [written] if isinstance(written, str) else written:
        for text in split(str(part)):
            name, domain = _entry(text)
            if name in found:
                raise FormulaError("E113", f"'{name}' has two domains", hint="give it one")
            found[name] = domain
    return found


def split(text: str) -> list[str]:
    """Text cut at the commas and semicolons that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c in ",;" and depth <= 0:
            parts.append(text[start:i])
            start = i + 1
    return [p.strip() for p in [*parts, text[start:]] if p.strip()]


def _entry(text: str) -> tuple[str, Any]:
    """One argument: NAME=DOMAIN, or an inequality."""
    between, beside = _BETWEEN.match(text), _BESIDE.match(text)
    if between:
        low, first, name, second, high = between.groups()
        return name, f"{'(' if first == '<' else '['}{low},{high}{')' if second == '<' else ']'}"
    if beside:
        return beside[1], f"{beside[2]}{beside[3]}"
    name, equals, domain = text.partition("=")
    if not equals or not name.strip() or not domain.strip() or name.rstrip()[-1] in "<>!":
        shown = "".join(c if c.isprintable() else "?" for c in text[:60])
        raise FormulaError("E113", f"\"{shown}\" is not NAME=DOMAIN", hint="such as \"x=real\" or \"0 < p < 1\"")
    return name.strip(), domain.strip()


# --- what relations say of one argument ----------------------------------------------------------


def tightened(declared: Mapping[str, Argument], given: Sequence[Term]) -> tuple[dict[str, Argument], tuple[Term, ...]]:
    """Relations between an argument and a number put into its domain; the other relations are left.

    Raises FormulaError (E114) where no number is left.
    """
    made, left = dict(declared), []
    for relation in _conjuncts(given):
        name, op, bound = _bound_of(relation)
        if name is None or made[name].axis == "class":
            left.append(relation)
            continue
        domain = _within(made[name].domain, op, bound)
        if domain is None:
            raise FormulaError("E114", f"no number of {name} satisfies {terms.show(relation)}: its domain is "
                                       f"{made[name].domain}", hint="change the relation, or the domain")
        if domain is made[name].domain and not _implied(domain, op, bound):
            left.append(relation)
        made[name] = dataclasses.replace(made[name], domain=domain)
    return made, tuple(left)


def _conjuncts(given: Sequence[Term]) -> list[Term]:
    out: list[Term] = []
    for relation in given:
        out += _conjuncts(relation.args) if relation.op == "and" else [relation]
    return out


_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "ne": "ne"}


def _bound_of(relation: Term) -> tuple[str | None, str, Fraction]:
    """(name, comparison, number) of `x > 1` or `1 < x`; no name for anything else."""
    if relation.op in _TURNED:
        a, b = relation.args
        if a.op == "var" and is_const(b):
            return name_of(a), relation.op, number(b)
        if b.op == "var" and is_const(a):
            return name_of(b), _TURNED[relation.op], number(a)
    return None, "", Fraction(0)


def _within(domain: Domain, op: str, bound: Fraction) -> Domain | None:
    """The part of a domain on one side of a number; the same domain where that has no name; None if empty."""
    if domain.values:
        kept = tuple(v for v in domain.values if _holds(op, v, bound))
        return dataclasses.replace(domain, low=min(kept), high=max(kept), values=kept) if kept else None
    if op == "ne":
        return dataclasses.replace(domain, nonzero=True) if bound == 0 else domain
    low: tuple[Bound, bool] = (domain.low, domain.low_closed)
    high: tuple[Bound, bool] = (domain.high, domain.high_closed)
    if op in ("gt", "ge") and (bound > domain.low or (bound == domain.low and op == "gt")):
        low = (bound, op == "ge")
    if op in ("lt", "le") and (bound < domain.high or (bound == domain.high and op == "lt")):
        high = (bound, op == "le")
    if low[0] > high[0] or (low[0] == high[0] and not (low[1] and high[1])):
        return None
    nonzero = domain.nonzero and low[0] <= 0 <= high[0]
    made = dataclasses.replace(domain, low=low[0], high=high[0], low_closed=low[1], high_closed=high[1],
                               nonzero=nonzero)
    return domain if made == domain else made


def _holds(op: str, a: Fraction, b: Fraction) -> bool:
    return {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "ne": a != b}[op]


def _implied(domain: Domain, op: str, bound: Fraction) -> bool:
    """Whether every number of the domain satisfies the comparison."""
    if domain.values:
        return all(_holds(op, v, bound) for v in domain.values)
    if op == "ne":
        outside = not domain.low <= bound <= domain.high
        return outside or (domain.nonzero and bound == 0)
    if op in ("gt", "ge"):
        return domain.low > bound or (domain.low == bound and (op == "ge" or not domain.low_closed))
    return domain.high < bound or (domain.high == bound and (op == "le" or not domain.high_closed))
