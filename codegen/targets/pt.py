"""The PyTorch target: one module per unit, which imports torch and nothing else."""

from __future__ import annotations

import functools
import keyword
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import files
from typing import Any

import jinja2
from lossmith.codegen import specials
from lossmith.codegen.careful import carefully
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Row
from lossmith.codegen.rendered import Rendered
from lossmith.codegen.targets.pt_formulas import Formula, curvature_formula, elementwise_formula, row_formula
from lossmith.codegen.targets.pt_printing import HELPERS, IN_PAIRS, SPECIAL, expm1mx_terms, literal, log1pmx_terms
from lossmith.derivations.domains import Domain, parse_domain
from lossmith.derivations.terms import OPS

WIDTH = 120  # columns of a generated line
BLOCK = 32768  # elements of a block, for each thread
OPTIONS = ("reduction", "tier", "dim")
RESERVED = frozenset({*OPTIONS, "self", "torch", "math", "inspect", "nn", "inner", "dtype", "values", "trusted",
                      "output", "along", "tangent", "position", "classes", "training", "forward", "ctx", "Tensor",
                      "Any", "Callable"})
# What a helper of templates/pt/helpers.j2 calls in turn.
_CALLS: Mapping[str, tuple[str, ...]] = {
    "rest": ("exp_diff", "gap", "below"), "exp_diff": ("gap",),
    "log1pmx": ("series",), "expm1mx": ("series",),
}


def render(bundle: Bundle) -> list[Rendered]:
    """The PyTorch module of one unit, `pt/<unit>.py`. Raises ValueError on a name that Python or the
    module itself needs."""
    kernel = bundle.kernel
    for name in (bundle.origin.unit, *(i.name for i in kernel.inputs)):
        if keyword.iskeyword(name) or name in RESERVED:
            raise ValueError(f"'{name}' has a meaning in a PyTorch module: rename it in {bundle.origin.source}")
    context = _row_context(bundle, kernel) if isinstance(kernel, Row) else _elementwise_context(bundle, kernel)
    template = "row.j2" if isinstance(kernel, Row) else "elementwise.j2"
    body = _environment().get_template(template).render(_common_context(bundle) | context)
    return [Rendered(f"pt/{bundle.origin.unit}.py", body.rstrip("\n") + "\n", "#")]


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(files("lossmith.templates") / "pt")), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )
    environment.globals |= {
        "keywords": lambda names: ", ".join(f"{n}={n}" for n in names),
        "typed": lambda names: [f"{n}: Tensor" for n in names],
        "define": _define,
    }
    return environment


def _define(name: str, parameters: Sequence[str], returns: str = "Tensor", indent: int = 0) -> str:
    """The first line of a function, on several lines where one would be long; the `def` stands already."""
    line = f"{name}({', '.join(parameters)}) -> {returns}:"
    pad = " " * indent
    if indent + len("def ") + len(line) <= WIDTH:
        return line
    inner = ", ".join(parameters)
    if indent + 4 + len(inner) <= WIDTH:
        return f"{name}(\n{pad}    {inner}\n{pad}) -> {returns}:"
    return f"{name}(\n" + "".join(f"{pad}    {p},\n" for p in parameters) + f"{pad}) -> {returns}:"


def _tuple(parts: Iterable[str]) -> str:
    """Source text of a tuple."""
    found = list(parts)
    return f"({found[0]},)" if len(found) == 1 else f"({', '.join(found)})"


@dataclass(frozen=True)
class Guard:
    """A domain that values are held against. The tests are expressions in the generated module.
    `between`: it is an interval, so that the extremes of a tensor tell."""

    name: str
    between: bool
    outside: str
    row_outside: str
    domain: str  # as source text, a string or an f-string


@dataclass(frozen=True)
class Parameter:
    """A keyword of the generated function: its default as source text, its domain, and when it is outside."""

    name: str
    default: str | None
    eps: bool
    domain: str
    outside: str
    meaning: str


