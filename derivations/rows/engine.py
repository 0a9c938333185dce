"""Finding the stable form of a row formula: the log domain, the rules of rows, then each elementwise part.

A formula whose sums are plain sums of elementwise bodies is as stable as its bodies, which the
scalar search takes; every other formula goes through the algebra of rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from lossmith.derivations.derivation import Evidence, Measurement, Order, StableForm, Step
from lossmith.derivations.expanding import NAME as SERIES
from lossmith.derivations.guards import guard
from lossmith.derivations.loss import Argument
from lossmith.derivations.rows import nearness
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.elementwise import (
    Found,
    check_computable,
    machine_row,
    spelled_out,
    stabilize_around,
    stabilize_function,
    stabilize_part,
)
from lossmith.derivations.rows.evidence import enclosed, measure
from lossmith.derivations.rows.expr import to_term
from lossmith.derivations.rows.keeping import (
    emptied,
    gathered,
    kept_differences,
    masked,
    split_exponents,
    unflushed,
    unquotiented,
    unrooted,
    vanishing,
    weighed,
)
from lossmith.derivations.rows.licence import UnitSums, one_sum, unit_constant, unit_sums
from lossmith.derivations.rows.nearness import near_equality
from lossmith.derivations.rows.rewriter import RATIO, Rewriter
from lossmith.derivations.rows.scaling import scaled
from lossmith.derivations.rows.shape import reduces, separable
from lossmith.derivations.rows.signs import may_cancel
from lossmith.derivations.rows.single import of_one_class, told_apart
from lossmith.derivations.terms import (
    FUNCTIONS,
    NAMED,
    ONE,
    Term,
    const,
    make,
    name_of,
    node,
    replace,
    show,
    sub,
    walk,
)

# What has a better form than its meaning, whatever the rows that were drawn say: squares underflow.
STEEP = frozenset({"sigmoid", "softplus", "logaddexp", "pow", "cosh", "sinh"})
HUGE = 1e60
HALVED = const(Fraction(-1, 2))  # below this the logarithm of the sum itself is no difference
REFUSALS = (ArithmeticError, ValueError, RecursionError)  # a step that a check refutes, a form nothing can compute
REFUSED = "what was found did not hold at a check"
SHOWN = 200  # characters of why
TARGETS = (4.0, 4.0, 6.0)  # ulp in float32: a loss, a gradient, a second derivative


# What rounding would lose before it is read: rule, change, reason in words and in LaTeX.
KEPT = (
    ("mask", masked, "a class of weight 0 is not there, however large its exponent",
     r"0 \cdot e^{a} = 0"),
    ("gather", gathered, "the element at the label is read where the peak is found: the two round alike",
     r"f(x)_y \text{, read with the peak of } f(x)"),
    ("empty", emptied, "over no class at all, a log-sum-exp is minus infinity", r"\log 0 = -\infty"),
    ("weigh", weighed, "the weight multiplies; its logarithm only decides which class is the largest",
     r"e^{b + \log w - m} = w\, e^{b - m}"),
    ("two-halves", unflushed, "where the softmax underflows, its root does not",
     r"e^{d} g = e^{d/2} (e^{d/2} g)"),
    ("root-difference", unrooted, "the difference of what is under the roots is exact where they are near each other",
     r"\sqrt a - \sqrt b = (a - b) / (\sqrt a + \sqrt b)"),
    ("root-quotient", unquotiented, "the quotient of the roots stays in range where that of a tiny share does not",
     r"\log(a/b) = 2\log(\sqrt a/\sqrt b)"),
    ("vanish-together", vanishing, "-log p vanishes as 1 - p does: a power of 1 - p below one leaves 0",
     r"-\log p \,/\, (1 - p)^e \to 0 \text{ as } p \to 1, \quad e < 1"),
    ("split-exponent", split_exponents, "an exponent that a format rounds is a short one and a small one",
     r"b^e = b^h\, b^{e - h}"),
    ("keep-difference", kept_differences, "the rounding of the difference is put back",
     r"e^{a - b} \text{, the rounding of } a - b \text{ put back}"),
)


@dataclass
class Path:
    """The steps so far, and the form that they have reached."""

    arguments: tuple[Argument, ...]
    term: Term
    definition: Term
    steps: list[Step] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def move(self, rule: str, after: Term, source: Term, result: Term, reason: str, latex: str,
             condition: str = "", evidence: Evidence | None = None) -> None:
        """One more step; without evidence of its own, balls must show it."""
        if after is self.term:
            return
        shown = evidence or enclosed(self.term, after, self.arguments)
        self.steps.append(Step(rule, self.term, after, source, result, condition, reason, latex, (shown,)))
        self.term = after

    def assume(self, rule: str, after: Term, source: Term, result: Term, reason: str, latex: str,
               condition: str) -> None:
        """A step that a declared domain licenses: from here on, this is the definition."""
        evidence = Evidence("proved", f"by the declared domain: {condition}")
        self.move(rule, after, source, result, reason, latex, condition, evidence)
        self.definition = after


def stabilize(definition: Term, arguments: Sequence[Argument], order: Order = (), *, seeds: Sequence[Term] = (),
              dtypes: Sequence[str] = ("float32", "float64"), given: Sequence[Term] = (), time_limit: float = 60.0,
              work: int = 0) -> tuple[tuple[Step, ...], StableForm]:
    """A stable form of a formula over the class axis, and the steps from the definition to it.

    definition: a scalar or a row, in the vocabulary of definitions; order: what it is the
    derivative of. dtypes: the formats that the form is judged in; one that is good in float32 is
    judged there. seeds, given, time_limit and work are those of the scalar search; rows need none.
    `form.definition` is what the form equals exactly: the definition itself, or, where a declared
    unit sum was used, the definition with that sum put in (the first steps say how);
    `form.remaining` names what may still cancel.
    """
    dtype = "float32" if "float32" in dtypes or not dtypes else dtypes[0]
    path = _chosen(tuple(arguments), definition, order, dtype)
    return _measured(path, dtype), _form(path, order, dtype)


def _chosen(arguments: tuple[Argument, ...], definition: Term, order: Order, dtype: str) -> Path:
    """The path to the form with the least error, of the ways that fit the formula; the first one that is good."""
    target = TARGETS[min(len(order), 2)]
    tried: list[tuple[tuple[bool, float], int, Path]] = []
    refused: list[str] = []
    for way in (*_ways(definition), _plainly):
        path = Path(arguments, definition, definition)
        if tried and not tried[0][0][0] and (way is _plainly or not _gains(path)):
            break
        try:
            way(path, order)
            _kept(path)
            check_computable(path.term)
        except REFUSALS as refusal:
            if way is _plainly and not tried:
                raise
            refused.append(str(refusal).partition("\n")[0])
            continue
        error, excused = measure(path.term, path.definition, arguments, dtype, target)
        if excused.ulp > target and _single(path):
            error, excused = measure(path.term, path.definition, arguments, dtype, target)
        tried.append(((excused.ulp > target, round(math.log2(1 + min(error.ulp, HUGE)))), len(tried), path))
        if error.ulp <= target:
            break
    best = min(tried, key=lambda t: t[:2])[2]
    if refused and best is tried[-1][2]:
        best.remarks.append(f"{REFUSED}: {refused[0][:SHOWN]}")
    return best


def _single(path: Path) -> bool:
    """Whether a row of one class has one value only, which is then told apart."""
    value = of_one_class(path.definition, path.arguments)
    if value is None:
        return False
    made = told_apart(path.term, value)
    path.move("one-class", made, path.term, made, "a row of one class has one value", r"C = 1")
    return True


def as_written(definition: Term, arguments: Sequence[Argument], order: Order = (), *,
               dtypes: Sequence[str] = ("float32", "float64"), given: Sequence[Term] = (), why: str = "",
               ) -> tuple[tuple[Step, ...], StableForm]:
    """The formula itself in the machine's vocabulary, for where a check refused what was found.

    As `stabilize`; why: what the check said, kept in `remaining`.
    """
    dtype = "float32" if "float32" in dtypes or not dtypes else dtypes[0]
    path = Path(tuple(arguments), definition, definition)
    _plainly(path, order)
    path.remarks.append(f"{REFUSED}: {why[:SHOWN]}")
    return _measured(path, dtype), _form(path, order, dtype)


def _plainly(path: Path, order: Order) -> None:
    """The formula as it was written, its named functions expanded and nothing else."""
    whole = machine_row(spelled_out(path.term))
    path.move("expand", whole, path.term, whole, "named functions by their meaning", r"\text{by definition}")


def _gains(path: Path) -> bool:
    """Whether the formula as it was written offers what the log domain does not: unit sums, logarithms near one."""
    logs = [t.args[0] for t in walk(path.term) if t.op == "log" and t.args[0].op == "sum"]
    return any(unit_constant(sub(t, ONE), path.arguments) for t in logs) or any(
        near_equality(body) is not None for body in _inner_bodies(path.term))


def _ways(definition: Term) -> list[Callable[[Path, Order], None]]:
    if separable(definition) and (definition.sort == "scalar" or not reduces(definition)):
        return [_bodies]
    return [_algebraic, _as_written]


def _kept(path: Path) -> None:
    """What the finished form needs beside being accurate on paper."""
    for rule, change, reason, latex in KEPT:
        made = change(path.term, path.arguments)
        path.move(rule, made, path.term, made, reason, latex)
    whole = scaled(path.term, path.arguments)
    path.move("scale", whole, path.term, whole, "a tiny or huge row is divided by its largest element: no square "
              "leaves the range before the whole does", r"f(n a) = n^d f(a)", "the formula is homogeneous in the row",
              Evidence("proved", "every part has one degree in the row"))
    safe = guard(path.term, path.arguments)
    path.move("absorb-infinity", safe, path.term, safe,
              "0 times infinity, and 0 over 0 of unrelated parts, are 0: the limit",
              r"0 \cdot \infty = 0 \text{, the limit}", "one factor can be 0 where the other is infinite",
              Evidence("proved", "the products agree wherever both factors are finite"))


def _measured(path: Path, dtype: str) -> tuple[Step, ...]:
    """The steps with the error of the whole expression before and after each."""
    known: dict[Term, Measurement] = {}
    for s in path.steps:
        for t in (s.before, s.after):
            if t not in known:
                known[t] = measure(t, path.definition, path.arguments, dtype, math.inf)[0]
    return tuple(dataclasses.replace(s, error_before=known[s.before], error_after=known[s.after]) for s in path.steps)


def _form(path: Path, order: Order, dtype: str) -> StableForm:
    target = TARGETS[min(len(order), 2)]
    error, excused = measure(path.term, path.definition, path.arguments, dtype, target)
    remarks = list(path.remarks)
    if error.ulp > target:
        loose = may_cancel(path.term, {a.name: a.domain for a in path.arguments})
        cause = [f"{_short(show(loose[0]))} may cancel"] if loose else []
        if excused.ulp <= target:
            cause.insert(0, "the formula itself is ill-conditioned there")
        remarks.insert(0, ", ".join([f"{error.ulp:.3g} ulp at {error.where}", *cause]))
    before = measure(machine_row(path.definition), path.definition, path.arguments, dtype, math.inf)[0]
    verdict = "stable" if excused.ulp <= target else "improved" if error.ulp < before.ulp else "unchanged"
    return StableForm(path.term, path.definition, path.arguments, order, error, verdict,  # type: ignore[arg-type]
                      "; ".join(remarks), (excused,), before)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} .."


def _algebraic(path: Path, order: Order) -> None:
    algebra = Algebra(path.arguments)
    start = algebra.read(path.term)
    normal = to_term(start)
    path.move("log-domain", normal, path.term, normal, "exponentials meet their logarithms; sums of exponentials "
              "become log-sum-exps", r"\text{in the log domain}")
    rewriter = Rewriter(algebra, algebra.domains)
    final = rewriter.run(start)
    for r in rewriter.rewrites:
        before, licence = r.before, r.licence
        if licence is not None:
            told = f"sum({licence.name}) = 1"
            path.assume("unit-sum", replace(before, {r.source: licence.term}), r.source, licence.term,
                        f"{licence.name} sums to one, so 1 - sum({licence.name}) may be added",
                        rf"\textstyle\sum_k {licence.name}_k = 1", told)
            path.remarks.append(f"uses {told}: where it fails by rounding, the value differs by as much")
        path.move(r.rule.name, r.after if licence is None else replace(path.term, {licence.term: r.result}),
                  r.source if licence is None else licence.term, r.result, r.rule.reason, r.rule.latex,
                  r.rule.condition)
    path.move("as-computed", final, path.term, final, "in the operations of the machine", r"\text{as computed}")
    for body, form in dict(rewriter.divergences).items():
        path.move("near-equality", replace(path.term, {body: form}), body, form, nearness.REASON, nearness.LATEX)
    for body, (g, at, high) in rewriter.functions.items():
        found, choices, evidence = stabilize_function(g, high)
        form = replace(found, {RATIO: at})
        rule, result = (SERIES, replace(choices[0], {RATIO: at})) if choices else ("of-one-number", form)
        path.move(rule, replace(path.term, {body: form}), body, result,
                  "a function of one number, in the form that the search finds", r"\text{a stable form of } g(v)",
                  evidence=evidence)
    bodies = _elementwise_bodies(path.term)
    if bodies and not _holds(path, order):
        for body in bodies:
            _polish(path, body, order)
    whole = machine_row(path.term)
    path.move("expand", whole, path.term, whole, "named functions by their meaning", r"\text{by definition}")


def _elementwise_bodies(term: Term) -> list[Term]:
    """The bodies of plain sums that hold a function and read nothing of the row as a whole."""
    found: dict[Term, None] = {}
    for t in walk(term):
        body = t.args[0] if t.op == "sum" else None
        if body is None or reduces(body):
            continue
        if any(n.op in FUNCTIONS or n.op in NAMED or n.op == "abs" for n in walk(body)):
            found[body] = None
    return list(found)


def _holds(path: Path, order: Order, part: Term | None = None) -> bool:
    """Whether a form is accurate as it stands: no search is needed.

    Of the whole path, or of a part of it taken as a formula of its own.
    """
    form, definition = (path.term, path.definition) if part is None else (part, part)
    if any(n.op in STEEP for n in walk(form)):
        return False
    target = TARGETS[min(len(order), 2)]
    error, _ = measure(guard(machine_row(form), path.arguments), definition, path.arguments, target=target)
    return error.ulp <= target


def _polish(path: Path, part: Term, order: Order) -> None:
    """Put the scalar search's steps for one part into the whole."""
    _put(path, part, stabilize_part(part, path.arguments, order))


