"""C11 for the CPU: a .c file and its .h for each unit, in loops that compilers vectorise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from lossmith.codegen.careful import carefully
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Kernel, Row
from lossmith.codegen.rendered import Rendered
from lossmith.codegen.targets import c_drivers, c_math
from lossmith.codegen.targets.c_choices import called_once
from lossmith.codegen.targets.c_printing import (
    DOUBLE,
    FLOAT,
    LIBRARY,
    PAIR,
    Arithmetic,
    identifier,
    operations,
    powers_in,
    printed,
    sums,
    units,
)
from lossmith.codegen.targets.c_rows import RowWriter
from lossmith.codegen.targets.cu import Array, Entry, _all_terms, _meaning, _output_shape, _restricted, entries_of
from lossmith.derivations.terms import Term

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
BLOCK = 8192  # elements that a thread takes at a time
LINE, AHEAD = 64, 2048  # bytes of a cache line; how far ahead of what is computed memory is asked for
LEAST_WORK = 32768  # elements that are worth a thread of their own


@dataclass(frozen=True)
class Precision:
    """One storage type with its arithmetic; `suffix` ends the function's name, `bit` selects it when compiling."""

    suffix: str
    storage: str
    arithmetic: Arithmetic
    bit: int


PRECISIONS = tuple(
    Precision(suffix, storage, arithmetic, 1 << n) for n, (suffix, storage, arithmetic) in enumerate((
        ("f32", "float", FLOAT), ("f64", "double", DOUBLE), ("f16", "uint16_t", FLOAT), ("bf16", "uint16_t", FLOAT),
        ("f32_accurate", "float", DOUBLE), ("f64_accurate", "double", PAIR))))
NOTES = (
    "Functions return 0, or 1 where a size is negative or too large, and then have written nothing. threads: how many",
    "to use at most, 0 for as many as OpenMP offers; without OpenMP one. Outputs may not overlap inputs, except that",
    "an elementwise output may be an input itself. float16 and bfloat16 are held in uint16_t and computed in float32.",
    "The `accurate` functions compute float32 in float64, and float64 in pairs of float64, and round once.",
    "times: what the gradient is multiplied by before it is written, as by 1 / count for a mean of losses.",
    "Rounding must be to nearest and subnormal numbers on, as they are unless a program changes them. Compile with",
    "-ffp-contract=off -fno-math-errno -fno-trapping-math: the bits are then the same at every optimization level.",
)
LIBRARY_NOTES = ("What depends on the C library here, in its bits, its speed and its accuracy: {}.",)
LABEL_NOTES = ("A row whose label is not in 0 .. classes - 1 becomes NaN. Rows are at most 2^30 classes long.",)


def render(bundle: Bundle) -> list[Rendered]:
    """`c/<unit>.c` and `c/<unit>.h`: bodies, which compile as they are. Raises ValueError for an operation
    that C has no function for."""
    unit = bundle.origin.unit
    elementwise = isinstance(bundle.kernel, Elementwise)
    view = _elementwise(bundle) if elementwise else _row(bundle)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
    environment.globals["lines"] = _lines
    library = c_math.context(view["used"], view["powers"])
    for name in ("float", "double", "pair"):
        template = "c/pair.j2" if name == "pair" else "c/math.j2"
        view[f"{name}_math"] = environment.get_template(template).render(library[f"{name}_library"])
    source = environment.get_template(f"c/{'elementwise' if elementwise else 'row'}.c.j2").render(view)
    header = environment.get_template("c/unit.h.j2").render(view)
    return [Rendered(f"c/{unit}.c", _tidy(source), "//"), Rendered(f"c/{unit}.h", _tidy(header), "//")]


def _lines(text: Sequence[str], depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in text)


def _tidy(text: str) -> str:
    """At most one empty line in a row, no blanks at line ends, a newline at the end."""
    lines: list[str] = []
    for line in (raw.rstrip() for raw in text.strip().split("\n")):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines) + "\n"


