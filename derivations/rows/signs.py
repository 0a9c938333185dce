"""Certificate of signs: which terms are provably of one sign, and which sums may therefore cancel."""

from __future__ import annotations

from collections.abc import Mapping

from lossmith.derivations.domains import Domain
from lossmith.derivations.precise import spelled
from lossmith.derivations.terms import Term, is_const, name_of, number, walk

POSITIVE = frozenset({"exp", "exp_diff", "sigmoid", "softplus", "abs", "sqrt", "cosh", "rest", "count", "pi",
                      "position", "erfc", "erfcx", "exp2", "expm1mx", "onehot", "label"})
ODD = frozenset({"expm1", "log1p", "sinh", "tanh", "asinh", "atanh", "erf", "sum", "sign", "at", "asin", "atan"})


def sign(term: Term, domains: Mapping[str, Domain]) -> str:
    """'+' if the term is never negative, '-' if never positive, '0' if zero, '?' if neither is proved."""
    done: dict[int, str] = {}

    def go(t: Term) -> str:
        if t.id not in done:
            done[t.id] = _sign(t, [go(a) for a in t.args] if t.op not in ("onehot", "lse") else [], domains)
        return done[t.id]

    return go(term)


def may_cancel(term: Term, domains: Mapping[str, Domain]) -> list[Term]:
    """The sums and differences in a term that are not provably sums of terms of one sign."""
    leaves = ("row", "var", "const", "label", "count", "at")
    return [
        t for t in walk(term)
        if t.op in ("add", "sub") and sign(t, domains) == "?" and not all(a.op in leaves for a in t.args)
    ]


def _sign(t: Term, a: list[str], domains: Mapping[str, Domain]) -> str:
    if t.op == "const":
        return "0" if is_const(t, 0) else "+" if number(t) > 0 else "-"
    if t.op in ("var", "row"):
        domain = domains.get(name_of(t))
        known = domain.sign if domain is not None else None
        return "?" if known is None else "+" if known == 1 else "-"
    if t.op == "precise":
        return sign(spelled(t), domains)
    if t.op in POSITIVE:
        return "+"
    if t.op in ODD:
        return a[0]
    if t.op == "log1pmx":
        return "-"
    if t.op == "neg":
        return _flip(a[0])
    if t.op in ("add", "sub"):
        return _total(a[0], _flip(a[1]) if t.op == "sub" else a[1], t, domains)
    if t.op in ("mul", "div", "absorb"):
        return _times(a[0], a[1])
    if t.op == "pow":
        return "+" if a[0] in "+0" or (is_const(t.args[1]) and number(t.args[1]) % 2 == 0) else "?"
    if t.op == "gap":
        return "+" if _below_peak(t) else _total(a[0], _flip(a[1]), t, domains)
    if t.op == "xlogy":
        return _log_sign(t.args[1], a[0], domains)
    if t.op == "log":
        return _log_sign(t.args[0], "+", domains)
    return _choice(t, a)


def _choice(t: Term, a: list[str]) -> str:
    if t.op in ("max", "peak"):
        return "+" if any(s in "+0" for s in a) else ("-" if all(s in "-0" for s in a) else "?")
    if t.op == "min":
        return "-" if any(s in "-0" for s in a) else ("+" if all(s in "+0" for s in a) else "?")
    if t.op in ("where", "clip", "clip_through"):
        kinds = {s for s in (a[1:] if t.op == "where" else a[1:2]) if s != "0"}
        return kinds.pop() if len(kinds) == 1 else ("0" if not kinds else "?")
    return "?"


def _flip(s: str) -> str:
    return {"+": "-", "-": "+"}.get(s, s)


def _times(a: str, b: str) -> str:
    if "0" in (a, b):
        return "0"
    return "?" if "?" in (a, b) else "+" if a == b else "-"


def _total(a: str, b: str, t: Term, domains: Mapping[str, Domain]) -> str:
    if a == "0":
        return b
    if b == "0" or a == b:
        return a
    if t.op == "sub" and is_const(t.args[0]) and t.args[1].op in ("var", "row"):
        domain = domains.get(name_of(t.args[1]))  # 1 - z for z in [0, 1]
        if domain is not None and domain.high <= number(t.args[0]):
            return "+"
    return "?"


def _below_peak(t: Term) -> bool:
    """Whether a gap is that of a peak and one of its own arguments, or an element of one."""
    top, a = t.args
    if top.op != "peak":
        return False
    if a in top.args:
        return True
    return any(_element(b, a) for b in top.args)


def _element(b: Term, a: Term) -> bool:
    """Whether a is b read at one label."""
    if a.op == "at" and a.args[0] is b:
        return True
    if b.sort != "row":
        return a is b
    return a.op == b.op and a.value == b.value and len(a.args) == len(b.args) > 0 and all(
        _element(d, c) for c, d in zip(a.args, b.args, strict=True))


def _log_sign(of: Term, weight: str, domains: Mapping[str, Domain]) -> str:
    if of.op == "count":
        return weight
    if of.op in ("var", "row"):
        domain = domains.get(name_of(of))
        if domain is not None and domain.high <= 1:
            return _flip(weight)
    return "?"
