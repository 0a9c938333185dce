"""Elementwise kernels as NumPy: one function per output or pair of outputs, on one block."""

from __future__ import annotations

from collections.abc import Mapping

from lossmith.codegen.careful import carefully
from lossmith.codegen.kernel import Bundle, Elementwise
from lossmith.codegen.names import Names
from lossmith.codegen.targets import np_docs, np_narrow
from lossmith.codegen.targets.np_buffers import Writer, is_minus_abs
from lossmith.codegen.targets.np_fewer import shortened
from lossmith.codegen.targets.np_module import (
    RESERVED,
    Derivatives,
    Entry,
    Function,
    Module,
    derivatives,
    dictionary,
    key,
    keyword,
    safe,
)
from lossmith.codegen.targets.np_printing import Constants, Context, NumpyPrinter, helpers_of
from lossmith.derivations.terms import Term, name_of, walk


def module(bundle: Bundle, constants: Constants) -> Module:
    """The functions and tables of an elementwise unit."""
    kernel = bundle.kernel
    assert isinstance(kernel, Elementwise)
    kernel = carefully(kernel, "float32")
    assert isinstance(kernel, Elementwise)
    kernel = shortened(kernel)
    found = derivatives(bundle, list(kernel.program.outputs))
    groups: dict[str, Mapping[tuple[str, ...], tuple[str, ...]]] = {
        "LOSS": {(): ("loss",)},
        "GRADIENT": {k: (g,) for k, g in found.gradient.items()},
        "LOSS_GRADIENT": {k: ("loss", g) for k, g in found.gradient.items()},
        "HESSIAN": {k: (h,) for k, h in found.hessian.items()},
        "GRADIENT_HESSIAN": found.both(),
    }
    wanted = list(dict.fromkeys(outputs for group in groups.values() for outputs in group.values()))
    narrow = np_narrow.narrow(kernel)
    functions = [_function(kernel, outputs, constants, narrow) for outputs in wanted]
    tables = [_table(name, group) for name, group in groups.items() if name != "LOSS" and group]
    terms = [t for outputs in wanted for p in [kernel.program.restrict(outputs)]
             for t in (*(let.term for let in p.lets), *p.outputs.values())]
    more = ["minus_abs"] if any(is_minus_abs(t) for t in walk(*terms)) else []
    return Module(functions, _entries(bundle, kernel, found), tables, helpers_of(terms, more))


def function_name(outputs: tuple[str, ...]) -> str:
    """`_loss_gradient_x`, `_gradient_x_hessian_x`."""
    return "_" + "_".join(outputs)


def _function(kernel: Elementwise, outputs: tuple[str, ...], constants: Constants,
              narrow: frozenset[Term]) -> Function:
    program = kernel.program.restrict(outputs)
    printer = NumpyPrinter(constants)
    names = {i.name for i in kernel.inputs} | {let.name for let in program.lets}
    first = next(safe(i.name) for i in kernel.inputs if i.kind != "parameter")
    context = Context(lambda t: safe(name_of(t)), f"{first}.dtype.type({{0}})")
    fresh = Names([*names, *RESERVED, *(_result(o, names) for o in outputs)])
    results = {o: _result(o, names) for o in outputs}
    parameters = [i.name for i in kernel.inputs if i.kind == "parameter"]
    lines = Writer(program, printer, context, fresh, parameters, narrow).write(results)
    arguments = ["room", *(safe(i.name) for i in kernel.inputs), *results.values()]
    return Function(function_name(outputs), ", ".join(arguments), tuple(lines))


def _result(output: str, names: set[str]) -> str:
    word = output.partition("_")[0]
    return word if word not in names else f"{word}_out"


def _table(name: str, group: Mapping[tuple[str, ...], tuple[str, ...]]) -> str:
    """Which function differentiates by what."""
    return f"_{name} = {{" + ", ".join(f"{key(k)}: {function_name(o)}" for k, o in group.items()) + "}"


def _entries(bundle: Bundle, kernel: Elementwise, found: Derivatives) -> list[Entry]:
    data = [i.name for i in kernel.inputs if i.kind != "parameter"]
    parameters = [i for i in kernel.inputs if i.kind == "parameter"]
    extra = "".join(f"{keyword(p)}, " for p in parameters)
    values = dictionary([p.name for p in parameters]) if parameters else "()"
    made = []
    for name, count, group in (
        ("loss", 1, {(): ""}), ("gradient", 1, found.gradient), ("loss_gradient", 2, found.gradient),
        ("hessian", 1, found.hessian), ("gradient_hessian", 2, found.both()),
    ):
        if not group:
            continue
        by = "" if name == "loss" else f'wrt="{next(iter(group))[0]}", '
        picked = "_loss" if name == "loss" else f"_chosen(_{name.upper()}, wrt)"
        arguments = f'{", ".join(map(safe, data))}, *, {extra}{by}out=None, tier="fast"'
        call = f"{picked}, {count}, {dictionary(data)}, {values}, out, tier"
        made.append(Entry(name, arguments, np_docs.entry(bundle, name, list(group)), call))
    return made