def _put(path: Path, part: Term, found: Found) -> None:
    """The steps of a search for one part, in the whole."""
    moved, final, form = found
    whole, here = path.term, part
    for rule, step, before, after in moved:
        made = replace(path.term, {before: after})
        path.move(rule, made, before, after, step.reason, step.reason_latex, step.condition,
                  step.evidence[0] if step.evidence else None)
        here = after
    if here is not final:
        path.move("as-computed", replace(whole if here is part else path.term, {here: final}), here, final,
                  "in the operations of the machine", r"\text{as computed}")
    if form.remaining:
        path.remarks.append(form.remaining)


def _bodies(path: Path, order: Order) -> None:
    """Plain sums: one sum, the licence of unit sums where terms would cancel, then each body."""
    if path.term.sort == "scalar" and reduces(path.term):
        _whole_sum(path)
        merged = one_sum(path.term)
        if merged is not None:
            path.move("one-sum", merged, path.term, merged, "sums over the same classes are one sum",
                      r"\text{one sum over the classes}")
        done = _licensed(path)
        bodies = dict.fromkeys(t.args[0] for t in walk(path.term) if t.op == "sum" and t.args[0] not in done)
        if bodies and not _holds(path, order):
            for body in bodies:
                _polish(path, body, order)
    elif order and order[-1] == "tangent":
        _along_tangents(path, order)
    elif path.term.args and not _holds(path, order):
        _polish(path, path.term, order)
    whole = machine_row(path.term)
    path.move("expand", whole, path.term, whole, "named functions by their meaning", r"\text{by definition}")


