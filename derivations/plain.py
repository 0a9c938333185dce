"""Derivations as plain data, and back: what is kept between runs, checked node by node when it is read.

Only numbers, text and lists: reading runs nothing. A value is read against the type that its field
declares, a term against the vocabulary; whatever does not fit is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeVar, Union

from lossmith.derivations import precise
from lossmith.derivations.derivation import Derivation
from lossmith.derivations.terms import Term, node, walk

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
PRECISE = re.compile(r"[$()a-z0-9 /-]{1,4000}")
RATIONAL = re.compile(r"-?[0-9]{1,4000}(/[0-9]{1,4000})?")
NAMED = frozenset({"var", "row", "label"})
T = TypeVar("T")


class Malformed(ValueError):  # noqa: N818  (it is what was read)
    """Data that is not what was written."""


def packed(values: Sequence[Any], kind: Any) -> dict[str, Any]:
    """Values of one type (a dataclass, or anything its fields may be) as JSON's own types."""
    terms = _Numbered()
    body = [_written(v, kind, terms) for v in values]
    return {"terms": terms.rows, "values": body}


def unpacked(data: Any, kind: type[T]) -> tuple[T, ...]:
    """The values that `packed` wrote. Raises Malformed."""
    try:
        terms = _terms(data["terms"])
        return tuple(_read(v, kind, terms) for v in data["values"])
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, AssertionError, ZeroDivisionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


def checked(found: Derivation) -> Derivation:
    """The same, where its form names nothing but its arguments. Raises Malformed."""
    known = {a.name for a in found.arguments}
    for term in (found.definition, found.form.term, found.form.definition, *found.given):
        for t in walk(term):
            if t.op in NAMED and t.value not in known:
                raise Malformed(f"'{t.value}' is no argument of {found.name}")
    return found


class _Numbered:
    """Terms in the order of their first use, arguments first; each is a row that names the rows it is made of."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.places: dict[int, int] = {}

    def place(self, term: Term) -> int:
        if term.id not in self.places:
            for t in walk(term):
                if t.id not in self.places:
                    self.places[t.id] = len(self.rows)
                    self.rows.append([t.op, [self.places[a.id] for a in t.args],
                                      None if t.value is None else str(t.value)])
        return self.places[term.id]


def _terms(rows: Any) -> list[Term]:
    found: list[Term] = []
    for op, places, value in rows:
        if not all(type(p) is int and 0 <= p < len(found) for p in places):
            raise Malformed("a term is made of terms that are not there")
        found.append(_term(op, tuple(found[p] for p in places), value))
    return found


def _term(op: str, args: tuple[Term, ...], value: str | None) -> Term:
    """One node, exactly as it was: nothing is folded. Raises Malformed, KeyError, ValueError."""
    if value is None:
        if op in NAMED or op == "const":
            raise Malformed(f"{op} without a value")
        return node(op, args)
    if op == "const" and RATIONAL.fullmatch(value):
        return node(op, args, Fraction(value))
    if op in NAMED and NAME.fullmatch(value):
        return node(op, args, value)
    if op == "precise" and PRECISE.fullmatch(value):
        return _precise(node(op, args, value))
    raise Malformed(f"{op} with the value {value[:40]!r}")


def _precise(term: Term) -> Term:
    for t in walk(precise.formula(term)):
        if t.op == "var" and not 0 <= precise.place(t) < len(term.args):
            raise Malformed("a formula in twice the digits of arguments that are not there")
        if t.op not in precise.ARITHMETIC | precise.OUTERMOST | {"var", "const", "pi"}:
            raise Malformed(f"'{t.op}' is not done in twice the digits")
    return term


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((f.name, hints[f.name]) for f in dataclasses.fields(kind))


def _choices(kind: Any) -> tuple[Any, ...] | None:
    """The members of a union; None for any other type."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else None


def _written(value: Any, kind: Any, terms: _Numbered) -> Any:
    members = _choices(kind)
    if members:
        for k, member in enumerate(members):
            if _is(value, member):
                return [k, _written(value, member, terms)]
        raise TypeError(f"{value!r} is not of {kind}")
    if kind is Term:
        return terms.place(value)
    if kind is float:
        return float(value).hex()
    if kind is Fraction:
        return str(Fraction(value))
    if kind is int:
        return int(value)
    origin = typing.get_origin(kind)
    if origin is tuple:
        return [_written(v, k, terms) for v, k in zip(value, _member_kinds(kind, len(value)), strict=True)]
    if origin is Mapping:
        (_, inside) = typing.get_args(kind)
        return {k: _written(v, inside, terms) for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return [_written(getattr(value, name), inside, terms) for name, inside in _fields(typing.cast(type, kind))]
    return value


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is meant by one member of a union."""
    origin = typing.get_origin(kind) or kind
    if kind is float:
        return isinstance(value, float)
    return value is None if kind is type(None) else isinstance(value, origin)


def _member_kinds(kind: Any, length: int) -> list[Any]:
    kinds = typing.get_args(kind)
    return [kinds[0]] * length if len(kinds) == 2 and kinds[1] is Ellipsis else list(kinds)


def _read(data: Any, kind: Any, terms: Sequence[Term]) -> Any:
    members = _choices(kind)
    if members:
        place, inside = data
        return _read(inside, members[_index(place, len(members))], terms)
    if kind is Term:
        return terms[_index(data, len(terms))]
    if kind is float:
        return float.fromhex(data)
    if kind is Fraction:
        return Fraction(_matching(RATIONAL, data))
    if kind is type(None):
        return _same(data, None)
    origin = typing.get_origin(kind)
    if origin is Literal:
        if type(data) is not str or data not in typing.get_args(kind):
            raise Malformed(f"{str(data)[:40]!r} is none of {typing.get_args(kind)}")
        return data
    if origin is tuple:
        return tuple(_read(v, k, terms) for v, k in zip(_a(list, data), _member_kinds(kind, len(data)), strict=True))
    if origin is Mapping:
        return {_a(str, k): _read(v, typing.get_args(kind)[1], terms) for k, v in _a(dict, data).items()}
    if dataclasses.is_dataclass(kind):
        fields = _fields(typing.cast(type, kind))
        given = {n: _read(v, k, terms) for v, (n, k) in zip(_a(list, data), fields, strict=True)}
        return typing.cast(Any, kind)(**given)
    return _a(kind, data)


def _index(data: Any, length: int) -> int:
    if type(data) is not int or not 0 <= data < length:
        raise Malformed(f"{data!r} is not a place below {length}")
    return data


def _matching(pattern: re.Pattern[str], data: Any) -> str:
    if not isinstance(data, str) or not pattern.fullmatch(data):
        raise Malformed(f"{data!r} is not a number")
    return data


def _same(data: Any, expected: Any) -> Any:
    if data is not expected:
        raise Malformed(f"{data!r} is not {expected!r}")
    return data


def _a(kind: Any, data: Any) -> Any:
    """The data, where it is of the plain type that is expected."""
    if kind not in (str, int, bool, list, dict) or type(data) is not kind:
        raise Malformed(f"{str(data)[:40]!r} is not of {kind}")
    return data