def _common_context(bundle: Bundle) -> dict[str, Any]:
    """What both shapes of module need: signatures, words, checks."""
    inputs, origin = bundle.kernel.inputs, bundle.origin
    tensors = [i.name for i in inputs if i.kind != "parameter"]
    parameters = [_parameter(i) for i in inputs if i.kind == "parameter"]
    rows = isinstance(bundle.kernel, Row)
    options = [*(["dim"] if rows else []), "reduction", "tier", *(p.name for p in parameters)]
    guards = [g for i in inputs if (g := _guard(i, tensors[0] if not rows else _anchor(inputs)))]
    keywords = _keyword_signature(parameters, rows)
    return {
        "unit": origin.unit, "class_name": "".join(part.capitalize() for part in origin.unit.split("_")),
        "title": _text(origin.title).rstrip("."), "tensors": tensors,
        "formula": _paragraph(f"L = {_text(origin.formula)}", 104, "        "),
        "tensor_names": _tuple(f'"{t}"' for t in tensors), "option_names": _tuple(f'"{o}"' for o in options),
        "labels": [i.name for i in inputs if i.kind == "label"],
        "floats": [i.name for i in inputs if i.kind in ("scalar", "row")],
        "parameters": parameters, "parameter_names": [p.name for p in parameters], "options": options,
        "signature": [*(f"{t}: Tensor" for t in tensors), "*", *keywords], "module_signature": ["self", "*", *keywords],
        "guards": guards, "errors": _error_lines(bool(parameters), guards), "arguments": _argument_lines(inputs, rows),
        "counted": "rows" if rows else "elements", "infinities": _infinity_lines(bundle),
    } | _settings(rows, bool(guards), [p.name for p in parameters])


def _settings(rows: bool, guarded: bool, parameters: Sequence[str]) -> dict[str, Any]:
    """What the autograd functions take before their tensors."""
    pairs = [
        *([] if rows else [("output", "str")]), ("inner", "torch.dtype"),
        *([("trusted", "bool")] if guarded else []), *((name, "float") for name in parameters),
    ]
    names = [name for name, _ in pairs]
    return {
        "settings": ", ".join(names if rows else ['"loss"', *names[1:]]), "settings_names": names,
        "settings_count": len(names), "typed_settings": [f"{name}: {kind}" for name, kind in pairs],
    }


def _elementwise_context(bundle: Bundle, kernel: Elementwise) -> dict[str, Any]:
    careful = carefully(kernel, "float32")
    assert isinstance(careful, Elementwise)
    kernel, outputs = careful, careful.program.outputs
    tensors = [i.name for i in kernel.inputs if i.kind != "parameter"]
    first = {t: f"gradient_{t}" for t in tensors}
    second = {(a, b): next((n for n in _second_names(a, b) if n in outputs), None) for a in tensors for b in tensors}
    following = [("loss", [name if name in outputs else None for name in first.values()])]
    following += [(first[a], [second[a, b] for b in tensors]) for a in tensors if first[a] in outputs]
    wanted = ["loss", *dict.fromkeys(n for _, names in following for n in names if n)]
    formulas = [elementwise_formula(kernel, name) for name in wanted]
    parameters = [i.name for i in kernel.inputs if i.kind == "parameter"]
    return _helpers_context(formulas, ("absorb",)) | {
        "formulas": formulas, "apply_loss": "_derivative",
        "following": [(name, _tuple(f'"{n}"' if n else "None" for n in names)) for name, names in following],
        "numbers": _inside_numbers(tensors[0], parameters),
        "shapes": _paragraph("Elementwise: the tensors broadcast against each other."),
        "derivatives": _derivative_words(
            [t for t in tensors if first[t] in outputs], [pair for pair, name in second.items() if name]),
    }


def _second_names(a: str, b: str) -> tuple[str, ...]:
    return (f"hessian_{a}",) if a == b else (f"hessian_{a}_{b}", f"hessian_{b}_{a}")


def _row_context(bundle: Bundle, kernel: Row) -> dict[str, Any]:
    tensors = [i for i in kernel.inputs if i.kind != "parameter"]
    names = [i.name for i in tensors]
    outputs = {**kernel.finish.outputs, **kernel.epilogue.outputs}
    gradients = [f"gradient_{t}" if f"gradient_{t}" in outputs else None for t in names]
    formulas = [row_formula(kernel, name) for name in ["loss", *(g for g in gradients if g)]]
    curvatures = {(a, b): f for a in names for b in names if (f := _curvature(bundle, a, b))}
    parameters = [i.name for i in kernel.inputs if i.kind == "parameter"]
    return _helpers_context([*formulas, *curvatures.values()], ("absorb",)) | {
        "formulas": formulas, "curvatures": list(curvatures.values()), "apply_loss": _LOSS_FUNCTION,
        "gradients": _tuple(f"_{g}" if g else "None" for g in gradients),
        "curvature_table": [
            _tuple(f"_{f.name}" if (f := curvatures.get((a, b))) else "None" for b in names) for a in names
        ],
        "anchor": _anchor(kernel.inputs), "per_class": _tuple(str(i.kind == "row") for i in tensors),
        "inside": [*(_inside_tensor(i, _anchor(kernel.inputs)) for i in tensors),
                   *_inside_numbers(_anchor(kernel.inputs), parameters)],
        "shapes": _paragraph(_row_shapes(tensors)),
        "derivatives": _derivative_words([t for t, g in zip(names, gradients) if g], list(curvatures)),
    }