def _common(bundle: Bundle, shapes: list[Array], entries: list[dict[str, Any]],
            more: Sequence[Term] = ()) -> dict[str, Any]:
    terms = [*more, *(t for e in entries_of(bundle) for t in _all_terms(_restricted(bundle.kernel, e)))]
    used = operations(terms)
    present = {name for e in entries_of(bundle) for _, name in e.outputs}
    shown = [a for a in shapes if a.name not in ("loss", "gradient", "hessian") or a.name in present]
    foreign = sorted(used.intersection((*LIBRARY, "atan2")) | ({"pow"} if _has_power(terms) else set()))
    labels = any(i.kind == "label" for i in bundle.kernel.inputs)
    notes = [*NOTES, *(LABEL_NOTES if labels else ())]
    notes += [n.format(", ".join(foreign)) for n in LIBRARY_NOTES if foreign]
    return {
        "unit": bundle.origin.unit, "title": bundle.origin.title, "arrays": shown, "entries": entries, "notes": notes,
        "name_width": max(len(a.name) for a in shown), "shape_width": max(len(a.shape) for a in shown),
        "used": used if _has_power(terms) else used - {"pow"}, "powers": powers_in(terms), "precisions": PRECISIONS,
        "least_work": LEAST_WORK,
    }


def _has_power(terms: Sequence[Any]) -> bool:
    """Whether a power occurs that is not written as products."""
    return any("pow_f(" in printed(t, FLOAT) for t in terms)


def _public(bundle: Bundle, entry: Entry, precision: Precision, takes: Sequence[str]) -> dict[str, str]:
    """What is called from outside: the prototype; of a loss and its gradient that of the function that also takes a
    factor, and how the plain one calls it."""
    name, ends = f"lossmith_{bundle.origin.unit}_{entry.name}", f"_{precision.suffix}"
    plain = f"int {name}{ends}({', '.join(takes)}, int threads)"
    if not c_drivers.is_scaled(entry.name, precision.arithmetic):
        return {"prototype": plain, "plain": "", "forward": ""}
    place = next(n for n, t in enumerate(takes) if not t.startswith(("const ", "double ")))
    names = [t.replace("*", " ").split()[-1] for t in takes]
    taken, given = [*takes[:place], "double times", *takes[place:]], [*names[:place], "1", *names[place:]]
    return {"prototype": f"int {name}_times{ends}({', '.join(taken)}, int threads)", "plain": plain,
            "forward": f"{name}_times{ends}({', '.join(given)}, threads)"}


def _elementwise(bundle: Bundle) -> dict[str, Any]:
    arrays = [i for i in bundle.kernel.inputs if i.kind != "parameter"]
    parameters = [i for i in bundle.kernel.inputs if i.kind == "parameter"]
    whole = {a: carefully(bundle.kernel, a.format) if a is FLOAT else bundle.kernel for a in (FLOAT, DOUBLE, PAIR)}
    views, more = [], list[Term]()
    for entry in entries_of(bundle):
        kernels = {a: _restricted(kernel, entry) for a, kernel in whole.items()}
        more += [t for kernel in kernels.values() for t in _all_terms(kernel)]
        views.append({
            "summary": " and ".join(name for _, name in entry.outputs) + ".",
            "bodies": [_body(entry, kernel, a, arrays, parameters) for a, kernel in kernels.items()],
            "launchers": [_launcher(bundle, entry, p, arrays, parameters) for p in PRECISIONS],
        })
    shapes = [Array(identifier(i.name), "(count)", _meaning(i)) for i in arrays]
    shapes += [Array(identifier(i.name), "number", _meaning(i)) for i in parameters]
    shapes += [Array(name, "(count)", "") for name in ("loss", "gradient", "hessian")]
    return {**_common(bundle, shapes, views, more), "block": BLOCK}


def _body(entry: Entry, kernel: Kernel, arithmetic: Arithmetic, arrays: Sequence[Input],
          parameters: Sequence[Input]) -> dict[str, Any]:
    """The function that computes an entry's outputs for one element."""
    assert isinstance(kernel, Elementwise)
    program, kind = called_once(kernel.program), arithmetic.type
    used = program.names()
    takes = [f"const {kind} {identifier(i.name)}" for i in (*arrays, *parameters)]
    takes += [f"{kind}* out{n}" for n in range(len(entry.outputs))]
    unused = [f"(void){identifier(i.name)};" for i in (*arrays, *parameters) if i.name not in used]
    known = units(program.lets, program.outputs.values())
    given = sums([i.name for i in (*arrays, *parameters)], program.lets) if arithmetic is not PAIR else frozenset()
    lets = [f"const {kind} {identifier(let.name)} = {printed(let.term, arithmetic, known, given)};"
            for let in program.lets]
    results = [f"*out{n} = {printed(program.outputs[key], arithmetic, known, given)};"
               for n, (key, _) in enumerate(entry.outputs)]
    return {"name": f"element_{entry.name}{arithmetic.suffix}", "takes": ", ".join(takes),
            "statements": [*unused, *lets, *results]}


