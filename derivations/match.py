"""Matching a pattern against a term, sums and products in any order, and applying rules by it.

Terms keep the association that their author gave them; it is the matcher that flattens. A pattern
of n summands (factors) matches any n of the summands (factors) of a term, and what it leaves out
stays in its order, followed by the result. In a pattern the letters n, m and k stand for rational
numbers, v for what is none, every other name for any term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lossmith.derivations import terms
from lossmith.derivations.polynomial import collect, same
from lossmith.derivations.terms import COMMUTATIVE, ONE, ZERO, Term, is_const, kept_by_id, name_of, number

Bindings = Mapping[str, Term]
Signed = tuple[int, Term]  # +1: a summand or a factor; -1: subtracted, or in the denominator
CONSTANTS, VARYING = frozenset("nmk"), "v"
WIDE = 10  # sums and products of more parts than this are left alone
GROWN = 40  # a result may be this much larger than three times what it replaces, or as much as its rule is long
REMEMBERED = 50_000  # nodes whose rewrites are kept
SUMS, PRODUCTS = frozenset({"add", "sub"}), frozenset({"mul", "div"})


class Rewriting(Protocol):
    """What the matcher needs of a rule."""

    @property
    def name(self) -> str: ...
    @property
    def pattern(self) -> Term: ...
    @property
    def replacement(self) -> Term: ...
    @property
    def collected(self) -> frozenset[Term]: ...
    @property
    def conditions(self) -> tuple[Term, ...]: ...


@dataclass(frozen=True)
class Rewrite:
    """One use of a rule: in `before`, every `source` became `result`, which gave `after`."""

    rule: Rewriting
    before: Term
    source: Term
    result: Term
    after: Term
    conditions: tuple[Term, ...]


def build(op: str, *args: Term) -> Term:
    """`make`, with what a rewrite leaves behind tidied where no rounding can tell: -a + b is b - a,
    a - a is 0, a / a is 1, log(exp(a)) is a, numbers in a product are multiplied."""
    if op == "add" and args[0].op == "neg":
        return build("sub", args[1], args[0].args[0])
    if op in ("add", "sub") and args[1].op == "neg":
        return build("sub" if op == "add" else "add", args[0], args[1].args[0])
    if op == "sub" and args[0] is args[1]:
        return ZERO
    if op == "div" and args[0] is args[1]:
        return ONE
    if op == "div" and args[1].op == "div" and is_const(args[1].args[0], 1):
        return build("mul", args[0], args[1].args[1])
    if op == "mul":
        return _multiplied(args[0], args[1])
    if op == "neg" and args[0].op == "sub":
        return build("sub", args[0].args[1], args[0].args[0])
    if op == "log" and args[0].op == "exp":
        return args[0].args[0]
    if op == "abs" and args[0].op in ("abs", "exp", "sqrt", "cosh"):
        return args[0]
    return terms.make(op, *args)


def _multiplied(a: Term, b: Term) -> Term:
    for one, other in ((a, b), (b, a)):
        if is_const(one) and other.op == "mul" and is_const(other.args[0]):
            return build("mul", terms.const(number(one) * number(other.args[0])), other.args[1])
        if other.op == "div" and is_const(other.args[0], 1) and not is_const(one):
            return build("div", one, other.args[1])
    return terms.mul(a, b)


def fill(template: Term, bindings: Bindings, collected: frozenset[Term] = frozenset()) -> Term:
    """The template with its variables bound; nodes in `collected` are collected where that is shorter."""
    memo: dict[int, Term] = {}

    def go(t: Term) -> Term:
        if not t.args:
            return bindings.get(name_of(t), t) if t.op == "var" else t
        found = memo.get(t.id)
        if found is None:
            found = build(t.op, *(go(a) for a in t.args))
            if t in collected:
                found = collect(found)
            memo[t.id] = found
        return found

    return go(template)


def summands(term: Term, sign: int = 1) -> list[Signed]:
    """The flattened sum, signs pulled out of subtractions and negations."""
    if term.op == "add":
        return summands(term.args[0], sign) + summands(term.args[1], sign)
    if term.op == "sub":
        return summands(term.args[0], sign) + summands(term.args[1], -sign)
    if term.op == "neg":
        return summands(term.args[0], -sign)
    if is_const(term) and number(term) < 0:
        return [(-sign, terms.neg(term))]
    return [(sign, term)]


def factors(term: Term, side: int = 1) -> list[Signed]:
    """The flattened product; -1 marks what stands in the denominator."""
    if term.op == "mul":
        return factors(term.args[0], side) + factors(term.args[1], side)
    if term.op == "div":
        return factors(term.args[0], side) + factors(term.args[1], -side)
    return [] if is_const(term, 1) else [(side, term)]


def _facing(pattern: list[Signed], term: Term) -> list[Signed]:
    """The flattened product of a term, with the 1 of a reciprocal where the pattern has a numerator to bind it."""
    parts = factors(term)
    wanted = any(side > 0 for side, _ in pattern) and not any(side > 0 for side, _ in parts)
    return [(1, ONE), *parts] if wanted else parts


def total(parts: Iterable[Signed]) -> Term:
    """The sum of signed parts, in their order."""
    out: Term | None = None
    for sign, t in parts:
        out = (t if sign > 0 else build("neg", t)) if out is None else build("add" if sign > 0 else "sub", out, t)
    return ZERO if out is None else out


def product(parts: Iterable[Signed]) -> Term:
    """The product of the parts over the product of those marked -1, in their order."""
    top, bottom = ONE, ONE
    for side, t in parts:
        if side > 0:
            top = build("mul", top, t)
        else:
            bottom = build("mul", bottom, t)
    return build("div", top, bottom)


_names: dict[int, frozenset[str]] = kept_by_id({})


def names(pattern: Term) -> frozenset[str]:
    """The variables of a pattern."""
    found = _names.get(pattern.id)
    if found is None:
        found = _names[pattern.id] = frozenset(name_of(t) for t in terms.leaves(pattern))
    return found


def _bind(bindings: Bindings, name: str, term: Term) -> Iterator[Bindings]:
    bound = bindings.get(name)
    if bound is not None:
        if same(bound, term):
            yield bindings
    elif is_const(term) if name in CONSTANTS else not (name == VARYING and is_const(term)):
        yield {**bindings, name: term}


def match(pattern: Term, term: Term, bindings: Bindings) -> Iterator[Bindings]:
    """Every way in which the pattern is the whole of the term."""
    if pattern.op == "var":
        yield from _bind(bindings, name_of(pattern), term)
        return
    own = names(pattern)
    if own and own <= bindings.keys():
        if same(fill(pattern, bindings), term):
            yield bindings
        return
    if pattern.op == "const":
        if pattern is term:
            yield bindings
    elif pattern.op in SUMS:
        if term.op in SUMS or term.op == "neg":
            for found, rest in _subset(_Sum, summands(pattern), summands(term), bindings, whole=True):
                assert not rest
                yield found
    elif pattern.op in PRODUCTS:
        if term.op in PRODUCTS:
            wanted = factors(pattern)
            for found, rest in _subset(_Product, wanted, _facing(wanted, term), bindings, whole=True):
                assert not rest
                yield found
    elif pattern.op == "neg":
        yield from _negated(pattern.args[0], term, bindings)
    elif pattern.op == term.op:
        yield from _arguments(pattern, term, bindings)


def _arguments(pattern: Term, term: Term, bindings: Bindings) -> Iterator[Bindings]:
    if len(pattern.args) != len(term.args):
        return
    orders = [term.args]
    if pattern.op in COMMUTATIVE and term.args[0] is not term.args[1]:
        orders.append(term.args[::-1])
    for order in orders:
        found: list[Bindings] = [bindings]
        for p, t in zip(pattern.args, order, strict=True):
            found = [b for before in found for b in match(p, t, before)]
        yield from found


def _negated(inner: Term, term: Term, bindings: Bindings) -> Iterator[Bindings]:
    if term.op == "neg":
        yield from match(inner, term.args[0], bindings)
    elif inner.op == "var" or term.op in SUMS or is_const(term):
        yield from match(inner, build("neg", term), bindings)


@dataclass(frozen=True)
class _Kind:
    """What sums and products differ in while a subset is matched."""

    join: Callable[[Iterable[Signed]], Term]
    inverse: Callable[[Term], Term]
    signed: bool  # a sign can be moved into a bound variable; a denominator cannot


_Sum = _Kind(total, lambda t: build("neg", t), True)
_Product = _Kind(product, lambda t: build("div", ONE, t), False)


def _subset(kind: _Kind, pattern: list[Signed], parts: list[Signed], bindings: Bindings,
            whole: bool) -> Iterator[tuple[Bindings, list[Signed]]]:
    """Bindings and the parts left over; none are left over where the whole must match."""
    # Free variables last, those of the numerator after those below it: the last one takes what is left.
    wanted = sorted(pattern, key=lambda x: (x[1].op == "var", -x[1].size, x[0]))
    if len(parts) > WIDE or len(parts) < len(pattern):
        return

    def left(used: int) -> list[Signed]:
        return [p for j, p in enumerate(parts) if not used >> j & 1]

    def go(i: int, used: int, found: Bindings) -> Iterator[tuple[Bindings, list[Signed]]]:
        if i == len(wanted):
            rest = left(used)
            if not (whole and rest):
                yield found, rest
            return
        sign, p = wanted[i]
        last = i == len(wanted) - 1
        if last and p.op == "var" and name_of(p) not in found and name_of(p) not in CONSTANTS:
            rest = left(used)
            below = not kind.signed and sign > 0 and [s for s, _ in rest] == [-1]  # a single divisor: 1 over it
            if below or (len(rest) > 1 and (kind.signed or sign > 0 or all(s < 0 for s, _ in rest))):
                joined = kind.join(rest)
                yield {**found, name_of(p): joined if sign > 0 else kind.inverse(joined)}, []
        for j, (s, t) in enumerate(parts):
            if used >> j & 1:
                continue
            for b in _part(kind, sign, p, s, t, found):
                yield from go(i + 1, used | 1 << j, b)

    yield from go(0, 0, bindings)


def _part(kind: _Kind, sign: int, p: Term, s: int, t: Term, bindings: Bindings) -> Iterator[Bindings]:
    """One part of the pattern against one part of the term, a sign moved into a variable if need be."""
    if s == sign:
        yield from match(p, t, bindings)
    elif not kind.signed:
        return
    elif p.op == "var":
        yield from match(p, build("neg", t), bindings)
    elif p.op in PRODUCTS:
        free = next((x for side, x in factors(p) if side > 0 and x.op == "var" and name_of(x) not in bindings
                     and name_of(x) not in CONSTANTS), None)
        if free is not None:
            for b in match(p, t, bindings):
                yield {**b, name_of(free): build("neg", b[name_of(free)])}


def at_root(rule: Rewriting, term: Term) -> Iterator[tuple[Term, Bindings]]:
    """Every term that the rule makes of this node, with the bindings that it used."""
    pattern = rule.pattern
    if pattern.op in SUMS and term.op in SUMS:
        parts = summands(term)
        for sign in (1, -1):
            signed = [(s * sign, t) for s, t in parts]
            for found, rest in _subset(_Sum, summands(pattern), signed, {}, whole=False):
                result = fill(rule.replacement, found, rule.collected)
                yield _with_rest(result, [(s * sign, t) for s, t in rest], sign), found
    elif pattern.op in PRODUCTS and term.op in PRODUCTS:
        wanted = factors(pattern)
        for found, rest in _subset(_Product, wanted, _facing(wanted, term), {}, whole=False):
            result = fill(rule.replacement, found, rule.collected)
            yield (product([*rest, (1, result)]) if rest else result), found
    elif pattern.op not in SUMS and pattern.op not in PRODUCTS:
        for found in match(pattern, term, {}):
            yield fill(rule.replacement, found, rule.collected), found


def _with_rest(result: Term, rest: list[Signed], sign: int) -> Term:
    if not rest:
        return result if sign > 0 else build("neg", result)
    return total([*rest, (sign, result)])


def heads(op: str) -> str:
    """The group under which a rule is filed: one for sums, one for products, else the operation."""
    return "sum" if op in SUMS else "product" if op in PRODUCTS else op


class Index(dict[str, list[Rewriting]]):
    """Rules by the group of their pattern's root, and what they made of the nodes seen so far.

    Candidates of one search share most of their nodes, so each node is matched once.
    """

    def __init__(self, rules: Sequence[Rewriting]) -> None:
        super().__init__()
        for rule in rules:
            self.setdefault(heads(rule.pattern.op), []).append(rule)
        self.known: dict[int, list[tuple[Rewriting, Term, tuple[Term, ...]]]] = kept_by_id({})

    def uses(self, t: Term) -> list[tuple[Rewriting, Term, tuple[Term, ...]]]:
        """Every use of a rule at this node: the rule, what it makes of the node, its conditions."""
        found = self.known.get(t.id)
        if found is None:
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            found = self.known[t.id] = [
                (rule, result, tuple(fill(c, bound) for c in rule.conditions))
                for rule in self.get(heads(t.op), ()) for result, bound in at_root(rule, t)
                if result is not t and result.size <= 3 * t.size + max(GROWN, rule.replacement.size)
            ]
        return found


def index(rules: Sequence[Rewriting]) -> Index:
    """Rules by the group of their pattern's root."""
    return Index(rules)


def _inner(term: Term) -> set[int]:
    """Nodes that belong to a larger sum or product: those are visited at its top only."""
    sums: set[int] = set()
    for t in terms.walk(term):
        for a in t.args:
            if (t.op in SUMS or t.op == "neg") and a.op in SUMS:
                sums.add(a.id)
            if t.op in PRODUCTS and a.op in PRODUCTS:
                sums.add(a.id)
    sums.discard(term.id)
    return sums


def rewrites(term: Term, rules: Index) -> Iterator[Rewrite]:
    """Every use of every rule in the term, conditions not yet judged, each result once.

    A result comes again with other conditions: where those of one rule fail, those of another may hold.

    A result much more than three times as large as what it replaces is left out.
    """
    inner = _inner(term)
    seen: set[tuple[Term, tuple[Term, ...]]] = set()
    for t in terms.walk(term):
        if not t.args or t.id in inner:
            continue
        for rule, result, conditions in rules.uses(t):
            after = terms.replace(term, {t: result})
            if after is not term and (after, conditions) not in seen:
                seen.add((after, conditions))
                yield Rewrite(rule, term, t, result, after, conditions)