_LOSS_FUNCTION = "(_Loss if torch.compiler.is_compiling() else _ForwardLoss).apply"


def _curvature(bundle: Bundle, tangent: str, seen: str) -> Formula | None:
    """The Hessian block that takes a tangent of one argument to another, as a function."""
    kernel, output = bundle.hvp, f"hvp_{seen}"
    if kernel is None or all(i.name != f"tangent_{tangent}" for i in kernel.inputs):
        return None
    if output not in kernel.finish.outputs and output not in kernel.epilogue.outputs:
        return None
    own = {i.name for i in bundle.kernel.inputs}
    return curvature_formula(kernel, [i.name for i in kernel.inputs if i.name not in own], tangent, seen)


def _anchor(inputs: Iterable[Input]) -> str:
    """The first row: the tensor whose shape and type others take."""
    return next(i.name for i in inputs if i.kind == "row")


def _inside_tensor(argument: Input, anchor: str) -> str:
    if argument.kind == "label":
        return f"{argument.name}.to(torch.int64).clamp(0, {anchor}.shape[-1] - 1).unsqueeze(-1)"
    return f"{argument.name}.to(inner)" + ("" if argument.kind == "row" else ".unsqueeze(-1)")


def _inside_numbers(anchor: str, parameters: Iterable[str]) -> list[str]:
    return [f"{anchor}.new_full((), {name}, dtype=inner)" for name in parameters]


def _helpers_context(formulas: Iterable[Formula], always: Iterable[str]) -> dict[str, Any]:
    """Which helpers the formulas call, and the series that some of those hold."""
    text = "\n".join(part for f in formulas for part in (*f.lines, f.result))
    used = {name for name in (*HELPERS, "peak", "rest") if f"_{name}(" in text} | set(always)
    for name in [*used]:
        used |= set(_CALLS.get(name, ()))
    used |= {c for name in [*used] for c in _CALLS.get(name, ())}
    return {
        "helpers": used, "block": BLOCK,
        "special_functions": [(n, ("a", "b")[:OPS[n].arity]) for n in SPECIAL if n in used],
        "special_source": specials.source([n for n in (*SPECIAL, *IN_PAIRS) if n in used], "torch"),
        "log1pmx_series": [literal(c) for c in log1pmx_terms(53, Fraction(1, 3))],
        "log1pmx_short": len(log1pmx_terms(24, Fraction(1, 3))),
        "expm1mx_series": [literal(c) for c in expm1mx_terms(53, Fraction(1))],
        "expm1mx_short": len(expm1mx_terms(24, Fraction(1))),
    }


def _guard(argument: Input, anchor: str) -> Guard | None:
    """The test of a label's range or of a domain that is not the whole line; numbers are tested as they come."""
    name = argument.name
    if argument.kind == "label":
        outside = f"({name} < 0) | ({name} >= {anchor}.shape[-1])"
        return Guard(name, True, outside, f"({outside})", f'f"[0, {{{anchor}.shape[-1]}})"')
    domain = parse_domain(argument.domain)
    outside = _outside(name, domain) if argument.kind != "parameter" else ""
    if not outside:
        return None
    per_row = f"({outside}).any(-1)" if argument.kind == "row" else f"({outside})"
    words = "[0, inf)" if domain.unit_sum else argument.domain
    return Guard(name, not domain.values and not domain.nonzero, outside, per_row, f'"{_text(words)}"')


def _outside(name: str, domain: Domain) -> str:
    """When a value is outside, NaN left out; empty where nothing finite bounds the domain. The sum of
    a distribution is not asked for: rows of weights are as good."""
    if domain.values:
        return " & ".join([*(f"({name} != {float(v)!r})" for v in domain.values), f"({name} == {name})"])
    tests = []
    if isinstance(domain.low, Fraction):
        tests.append(f"({name} {'<' if domain.low_closed else '<='} {literal(domain.low)})")
    if isinstance(domain.high, Fraction) and not domain.unit_sum:
        tests.append(f"({name} {'>' if domain.high_closed else '>='} {literal(domain.high)})")
    if domain.nonzero:
        tests.append(f"({name} == 0)")
    return " | ".join(tests) if len(tests) != 1 else tests[0][1:-1]