def _launcher(bundle: Bundle, entry: Entry, precision: Precision, arrays: Sequence[Input],
              parameters: Sequence[Input]) -> dict[str, Any]:
    storage, arithmetic = precision.storage, precision.arithmetic
    outputs = [name for _, name in entry.outputs]
    takes = [f"const {storage}* {identifier(a.name)}" for a in arrays]
    takes += [f"double {identifier(p.name)}" for p in parameters]
    takes += [f"{storage}* {name}" for name in outputs] + ["int64_t count"]
    made = "pair_of({})" if arithmetic is PAIR else f"({arithmetic.type}){{}}"
    given = [f"from_{precision.suffix}(in{n}[i])" for n in range(len(arrays))]
    given += [made.format(f"par{n}") for n in range(len(parameters))]
    results = [f"result{n}" for n in range(len(outputs))]
    names = [identifier(a.name) for a in arrays], [identifier(p.name) for p in parameters]
    size, scaled = c_drivers.SIZES[storage], c_drivers.is_scaled(entry.name, arithmetic)
    factor = ["times"] if scaled else []
    soon = [f"SOON({name}{n} + first + {AHEAD // size}, {written});"
            for name, count, written in (("in", len(arrays), 0), ("out", len(outputs), 1)) for n in range(count)]
    return {
        "bit": precision.bit, "loop": f"loop_{entry.name}_{precision.suffix}",
        "loop_takes": ", ".join([*(f"const {storage}* in{n}" for n in range(len(arrays))),
                                 *(f"const double par{n}" for n in range(len(parameters))),
                                 *(f"const {arithmetic.type} {f}" for f in factor),
                                 *(f"{storage}* out{n}" for n in range(len(outputs)))]),
        "inside": [f"{arithmetic.type} {', '.join(results)};",
                   f"element_{entry.name}{arithmetic.suffix}({', '.join([*given, *('&' + r for r in results)])});",
                   *(f"out{n}[i] = to_{precision.suffix}({c_drivers.scaled(r, o, scaled)});"
                     for n, (r, o) in enumerate(zip(results, outputs)))],
        "soon": [] if arithmetic is PAIR else soon, "line": LINE // size,
        **_public(bundle, entry, precision, takes),
        "whole": ", ".join([*names[0], *names[1], *factor, *outputs]),
        "piece": ", ".join([*(f"{a} + first" for a in names[0]), *names[1], *factor,
                            *(f"{o} + first" for o in outputs)]),
    }


def _row(bundle: Bundle) -> dict[str, Any]:
    kernel = bundle.kernel
    assert isinstance(kernel, Row)
    views: list[dict[str, Any]] = []
    more: list[Term] = []
    for entry in entries_of(bundle):
        restricted = _restricted(kernel, entry)
        assert isinstance(restricted, Row)
        writer = RowWriter(entry.name, restricted, entry.outputs)
        more += writer.terms()
        bodies = {a: writer.body(a) for a in (FLOAT, DOUBLE, PAIR)}
        views.append({
            "summary": " and ".join(name for _, name in entry.outputs) + ".", "bodies": list(bodies.values()),
            "launchers": [{**c_drivers.launcher(writer, bodies[p.arithmetic], p.suffix, p.storage, p.arithmetic),
                           "bit": p.bit, **_public(bundle, entry, p, c_drivers.takes(writer, p.storage))}
                          for p in PRECISIONS],
        })
    shapes = [Array(identifier(i.name), {"row": "(rows, classes)", "parameter": "number"}.get(i.kind, "(rows)"),
                    _meaning(i)) for i in kernel.inputs]
    shapes += [Array(n, _output_shape(bundle, n), "") for n in ("loss", "gradient", "hessian")]
    return _common(bundle, shapes, views, more)


__all__ = ["PRECISIONS", "Precision", "render"]
