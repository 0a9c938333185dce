"""CUDA C: a .cu file with its launchers and their .h, for each unit. One printed formula serves every arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Row
from lossmith.codegen.rendered import Rendered
from lossmith.codegen.targets import cu_device
from lossmith.codegen.targets.cu_printing import BY_DOUBLE, PRINTER, STANDARD, identifier, leaf_printer, operations
from lossmith.codegen.targets.cu_rows import RowView, row_view
from lossmith.derivations.terms import Term

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


@dataclass(frozen=True)
class Precision:
    """One storage type with its arithmetic; `suffix` ends the launcher's name."""

    suffix: str
    storage: str
    arithmetic: str


PRECISIONS = (
    Precision("f32", "float", "float"), Precision("f64", "double", "double"), Precision("f16", "__half", "float"),
    Precision("bf16", "__nv_bfloat16", "float"), Precision("f32_accurate", "float", "Pair<float>"),
)


@dataclass(frozen=True)
class Entry:
    """One thing to compute: `outputs` pairs the kernel's name for an output with the launcher's."""

    name: str
    struct: str
    outputs: tuple[tuple[str, str], ...]


def entries_of(bundle: Bundle) -> tuple[Entry, ...]:
    """What can be launched: the loss, its gradient by the primary input, both, gradient with Hessian."""
    loss, gradient = ("loss", "loss"), (f"gradient_{bundle.primary}", "gradient")
    hessian = (f"hessian_{bundle.primary}", "hessian")
    every = (
        Entry("loss", "Loss", (loss,)), Entry("gradient", "Gradient", (gradient,)),
        Entry("loss_gradient", "LossGradient", (loss, gradient)),
        Entry("gradient_hessian", "GradientHessian", (gradient, hessian)),
    )
    available = set(_outputs(bundle.kernel))
    return tuple(e for e in every if all(name in available for name, _ in e.outputs))


def _outputs(kernel: Elementwise | Row) -> dict[str, Term]:
    if isinstance(kernel, Elementwise):
        return dict(kernel.program.outputs)
    return {**kernel.finish.outputs, **kernel.epilogue.outputs}


@dataclass(frozen=True)
class Array:
    """An array, or a number, that a launcher takes: as the header describes it."""

    name: str
    shape: str
    meaning: str


@dataclass(frozen=True)
class Launcher:
    prototype: str
    storage: str
    arithmetic: str
    problem: str


def render(bundle: Bundle) -> list[Rendered]:
    """`cu/<unit>.cu` and `cu/<unit>.h`: bodies, which compile as they are. Raises ValueError for a
    kernel whose slots are not closed under a change of the peak."""
    unit = bundle.origin.unit
    view = _elementwise(bundle) if isinstance(bundle.kernel, Elementwise) else _row(bundle)
    environment = _environment()
    template = "cu/elementwise.cu.j2" if isinstance(bundle.kernel, Elementwise) else "cu/row.cu.j2"
    source = environment.get_template(template).render(view)
    header = environment.get_template("cu/unit.h.j2").render(view)
    return [Rendered(f"cu/{unit}.cu", _tidy(source), "//"), Rendered(f"cu/{unit}.h", _tidy(header), "//")]


def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)


def _tidy(text: str) -> str:
    """At most one empty line in a row, no blanks at line ends, a newline at the end."""
    lines: list[str] = []
    for line in (raw.rstrip() for raw in text.strip().split("\n")):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines) + "\n"


def _all_terms(kernel: Elementwise | Row) -> list[Term]:
    if isinstance(kernel, Elementwise):
        return [*(let.term for let in kernel.program.lets), *kernel.program.outputs.values()]
    terms: list[Term] = []
    for program in (kernel.finish, kernel.epilogue):
        terms += [*(let.term for let in program.lets), *program.outputs.values()]
    for stage in kernel.stages:
        for family in stage.families:
            terms += [family.element, *family.extras]
        terms += [s.weight for s in stage.slots] + [c.element for c in stage.captures]
        terms += [let.term for let in stage.after]
    return terms


def _printed(bundle: Bundle,
             entries: Sequence[Entry]) -> tuple[frozenset[str], list[Elementwise | Row]]:
    """The operations of all entries, and the kernel of each entry."""
    kernels = [_restricted(bundle.kernel, e) for e in entries]
    used = operations(t for kernel in kernels for t in _all_terms(kernel))
    return used, kernels