def _parameter(argument: Input) -> Parameter:
    domain, name = parse_domain(argument.domain), argument.name
    eps = argument.default == "eps"
    default = None if argument.default is None else "None" if eps else literal(Fraction(argument.default))
    outside = ""
    if domain.values:
        outside = f"{name} not in ({', '.join(repr(float(v)) for v in domain.values)},)"
    elif domain.low_closed and domain.high_closed and domain.low == -domain.high and domain.high == float("inf"):
        outside = ""
    else:
        left, right = "<=" if domain.low_closed else "<", "<=" if domain.high_closed else "<"
        outside = f"not {_bound(domain.low)} {left} {name} {right} {_bound(domain.high)}"
        outside += f" or {name} == 0" if domain.nonzero else ""
    return Parameter(name, default, eps, _text(argument.domain), outside, argument.meaning)


def _bound(bound: Fraction | float) -> str:
    if isinstance(bound, Fraction):
        return literal(bound)
    return "math.inf" if bound > 0 else "-math.inf"


def _keyword_signature(parameters: Sequence[Parameter], rows: bool) -> list[str]:
    found = []
    for p in parameters:
        kind = "float | None" if p.eps else "float"
        found.append(f"{p.name}: {kind}" + (f" = {p.default}" if p.default is not None else ""))
    dim = ["dim: int = -1"] if rows else []
    return [*dim, *found, 'reduction: str = "mean"', 'tier: str = "fast"']


def _text(text: str) -> str:
    """Text that can neither end a docstring nor start an escape or a replacement field."""
    plain = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return plain.replace("\\", "\\\\").replace('"', "'").strip()


def _paragraph(text: str, width: int = 110, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


_KINDS = {"row": "one value per class", "label": "an integer per row", "scalar": "one value per row"}
_DOMAINS = {
    "real": "any real number", "extended": "any real number or an infinity", "nonzero": "not zero",
    "simplex": "a distribution over the classes", "index": "from 0 to C - 1",
}


def _argument_lines(inputs: Iterable[Input], rows: bool) -> list[str]:
    lines: list[str] = []
    for i in inputs:
        words = [i.meaning or i.role, _KINDS.get(i.kind, "") if rows else "", _DOMAINS.get(i.domain, f"in {i.domain}")]
        if i.default is not None:
            words.append(f"default {'the eps of the type' if i.default == 'eps' else i.default}")
        lines += _paragraph(_text(f"{i.name}: {', '.join(w for w in words if w)}."), 100, "    ")
    if rows:
        lines.append("dim: the class axis.")
    return lines


def _row_shapes(tensors: Sequence[Input]) -> str:
    per_class = [i.name for i in tensors if i.kind == "row"]
    per_row = [i.name for i in tensors if i.kind != "row"]
    text = f"{_listed(per_class)} {'has' if len(per_class) == 1 else 'have'} the classes along `dim`"
    text += ", and broadcast." if len(per_class) > 1 else "."
    if per_row:
        text += f" {_listed(per_row)}: the same shape without `dim`."
    return text + " One loss per row."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def _infinity_lines(bundle: Bundle) -> list[str]:
    rows = isinstance(bundle.kernel, Row) and any(s.families for s in bundle.kernel.stages)
    text = "At infinity the value is the limit, where there is one; NaN gives NaN."
    if rows:
        text += " A row of nothing but -inf, or with +inf twice, has no limit: NaN."
    if bundle.origin.policies:
        text += " Policies: " + "; ".join(f"{k.replace('_', ' ')}: {v}" for k, v in bundle.origin.policies) + "."
    return _paragraph(_text(text))


def _error_lines(parameters: bool, guards: Sequence[Guard]) -> list[str]:
    text = f"ValueError: shapes, devices{', an option or a parameter' if parameters else ' or an option'} do not fit."
    if guards:
        text += (f" {_listed([g.name for g in guards])} outside the domain; where values cannot be read in time"
                 " (on a GPU, under torch.compile, in vmap) the result is NaN there instead.")
    return _paragraph(text, 100, "    ")


def _derivative_words(first: Sequence[str], second: Sequence[tuple[str, str]]) -> str:
    if not first:
        return "none"
    pairs = list(dict.fromkeys(tuple(sorted(pair)) for pair in second))
    again = ", ".join(a if a == b else f"{a} with {b}" for a, b in pairs)
    return f"first by {_listed(first)}" + (f"; second by {again}" if again else "; none of the second order")
