"""Row stable forms to a kernel: the monoid over the class axis, derived.

Every reduction of the forms becomes a named scalar: a peak and rest is a family's, a sum whose
body is a weight times powers of gaps is a slot that moves with the peak, any other sum waits for
a later stage. What is left is straight-line code per row (finish) and per class (epilogue).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lossmith.codegen.kernel import Capture, Family, Input, Let, Power, Program, Row, Slot, Stage
from lossmith.codegen.names import Names
from lossmith.derivations.terms import (
    MACHINE,
    ONE,
    POSITION,
    REDUCTIONS,
    ZERO,
    Term,
    add,
    div,
    is_const,
    make,
    mul,
    name_of,
    node,
    replace,
    show,
    var,
    walk,
)

LEAVES = frozenset({"const", "pi", "var", "row", "label", "position", "count"})
FREE = LEAVES | {"neg"}  # not worth a name


def row_kernel(name: str, forms: Mapping[str, Term], inputs: Sequence[Input]) -> Row:
    """The kernel that computes several stable forms of one row loss at once.

    forms: by output name; a row goes to the epilogue, and so does what belongs to a row input
    (`gradient_x`); every other scalar goes to the finish. Raises ValueError for a term that has no
    machine form.
    """
    clean = {out: _without_onehot(term) for out, term in forms.items()}
    plan = _Plan(Names([*(i.name for i in inputs), *forms]))
    values = {out: plan.value(term) for out, term in clean.items()}
    per_class = {out for out, term in values.items() if term.sort == "row" or _belongs_to_row(out, inputs)}
    return plan.kernel(name, tuple(inputs), {o: t for o, t in values.items() if o not in per_class},
                       {o: t for o, t in values.items() if o in per_class})


def _belongs_to_row(output: str, inputs: Iterable[Input]) -> bool:
    return any(i.kind == "row" and output.partition("_")[2] == i.name for i in inputs)


def _without_onehot(term: Term) -> Term:
    found = {t: node("where", (node("eq", (POSITION, t.args[0])), ONE, ZERO)) for t in walk(term) if t.op == "onehot"}
    return replace(term, found)


@dataclass(frozen=True)
class _Monomial:
    """A sum body taken apart: scalar factors over scalar divisors, a weight per class, powers of gaps."""

    scalars: tuple[Term, ...]
    divisors: tuple[Term, ...]
    weight: Term
    powers: Mapping[Term, tuple[int, int]]  # the peak that the gap is measured from -> (p, q)


def monomial(body: Term) -> _Monomial | None:
    """The body of a sum as one monomial in gaps, None if it is not one."""
    parts = _Parts()
    return parts.done() if parts.take(body) else None


@dataclass
class _Parts:
    scalars: list[Term] = field(default_factory=list)
    divisors: list[Term] = field(default_factory=list)
    weight: Term = ONE
    powers: dict[Term, tuple[int, int]] = field(default_factory=dict)

    def take(self, t: Term) -> bool:
        if t.sort == "scalar":
            self.scalars.append(t)
            return True
        if t.op in ("mul", "absorb"):
            return self.take(t.args[0]) and self.take(t.args[1])
        if t.op == "neg":
            self.scalars.append(node("neg", (ONE,)))
            return self.take(t.args[0])
        if t.op == "div" and _is_scaled(t):
            return False
        if t.op == "div" and t.args[1].sort == "scalar":
            self.divisors.append(t.args[1])
            return self.take(t.args[0])
        if t.op == "gap" and _of_one_row(t.args[0], t.args[1]):
            return self._power(t.args[0], 1, 0)
        if t.op == "exp_diff" and _of_one_row(t.args[1], t.args[0]):
            return self._power(t.args[1], 0, 1)
        if t.op == "exp_diff" and t.args[1].op == "peak" and (own := _one_row(t.args[1])) is not None:
            # exp(b - m) = exp(b - a) exp(a - m) for the row a of the peak m
            return self.take(node("exp_diff", (t.args[0], own))) and self._power(t.args[1], 0, 1)
        if any(n.op in REDUCTIONS for n in walk(t)):
            return False
        self.weight = t if self.weight is ONE else node("absorb", (self.weight, t))
        return True

    def _power(self, peak: Term, p: int, q: int) -> bool:
        old = self.powers.get(peak, (0, 0))
        self.powers[peak] = (old[0] + p, old[1] + q)
        return True

    def done(self) -> _Monomial:
        return _Monomial(tuple(self.scalars), tuple(self.divisors), self.weight, self.powers)


def _is_scaled(t: Term) -> bool:
    """Whether an input is divided by what its own size chooses: its squares would leave the range otherwise."""
    a, size = t.args
    return a.op == "row" and size.op == "where" and any(n.op == "peak" and a in walk(n) for n in walk(size))


def _of_one_row(peak: Term, a: Term) -> bool:
    return peak.op == "peak" and _one_row(peak) is a


def _one_row(peak: Term) -> Term | None:
    """The row that a peak is of, if it is of one."""
    rows = [b for b in peak.args if b.sort == "row"]
    return rows[0] if len(rows) == 1 else None


@dataclass
class _Level:
    """One stage as it grows."""

    families: dict[str, Family] = field(default_factory=dict)
    slots: dict[tuple[Term, tuple[Power, ...]], Slot] = field(default_factory=dict)
    captures: dict[Term, Capture] = field(default_factory=dict)
    after: list[Let] = field(default_factory=list)


class _Plan:
    """Names for reductions, stage by stage."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.levels: list[_Level] = []
        self.known: dict[Term, Term] = {}
        self.stage: dict[Term, int] = {}  # of a scalar name: the stage after which it is known
        self.families: dict[tuple[Term, ...], str] = {}

    # ---- reductions to names

    def value(self, t: Term) -> Term:
        """The term with every reduction replaced by names."""
        if t not in self.known:
            self.known[t] = self._reduced(t) if t.op in REDUCTIONS else self._rebuilt(t)
        return self.known[t]

    def _rebuilt(self, t: Term) -> Term:
        args = tuple(self.value(a) for a in t.args)
        if all(a is b for a, b in zip(args, t.args, strict=True)):
            return t
        return make("neg", *args) if t.op == "neg" else node(t.op, args, t.value)  # two signs are none

    def _reduced(self, t: Term) -> Term:
        if t.op in ("peak", "rest"):
            return self._family_scalar(t)
        if t.op == "at":
            return self._capture(t)
        if t.op == "sum":
            return self._sum(t)
        raise ValueError(f"'{t.op}' is not part of a stable form: {show(t)}")

    def _level(self, number: int) -> _Level:
        while len(self.levels) < number:
            self.levels.append(_Level())
        return self.levels[number - 1]

    def _after(self, term: Term) -> int:
        """The stage whose results a term reads: 0 if it reads inputs only."""
        return max((self.stage.get(n, 0) for n in walk(term)), default=0)

    def _named(self, word: str, stage: int) -> Term:
        made = var(self._fresh(word))
        self.stage[made] = stage
        return made

    def _fresh(self, word: str) -> str:
        return self.names.fresh(var(word))

    # ---- families

    def _family_scalar(self, t: Term) -> Term:
        rows = tuple(a for a in t.args if a.sort == "row")
        extras = tuple(self.value(a) for a in t.args if a.sort != "row")
        if len(rows) > 1:
            return self._joined(t, rows, extras)
        if not rows:
            raise ValueError(f"no row to reduce in {show(t)}")
        name = self._family(self.value(rows[0]), extras)
        return var(f"{name}_{t.op}")

    def _family(self, element: Term, extras: tuple[Term, ...]) -> str:
        key = (element, *extras)
        if key not in self.families:
            number = 1 + max(self._after(e) for e in key)
            word = name_of(element) if element.op == "row" and not extras else "top"
            name = word
            while any(f"{name}_{part}".lower() in self.names.taken for part in ("peak", "rest")):
                name = self._fresh(word)
            self.names.taken |= {f"{name}_peak", f"{name}_rest"}
            self._level(number).families[name] = Family(name, element, extras)
            for part in ("peak", "rest"):
                self.stage[var(f"{name}_{part}")] = number
            self.families[key] = name
        return self.families[key]

    def _joined(self, t: Term, rows: Sequence[Term], extras: tuple[Term, ...]) -> Term:
        """Several rows in one log-sum-exp: a family each, joined by scalars."""
        peak, rest = self._pair(self._family(self.value(rows[0]), extras))
        for other in rows[1:]:
            peak2, rest2 = self._pair(self._family(self.value(other), ()))
            upper = make("max", peak, peak2)
            rest = node("where", (node("ge", (peak, peak2)), _joined_rest(rest, rest2, peak2, peak),
                                  _joined_rest(rest2, rest, peak, peak2)))
            peak = upper
        return peak if t.op == "peak" else rest

    @staticmethod
    def _pair(family: str) -> tuple[Term, Term]:
        return var(f"{family}_peak"), var(f"{family}_rest")

    # ---- elements at a label

    def _capture(self, t: Term) -> Term:
        element, label = self.value(t.args[0]), t.args[1]
        number = 1 + self._after(element)
        word = f"{name_of(element)}_at_{name_of(label)}" if element.op == "row" else f"value_at_{name_of(label)}"
        made = self._named(word, number)
        element = self._hoisted(element, number - 1)
        self._level(number).captures[t] = Capture(name_of(made), element, name_of(label))
        return made

    # ---- sums

    def _sum(self, t: Term) -> Term:
        found = monomial(t.args[0])
        number = self._closed(found) if found is not None else 0
        if found is None or not number:
            body = self.value(t.args[0])
            number = 1 + self._after(body)
            return self._slot(number, self._hoisted(body, number - 1), (), self._word(body, ()))
        powers = tuple(
            Power(self._family_of(peak), p, q) for peak, (p, q) in sorted(found.powers.items(), key=lambda i: i[0].key))
        for lower in _lower(powers):
            self._slot(number, found.weight, lower, self._word(found.weight, lower))
        whole = self._slot(number, found.weight, powers, self._word(found.weight, powers))
        for s in found.scalars:
            whole = make("neg", whole) if s.op == "neg" and s.args[0] is ONE else mul(self.value(s), whole)
        for d in found.divisors:
            whole = div(whole, self.value(d))
        return whole

    def _closed(self, found: _Monomial) -> int:
        """The stage in which a monomial can be summed as it stands; 0 if it cannot."""
        stages = {self.stage[self.value(peak)] for peak in found.powers}
        if len(stages) > 1 or self._after(self.value(found.weight)):
            return 0
        return stages.pop() if stages else 1

    def _family_of(self, peak: Term) -> str:
        return name_of(self.value(peak)).removesuffix("_peak")

    def _slot(self, number: int, weight: Term, powers: tuple[Power, ...], word: str) -> Term:
        level = self._level(number)
        if (weight, powers) not in level.slots:
            made = self._named(word, number)
            level.slots[weight, powers] = Slot(name_of(made), weight, powers)
        return var(level.slots[weight, powers].name)

    @staticmethod
    def _word(weight: Term, powers: tuple[Power, ...]) -> str:
        """A word for a sum: `t_sum`, `t_gap_sum`, `share_sum`."""
        words = [] if is_const(weight) else [name_of(weight)] if weight.op in ("row", "var") else ["term"]
        for p in powers:
            words += ["gap"] * (p.p > 0) + ["decay"] * (p.q > 0)
        return "_".join([*(words or ["class"]), "sum"])

    def _hoisted(self, body: Term, stage: int) -> Term:
        """The body of a later stage, what is the same for all classes computed once after an earlier one."""
        if stage == 0:
            return body
        made = dict[Term, Term]()
        for t in _scalar_parts([body]):
            if not any(self.stage.get(n, 0) for n in walk(t)):
                continue
            known = self.known.get(t)
            if known is None or known is t:
                name = self._named(_role(t) or self.names.fresh(t), stage)
                self._level(stage).after.append(Let(name_of(name), t))
                self.known[t] = name
            elif self.stage.get(known, 0) > stage:
                self._sooner(known, stage)
            made[t] = self.known[t]
        return replace(body, made)

    def _sooner(self, name: Term, stage: int) -> None:
        """Compute a scalar after an earlier stage than the one that asked for it first."""
        late = self._level(self.stage[name]).after
        let = next(x for x in late if x.name == name_of(name))
        late.remove(let)
        self._level(stage).after.append(let)
        self.stage[name] = stage

    # ---- the kernel

    def kernel(self, name: str, inputs: tuple[Input, ...], scalars: Mapping[str, Term],
               rows: Mapping[str, Term]) -> Row:
        scalars, rows = dict(scalars), dict(rows)
        self._check([*scalars.values(), *rows.values()])
        hoisted = {let.term: var(let.name) for level in self.levels for let in level.after}
        scalars = {o: replace(t, hoisted) for o, t in scalars.items()}
        rows = {o: replace(t, hoisted) for o, t in rows.items()}
        finish_lets, known = self._finish_lets(scalars, rows)
        epilogue_lets, within = self._named_parts(
            [replace(t, known) for t in rows.values()], lambda t, uses: t.sort == "row" and uses > 1)
        return Row(
            name, inputs, tuple(self._stages()),
            Program(tuple(finish_lets), {o: replace(t, known) for o, t in scalars.items()}),
            Program(tuple(epilogue_lets), {o: replace(replace(t, known), within) for o, t in rows.items()}))

    def _finish_lets(self, scalars: Mapping[str, Term], rows: Mapping[str, Term]) -> tuple[list[Let], dict[Term, Term]]:
        """What finish names: scalars that rows read, and scalars used more than once."""
        wanted = set(_scalar_parts(rows.values()))
        roots = [*scalars.values(), *(t for t in _scalar_parts(rows.values()))]
        return self._named_parts(roots, lambda t, uses: t.sort == "scalar" and (t in wanted or uses > 1))

    def _named_parts(self, roots: Sequence[Term],
                     choose: Callable[[Term, int], bool]) -> tuple[list[Let], dict[Term, Term]]:
        order = walk(*roots)
        uses = Counter(a for t in order for a in t.args)
        uses.update(roots)
        lets: list[Let] = []
        known: dict[Term, Term] = {}
        for t in order:
            if t.op in FREE or t.sort == "truth" or not choose(t, uses[t]):
                continue
            body = replace(t, known)
            word = _role(t)
            name = self._fresh(word) if word else self.names.fresh(body)
            lets.append(Let(name, body))
            known[t] = var(name)
        return lets, known

    def _stages(self) -> Iterable[Stage]:
        for level in self.levels:
            yield Stage(tuple(level.families.values()), tuple(level.slots.values()), tuple(level.captures.values()),
                        tuple(level.after))

    @staticmethod
    def _check(terms: Iterable[Term]) -> None:
        for t in walk(*terms):
            if t.op not in MACHINE:
                raise ValueError(f"'{t.op}' has no machine form in {show(t)}")


