"""What a generated NumPy module says of itself: formula, shapes, dtypes, domains, errors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lossmith.codegen.kernel import Bundle, Input, Row

WIDTH = 112


def module(bundle: Bundle) -> str:
    """The docstring of the module."""
    origin = bundle.origin
    text = [f"{origin.title.rstrip('.')}.", "", *_wrapped(f"L = {origin.formula}"), ""]
    text += [line for i in bundle.kernel.inputs for line in _wrapped(f"{i.name}: {_described(i)}.")]
    if origin.why:
        text += ["", *_wrapped(origin.why)]
    if origin.policies:
        text += ["", *_wrapped("Policies: " + ", ".join(f"{k} = {v}" for k, v in origin.policies) + ".")]
    return _escaped("\n".join(text) + "\n")


SUMMARIES = {
    "loss": "The loss.",
    "gradient": "The derivative of the loss by the argument that wrt names.",
    "loss_gradient": "The loss and its derivative by the argument that wrt names, computed together.",
    "hessian": "The second derivative of the loss by the argument that wrt names{diagonal}.",
    "gradient_hessian": "First and second derivative of the loss by the argument that wrt names{diagonal}, together.",
    "hessian_vector_product": "The Hessian of the loss applied to tangents: the part of it that belongs to wrt.",
}


def entry(bundle: Bundle, name: str, wrt: Sequence[tuple[str, ...]]) -> str:
    """The docstring of a public function. `wrt`: what it can differentiate by."""
    row = isinstance(bundle.kernel, Row)
    lines = [SUMMARIES[name].format(diagonal=" (the diagonal)" if row else ""), ""]
    lines += _indented(f"L = {bundle.origin.formula}")
    lines.append("")
    for i in bundle.kernel.inputs:
        lines += _wrapped(f"{i.name}: {_described(i)}; {_shape(i, row)}.")
    if name == "hessian_vector_product":
        lines += _wrapped("tangent_...: what the Hessian is applied to, shaped as its argument; 0 where not given.")
    if name != "loss":
        lines += _wrapped("wrt: " + " or ".join(repr(k[0]) if len(k) == 1 else repr(k) for k in wrt) + ".")
    if row:
        lines += _wrapped("axis: the class axis.")
    arrays = "a pair of arrays" if name in ("loss_gradient", "gradient_hessian") else "an array"
    lines += _wrapped(f"out: {arrays} to write, of the shape and dtype of the result; it may be an input itself.")
    lines += _wrapped("tier: 'fast' computes in the dtype (16 bits: float32), 'accurate' in float64; both round once.")
    lines += ["", *_wrapped(_dtypes(row) + " " + _returned(name, row))]
    lines += ["", *_wrapped(_infinities(bundle)), "", *_wrapped(_errors(bundle))]
    return _escaped("\n".join(f"    {line}" if line and i else line for i, line in enumerate(lines)) + "\n    ")


def _described(given: Input) -> str:
    meaning = given.meaning or given.role
    if given.kind == "label":
        return f"{meaning}, an integer from 0 to C - 1"
    words = {"extended": "any number, infinities too", "real": "any number",
             "simplex": "a distribution, or weights >= 0"}
    default = "" if given.default is None else f", by default {given.default}"
    if given.default == "eps":
        default = ", by default the rounding unit of the dtype"
    return f"{meaning}, {words.get(given.domain, 'in ' + given.domain)}{default}"


def _shape(given: Input, row: bool) -> str:
    if given.kind == "parameter":
        return "one number"
    if not row:
        return "any shape"
    return "classes along axis" if given.kind == "row" else "the same shape without axis"


def _dtypes(row: bool) -> str:
    kinds = "float64, float32, float16 or bfloat16 (of ml_dtypes), one for all; plain numbers and lists adapt."
    return f"dtypes: {kinds}" + ("" if row else " Shapes broadcast.")


def _returned(name: str, row: bool) -> str:
    what = {"loss": "one value per row" if row else "an array of the broadcast shape"}
    return {
        "loss": f"Returns {what['loss']}, of the inputs' dtype.",
        "loss_gradient": "Returns (loss, gradient), of the inputs' dtype.",
        "gradient_hessian": "Returns (gradient, hessian), of the inputs' dtype.",
    }.get(name, "Returns an array of the " + ("argument's" if row else "broadcast") + " shape, of the inputs' dtype.")


def _infinities(bundle: Bundle) -> str:
    lead = "At infinite inputs the limit is returned where there is one, else NaN; NaN passes through."
    if isinstance(bundle.kernel, Row) and any(s.families for s in bundle.kernel.stages):
        lead += " A row of nothing but -inf, or with more than one +inf, has no limit."
    return lead


def _errors(bundle: Bundle) -> str:
    kinds = {i.kind for i in bundle.kernel.inputs}
    text = "TypeError: a dtype that is no float, or differs between inputs"
    text += ", or labels that are no integers" if "label" in kinds else ""
    text += ". ValueError: shapes that do not fit, values outside their domain"
    text += ", labels out of range" if "label" in kinds else ""
    return text + ", an out that does not fit. Nothing is written where an error is raised."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH, subsequent_indent="    ", break_long_words=False)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in textwrap.wrap(" ".join(text.split()), WIDTH - 4, subsequent_indent="    ")]


def _escaped(text: str) -> str:
    """Text that stands between triple quotes as it is."""
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