def _restricted(kernel: Elementwise | Row, entry: Entry) -> Elementwise | Row:
    wanted = [name for name, _ in entry.outputs]
    if isinstance(kernel, Row):
        return kernel.restrict(wanted)
    return Elementwise(kernel.name, kernel.inputs, kernel.program.restrict(wanted))


def _elementwise(bundle: Bundle) -> dict[str, object]:
    entries = entries_of(bundle)
    used, kernels = _printed(bundle, entries)
    arrays = [i for i in bundle.kernel.inputs if i.kind != "parameter"]
    parameters = [i for i in bundle.kernel.inputs if i.kind == "parameter"]
    views = []
    for entry, kernel in zip(entries, kernels, strict=True):
        assert isinstance(kernel, Elementwise)
        views.append({
            "struct": entry.struct, "summary": _summary(entry), "outputs": len(entry.outputs),
            "element": _element(kernel, [name for name, _ in entry.outputs], arrays, parameters),
            "launchers": [_elementwise_launcher(bundle, entry, p, arrays, parameters) for p in PRECISIONS],
        })
    shapes = [Array(identifier(i.name), "(count)", _meaning(i)) for i in arrays]
    shapes += [Array(identifier(i.name), "number", _meaning(i)) for i in parameters]
    shapes += [Array(name, "(count)", "") for name in ("loss", "gradient", "hessian")]
    return {**_common(bundle, shapes, views, used), "inputs": len(arrays), "parameters": len(parameters),
            "parts": cu_device.parts_for(used, ["elements"])}


def _element(kernel: Elementwise, outputs: Sequence[str], arrays: Sequence[Input],
             parameters: Sequence[Input]) -> list[str]:
    """The statements that compute some outputs for one element."""
    program, leaf = kernel.program, leaf_printer(())
    used = program.names()
    lines = [f"const A {identifier(a.name)} = in[{n}];" for n, a in enumerate(arrays) if a.name in used]
    lines += [f"const A {identifier(p.name)} = parameter[{n}];" for n, p in enumerate(parameters) if p.name in used]
    lines += [f"const A {identifier(let.name)} = {PRINTER.text(let.term, leaf)};" for let in program.lets]
    return lines + [f"out[{n}] = {PRINTER.text(program.outputs[name], leaf)};" for n, name in enumerate(outputs)]


def _elementwise_launcher(bundle: Bundle, entry: Entry, precision: Precision, arrays: Sequence[Input],
                          parameters: Sequence[Input]) -> Launcher:
    storage = precision.storage
    outputs = [name for _, name in entry.outputs]
    takes = [f"const {storage}* {identifier(a.name)}" for a in arrays]
    takes += [f"double {identifier(p.name)}" for p in parameters]
    takes += [f"{storage}* {name}" for name in outputs] + ["long long count"]
    problem = ", ".join((_braced(identifier(a.name) for a in arrays), _parameters(parameters, precision),
                         _braced(outputs), "count, true"))
    return Launcher(_prototype(bundle, entry, precision, takes), storage, precision.arithmetic, "{" + problem + "}")


def _row(bundle: Bundle) -> dict[str, object]:
    entries = entries_of(bundle)
    used, kernels = _printed(bundle, entries)
    views = []
    families = False
    for entry, kernel in zip(entries, kernels, strict=True):
        assert isinstance(kernel, Row)
        families = families or any(s.families for s in kernel.stages)
        views.append(_row_entry(bundle, entry, kernel))
    shapes = [Array(identifier(i.name), {"row": "(rows, classes)", "parameter": "number"}.get(i.kind, "(rows)"),
                    _meaning(i)) for i in bundle.kernel.inputs]
    shapes += [Array(n, _output_shape(bundle, n), "") for n in ("loss", "gradient", "hessian")]
    parts = cu_device.parts_for(used, ["rows", *(["peaks"] if families else [])])
    return {**_common(bundle, shapes, views, used), "parts": parts}


def _output_shape(bundle: Bundle, name: str) -> str:
    key = name if name == "loss" else f"{name}_{bundle.primary}"
    return "(rows)" if isinstance(bundle.kernel, Row) and key in bundle.kernel.finish.outputs else "(rows, classes)"