def _as_written(path: Path, order: Order) -> None:
    """The formula as it was written, each sum's body by itself, and what stands around the sums by itself."""
    for t in [t for t in walk(path.term) if t.op == "log" and t.args[0].op == "sum"]:
        found = unit_constant(sub(t.args[0], ONE), path.arguments)
        if found is not None and len(found.names) == 2:
            lacking = node("sum", (found.body,))
            split = node("where", (node("gt", (lacking, HALVED)), make("log1p", lacking), t))
            _assume_units(path, t, split, found)
    done = _near(path)
    for body in [b for b in _inner_bodies(path.term) if b not in done]:
        for part in _parts(body):
            _polish(path, part, order)
    around = stabilize_around(path.term, path.arguments, order)
    if around is not None:
        _put(path, path.term, around)
    whole = machine_row(path.term)
    path.move("expand", whole, path.term, whole, "named functions by their meaning", r"\text{by definition}")


def _parts(body: Term) -> list[Term]:
    """What a search can take of a body: the branches of a choice of classes, not the choice."""
    if not any(n.op in ("position", "onehot") for n in walk(body)):
        return [body] if body.args else []
    return [p for a in body.args[1:] for p in _parts(a)] if body.op == "where" else []


def _inner_bodies(term: Term) -> list[Term]:
    """The bodies of the sums that hold no other reduction and are worth a search."""
    return [t.args[0] for t in walk(term) if t.op == "sum" and t.args[0].args and not reduces(t.args[0])]