def _joined_rest(own: Term, other: Term, low: Term, high: Term) -> Term:
    """The rest of two families, that of the higher peak first; a family with nothing in it adds nothing."""
    decay = node("exp_diff", (low, high))
    return add(own, node("where", (node("eq", (decay, ZERO)), ZERO, mul(add(ONE, other), decay))))


def _lower(powers: tuple[Power, ...]) -> list[tuple[Power, ...]]:
    """The slots that a change of the peak reads: every lower power of every gap."""
    choices = [[Power(p.family, j, p.q) for j in range(p.p + 1)] for p in powers]
    out = []
    for combination in itertools.product(*choices):
        kept = tuple(p for p in combination if p.p or p.q)
        if kept != powers:
            out.append(kept)
    return out


def _scalar_parts(terms: Iterable[Term]) -> list[Term]:
    """The largest scalar parts of rows that are worth computing once per row."""
    found: dict[Term, None] = {}

    def go(t: Term) -> None:
        if t.sort == "scalar" and t.op not in LEAVES:
            inner = t.args[0] if t.op == "neg" else t
            if inner.op not in LEAVES:
                found[inner] = None
            return
        for a in t.args:
            go(a)

    for t in terms:
        if t.sort == "row" or t.sort == "truth":
            go(t)
        elif t.op not in FREE:
            found[t] = None
    return list(found)


def _role(t: Term) -> str:
    """What a part of a stable form is called: share, others, gap, tail; at a label it says so."""
    word, a = "", t
    if t.op == "div" and t.args[0].op == "exp_diff" and _is_part(t.args[0].args[1], "peak"):
        word, a = "share", t.args[0].args[0]
    elif t.op == "div" and t.args[0].op == "sub" and _is_part(t.args[0].args[0], "rest"):
        gap = t.args[0].args[1].args[0].args[0] if t.args[0].args[1].op == "expm1" else t
        word, a = "others", gap.args[1] if gap.op == "gap" else gap
    elif t.op == "gap" and _is_part(t.args[0], "peak"):
        word, a = "gap", t.args[1]
    elif t.op == "log1p" and _is_part(t.args[0], "rest"):
        return "tail"
    elif t.op == "add" and t.args[0] is ONE and _is_part(t.args[1], "rest"):
        return "spread"
    if not word:
        return ""
    at = name_or_blank(a).partition("_at_")[2]
    return f"{word}_at_{at}" if at else word


def _is_part(t: Term, part: str) -> bool:
    return name_or_blank(t).endswith(f"_{part}")


def name_or_blank(t: Term) -> str:
    return name_of(t) if t.op in ("var", "row") else ""
