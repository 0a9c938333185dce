"""The NumPy target: one module per unit that stands alone, with `loss`, `gradient` and their kin."""

from __future__ import annotations

import functools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import jinja2
from lossmith.codegen import specials
from lossmith.codegen.kernel import Bundle, Elementwise, Input
from lossmith.codegen.rendered import Rendered
from lossmith.codegen.targets import np_docs, np_elementwise, np_rows
from lossmith.codegen.targets.np_module import folded, safe
from lossmith.codegen.targets.np_printing import (
    FUNCTIONS,
    Constants,
    literal,
)
from lossmith.derivations import special
from lossmith.derivations.domains import INFINITY, Domain, parse_domain
from lossmith.derivations.terms import OPS

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "np"


def render(bundle: Bundle) -> list[Rendered]:
    """The module of one unit, `np/<unit>.py`: body only, without the header.

    The module imports NumPy alone and holds `loss`, `gradient`, `loss_gradient`, and where the
    bundle has second derivatives `hessian`, `gradient_hessian` and `hessian_vector_product`.
    """
    constants = Constants()
    elementwise = isinstance(bundle.kernel, Elementwise)
    module = np_elementwise.module(bundle, constants) if elementwise else np_rows.module(bundle, constants)
    inputs = bundle.kernel.inputs
    text = _environment().get_template("elementwise.py.j2" if elementwise else "row.py.j2").render(
        **module.values,
        module_doc=np_docs.module(bundle),
        exported=", ".join(f'"{e.name}"' for e in sorted(module.entries, key=lambda e: e.name)),
        entries=[(e, folded(f"return {'_map' if elementwise else '_reduce'}({e.call})")) for e in module.entries],
        kernels=[replace(k, lines=tuple(f for line in k.lines for f in folded(line))) for k in module.kernels],
        tables=module.tables,
        constants=[(name, *value) for name, value in sorted(constants.values.items())],
        domains=[_domain_line(i) for i in inputs if _is_checked(i)],
        parameters=[_parameter(i) for i in inputs if i.kind == "parameter"],
        helpers=sorted(module.helpers),
        functions=[(n, u, _parameters(n)) for n, u in FUNCTIONS.items() if n in module.helpers],
        special_functions=[(n, _parameters(n)) for n in special.FUNCTIONS if n in module.helpers],
        special_source=specials.source(_special(module.helpers), "np"),
        pairs=not elementwise,
    )
    return [Rendered(f"np/{bundle.origin.unit}.py", _tidy(text), "#")]


def _special(helpers: frozenset[str]) -> list[str]:
    """What a module needs of special.py."""
    pairs = sorted(n.removeprefix("special.") for n in helpers if n.startswith("special."))
    return [*(n for n in special.FUNCTIONS if n in helpers), *pairs]


def _parameters(op: str) -> str:
    return "a, b" if OPS[op].arity == 2 else "a"


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=False,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )


def _tidy(text: str) -> str:
    """No more than two blank lines in a row, none at the end, one line end."""
    lines: list[str] = []
    for line in (raw.rstrip() for raw in text.split("\n")):
        if line or lines[-2:] != ["", ""]:
            lines.append(line)
    return "\n".join(lines).strip("\n") + "\n"


def _is_checked(given: Input) -> bool:
    """Whether values of an input are refused outside its domain: not where the domain is the line."""
    if given.kind not in ("scalar", "row") or given.role == "tangent":
        return False
    return _bounds(parse_domain(given.domain)) != (-INFINITY, INFINITY)


def _bounds(domain: Domain) -> tuple[Any, Any]:
    # Whether a row sums to one is for the caller to say: weights serve as well as a distribution.
    return domain.low, INFINITY if domain.unit_sum else domain.high


def _domain_line(given: Input) -> str:
    domain = parse_domain(given.domain)
    low, high = (_bound(b) for b in _bounds(domain))
    values = "".join(f"{literal(v)}, " for v in domain.values)
    text = "[0, inf)" if domain.unit_sum else given.domain
    return f'"{given.name}": ("{text}", {low}, {high}, ({values.rstrip()})),'


def _bound(bound: Any) -> str:
    if bound in (INFINITY, -INFINITY):
        return "np.inf" if bound > 0 else "-np.inf"
    return literal(Fraction(bound))


def _parameter(given: Input) -> dict[str, Any]:
    """What the template says of a parameter: its name, its domain, and the check that it lies there."""
    domain = parse_domain(given.domain)
    low = f"{_bound(domain.low)} {'<=' if domain.low_closed else '<'} " if domain.low != -INFINITY else "-np.inf <= "
    high = f" {'<=' if domain.high_closed else '<'} {_bound(domain.high)}"
    condition = f"{low}{safe(given.name)}{high}"
    if domain.values:
        condition = " or ".join(f"{safe(given.name)} == {literal(v)}" for v in domain.values)
    if domain.nonzero:
        condition += f" and {safe(given.name)} != 0"
    return {"name": safe(given.name), "domain": given.domain.replace("{", "{{").replace("}", "}}"),
            "condition": condition, "is_eps": given.default == "eps"}