def _row_entry(bundle: Bundle, entry: Entry, kernel: Row) -> dict[str, object]:
    per_class = [(key, name) for key, name in entry.outputs if key in kernel.epilogue.outputs]
    per_row = [(key, name) for key, name in entry.outputs if key in kernel.finish.outputs]
    view: RowView = row_view(kernel, [key for key, _ in per_class], [key for key, _ in per_row])
    kinds = {kind: [i for i in kernel.inputs if i.kind == kind] for kind in ("row", "scalar", "label", "parameter")}
    return {
        "struct": entry.struct, "summary": _summary(entry),
        "row_inputs": len(kinds["row"]), "scalar_inputs": len(kinds["scalar"]), "labels": len(kinds["label"]),
        "parameters": len(kinds["parameter"]), "row_outputs": len(per_class), "scalar_outputs": len(per_row),
        "fields": view.fields, "open": view.open, "stages": view.stages, "finish": view.finish,
        "epilogue": view.epilogue, "stage_list": ", ".join(f"{s.struct}<A>" for s in view.stages),
        "launchers": [_row_launcher(bundle, entry, p, kinds, [n for _, n in per_class], [n for _, n in per_row])
                      for p in PRECISIONS],
    }


def _row_launcher(bundle: Bundle, entry: Entry, precision: Precision, kinds: dict[str, list[Input]],
                  per_class: Sequence[str], per_row: Sequence[str]) -> Launcher:
    storage = precision.storage
    types = {"row": f"const {storage}* ", "scalar": f"const {storage}* ", "label": "const long long* ",
             "parameter": "double "}
    takes = [types[i.kind] + identifier(i.name) for i in bundle.kernel.inputs]
    takes += [f"{storage}* {name}" for _, name in entry.outputs] + ["long long rows", "long long classes"]
    problem = ", ".join((
        *(_braced(identifier(i.name) for i in kinds[kind]) for kind in ("row", "scalar", "label")),
        _parameters(kinds["parameter"], precision), _braced(per_class), _braced(per_row), "rows, classes, 1, true"))
    return Launcher(_prototype(bundle, entry, precision, takes), storage, precision.arithmetic, "{" + problem + "}")


def _braced(names: Iterable[str]) -> str:
    return "{" + ", ".join(names) + "}"


def _parameters(parameters: Sequence[Input], precision: Precision) -> str:
    return _braced([f"Number<{precision.arithmetic}>::of({identifier(p.name)})" for p in parameters])


def _prototype(bundle: Bundle, entry: Entry, precision: Precision, takes: Sequence[str]) -> str:
    name = f"lossmith_{bundle.origin.unit}_{entry.name}_{precision.suffix}"
    return f"cudaError_t {name}({', '.join(takes)}, cudaStream_t stream)"


def _summary(entry: Entry) -> str:
    return " and ".join(name for _, name in entry.outputs) + "."


def _meaning(given: Input) -> str:
    words = [given.meaning or given.role, f"in {given.domain}" if given.kind != "label" else "int64"]
    if given.default is not None:
        words.append(f"usually {'the rounding unit of the dtype' if given.default == 'eps' else given.default}")
    return ", ".join(words)


NOTES = (
    "Launchers return what the launch returned and do not wait for the device. Storage is float32, float64,",
    "float16 or bfloat16; float16 and bfloat16 are computed in float32.",
)
ACCURATE_NOTES = (
    "The `accurate` launchers compute in pairs of float32, by IEEE operations alone: the same bits on",
    "every device and on a CPU.",
)
DOUBLE_NOTES = ("The `accurate` launchers compute in pairs of float32, and some functions in float64.",)
LABEL_NOTES = ("A row whose label is not in 0 .. classes - 1 becomes NaN. Rows are at most 2^30 classes long.",)


def _common(bundle: Bundle, arrays: list[Array], entries: list[dict[str, object]],
            used: frozenset[str]) -> dict[str, object]:
    present = {name for e in entries_of(bundle) for _, name in e.outputs}
    shown = [a for a in arrays if a.name not in ("loss", "gradient", "hessian") or a.name in present]
    notes = (*NOTES, *(DOUBLE_NOTES if used.intersection(BY_DOUBLE) else ACCURATE_NOTES),
             *(LABEL_NOTES if any(i.kind == "label" for i in bundle.kernel.inputs) else ()))
    return {
        "unit": bundle.origin.unit, "title": bundle.origin.title, "arrays": shown, "entries": entries, "notes": notes,
        "name_width": max(len(a.name) for a in shown), "shape_width": max(len(a.shape) for a in shown),
        "standard_functions": STANDARD, "used": used, "by_double": cu_device.through_double(used),
        "alone": cu_device.rounded_first(used), **cu_device.CONTEXT,
    }
