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
from lossmith.derivations.terms import MACHINE, Term, node, replace, show, var, walk

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
    """One kernel for all the derivations of one unit."""
    forms = {output_name(d.order): d.form.term for d in derivations}
    inputs = inputs_of(derivations[0])
    if any(i.kind == "row" for i in inputs):
        return row_kernel(name, forms, inputs)
    return Elementwise(name, inputs, share(forms, [*(i.name for i in inputs), *forms]))