def _whole_sum(path: Path) -> None:
    """A constant less a sum, as one sum of what the declared unit sums make of the two."""
    found = unit_constant(path.term, path.arguments)
    if found is not None:
        _assume_units(path, path.term, node("sum", (found.body,)), found)


def _assume_units(path: Path, source: Term, result: Term, found: UnitSums) -> None:
    told = " = ".join(f"sum({n})" for n in found.names) + " = 1"
    path.assume("unit-sums", replace(path.term, {source: result}), source, result,
                f"the constant goes into the sum as {found.added}: no term cancels against another then", found.latex,
                told)
    path.remarks.append(f"uses {told}: where it fails by rounding, the value differs by as much")


def _near(path: Path) -> set[Term]:
    """Expand logarithms near equality wherever their linear parts cancel; the bodies that are stable then."""
    done: set[Term] = set()
    for body in _inner_bodies(path.term):
        close = near_equality(body)
        if close is not None:
            path.move("near-equality", replace(path.term, {body: close}), body, close, nearness.REASON, nearness.LATEX)
            done.add(close)
    return done


def _licensed(path: Path) -> set[Term]:
    """Use unit sums where a body would cancel; returns the bodies that are stable then."""
    for total in [t for t in walk(path.term) if t.op == "sum"]:
        found = unit_sums(total.args[0], path.arguments)
        if found is None:
            continue
        told = " = ".join(f"sum({n})" for n in found.names) + " = 1"
        result = node("sum", (found.body,))
        path.assume("unit-sums", replace(path.term, {total: result}), total, result,
                    f"{found.added}, whose sum is zero, is added: every term is then non-negative, and zero only "
                    f"where {' = '.join(found.names)}", found.latex, told)
        path.remarks.append(f"uses {told}: where it fails by rounding, the value differs by as much")
    return _near(path)


def _along_tangents(path: Path, order: Order) -> None:
    """A Hessian-vector product: each tangent's factor is a second derivative, stable in its own right."""
    from lossmith.derivations.partial import partial, times
    from lossmith.derivations.terms import ZERO, add, leaves

    whole = ZERO
    for tangent in [t for t in leaves(path.term) if name_of(t).startswith("tangent_")]:
        factor = partial(path.term, tangent)
        if factor.args and not _holds(path, order, factor):
            _, factor, form = stabilize_part(factor, path.arguments, order)
            if form.remaining:
                path.remarks.append(form.remaining)
        whole = add(whole, times(factor, tangent))
    path.move("by-tangent", whole, path.term, whole, "the factor of each tangent in its stable form",
              r"\text{each factor in its stable form}")
