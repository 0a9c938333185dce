"""Stable forms to a kernel: shared parts are named and computed once; and a unit to its bundle."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from lossmith.codegen.kernel import Bundle, Elementwise, Input, Kernel, Let, Origin, Program
from lossmith.codegen.monoid import row_kernel
from lossmith.codegen.names import Names
from lossmith.derivations.derivation import Derivation, Order
from lossmith.derivations.loss import Unit
from lossmith.derivations.rows.signs import may_cancel
from lossmith.derivations.terms import MACHINE, Term, replace, show, var, walk

TRIVIAL = frozenset({"const", "pi", "var", "row", "label", "position", "count"})


def share(outputs: Mapping[str, Term], taken: Sequence[str]) -> Program:
    """Straight-line code for the outputs: whatever is used more than once gets a name.

    Raises ValueError where a term is outside the machine vocabulary.
    """
    order = walk(*outputs.values())
    for t in order:
        if t.op not in MACHINE:
            raise ValueError(f"'{t.op}' has no machine form in {show(t)}")
    uses = Counter(a for t in order for a in t.args)
    uses.update(outputs.values())
    names, lets, known = Names(taken), [], dict[Term, Term]()
    for t in order:
        # A negation costs nothing, a truth value has no storage type: neither is worth a name.
        if t.op in TRIVIAL or t.op == "neg" or t.sort == "truth" or uses[t] < 2:
            continue
        body = replace(t, known)
        name = names.fresh(body)
        lets.append(Let(name, body))
        known[t] = var(name)
    return Program(tuple(lets), {name: replace(t, known) for name, t in outputs.items()})


def output_name(order: Order) -> str:
    """`loss`, `gradient_x`, `hessian_x`, `hessian_x_z`."""
    if not order:
        return "loss"
    if len(order) == 1:
        return f"gradient_{order[0]}"
    return f"hessian_{order[0]}" if order[0] == order[1] else f"hessian_{order[0]}_{order[1]}"


def inputs_of(derivation: Derivation) -> tuple[Input, ...]:
    """The inputs of a kernel, from the arguments of its derivation."""
    out = []
    for a in derivation.arguments:
        kind = {"label": "label", "parameter": "parameter"}.get(a.role) or ("row" if a.axis == "class" else "scalar")
        out.append(Input(a.name, kind, a.role, str(a.domain), a.meaning, a.default, a.differentiable))  # type: ignore[arg-type]
    return tuple(out)


def kernel_of(name: str, derivations: Sequence[Derivation]) -> Kernel:
    """One kernel for all the derivations of one unit; sums are grouped so that less is rounded, where that matters."""
    from lossmith.codegen.careful import carefully

    forms = {output_name(d.order): d.form.term for d in derivations}
    inputs = inputs_of(derivations[0])
    if any(i.kind == "row" for i in inputs):
        return row_kernel(name, forms, inputs)
    return carefully(Elementwise(name, inputs, share(forms, [*(i.name for i in inputs), *forms])), "float64")


@cache
def derivations(unit: Unit) -> tuple[Derivation, ...]:
    """Every derivation of a unit: loss, gradients, second derivatives."""
    from lossmith.derivations.kept import derive
    from lossmith.derivations.loss import orders

    return tuple(derive(unit, order) for order in orders(unit))


def bundle(unit: Unit) -> Bundle:
    """All that a target needs to write the files of a unit."""
    from lossmith.derivations.kept import derive_hessian_vector

    found = derivations(unit)
    hvp = None
    if unit.shape == "row":
        products = derive_hessian_vector(unit)
        forms = {f"hvp_{name}": d.form.term for name, d in products.items()}
        inputs = inputs_of(next(iter(products.values()))) if products else ()
        hvp = row_kernel(f"{unit.name}_hvp", forms, inputs) if products else None
    return Bundle(
        origin_of(unit, found), kernel_of(unit.name, found), hvp, unit.primary.name,
        tuple(a.name for a in unit.arguments if a.differentiable),
    )


def origin_of(unit: Unit, found: Sequence[Derivation]) -> Origin:
    """What the header of a generated file says."""
    by_output = {output_name(d.order): d for d in found}
    steps = {
        name: ((show(d.definition), "definition"), *((show(s.after), s.rule) for s in d.steps))
        for name, d in by_output.items()
    }
    errors = {
        name: f"{d.form.error.ulp:.2g} ulp at {d.form.error.where}" for name, d in by_output.items() if d.form.error
    }
    formula = show(found[0].definition)
    described = "\n".join([formula, *(f"{a.name}: {a.role}, {a.domain}, {a.default}" for a in unit.arguments)])
    return Origin(
        unit.name, unit.loss, unit.title, f"derivations/losses/{unit.loss}.py", f"lossmith generate {unit.loss}",
        formula, steps, errors, unit.policies, why_stable(found), hashlib.sha256(described.encode()).hexdigest()[:12],
    )


def why_stable(found: Sequence[Derivation]) -> str:
    """Why the forms are stable, in a few sentences; what remains is said, not left out."""
    safe: list[str] = []
    may: list[str] = []
    for d in found:
        domains = {a.name: a.domain for a in d.arguments}
        (may if may_cancel(d.form.term, domains) else safe).append(output_name(d.order))
    sentences = []
    if safe:
        sentences.append(f"Every sum adds terms of one sign, or inputs as they are given: {', '.join(safe)}.")
    if may:
        sentences.append(f"A sum can cancel, at a root of what is computed or beside larger terms: {', '.join(may)}.")
    sentences += [f"What remains, {output_name(d.order)}: {d.form.remaining}." for d in found if d.form.remaining]
    return " ".join(sentences)
