"""What is timed: a loss, the data it is given, and how its peers would be asked for the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from lossmith.audit.subject import Subject, subject_of
from lossmith.derivations import catalogue, parser
from lossmith.derivations.loss import Argument, Unit
from lossmith.derivations.terms import leaves, name_of
from lossmith.derivations.ulp import FORMATS, Array


@dataclass(frozen=True)
class Written:
    """An elementwise loss as a person writes it over NumPy's functions; the gradient is by the first input."""

    loss: str
    gradient: str
    parts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Formula:
    """A loss that is not in the catalogue: what `lossmith stabilize` would be given."""

    text: str
    domain: Mapping[str, str]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """A loss to be timed. `written`: how one writes it by hand, where it is elementwise and somebody does."""

    name: str
    unit: Unit
    written: Written | None = None

    @property
    def is_row(self) -> bool:
        return self.unit.shape == "row"

    @property
    def given(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.unit.arguments if a.role != "parameter")

    @property
    def subject(self) -> Subject:
        return _subject(self.unit)


SHORT = {
    "sigmoid": "sigmoid_cross_entropy", "softmax": "sparse_softmax_cross_entropy", "kl": "kl_divergence_from_logits",
}
FORMULAS = {
    "focal": Formula("-z*(1 - sigmoid(x))**2*log(sigmoid(x)) - (1 - z)*sigmoid(x)**2*log(1 - sigmoid(x))",
                     {"x": "real", "z": "{0,1}"}, ("z",)),
    "huber": Formula("where(abs(x - y) <= 1, (x - y)**2/2, abs(x - y) - 1/2)", {"x": "real", "y": "real"}, ("y",)),
    "log_cosh": Formula("log(cosh(x - y))", {"x": "real", "y": "real"}, ("y",)),
    "poisson": Formula("exp(x) - z*x", {"x": "real", "z": "[0,inf)"}, ("z",)),
}
DRAWN = 1 << 24  # random elements of one array: more take longer to draw than to time
USUAL = ("sigmoid", "softmax", "focal", "kl", "huber", "log_cosh", "poisson")
WRITTEN = {
    "sigmoid_cross_entropy": Written("maximum(x, 0) - x*z + log1p(exp(-abs(x)))", "1/(1 + exp(-x)) - z"),
    "focal": Written("-q*q*log(p)", "s*q*q*(2*p*log(p) - q)",
                     (("s", "2*z - 1"), ("p", "1/(1 + exp(-s*x))"), ("q", "1 - p"))),
    "huber": Written("where(a <= 1, 0.5*r*r, a - 0.5)", "where(a <= 1, r, r/a)", (("r", "x - y"), ("a", "abs(r)"))),
    "log_cosh": Written("a + log1p(exp(-2*a)) - 0.6931471805599453", "tanh(r)", (("r", "x - y"), ("a", "abs(r)"))),
    "poisson": Written("e - z*x", "e - z", (("e", "exp(x)"),)),
    "mean_squared_error": Written("r*r", "2*r", (("r", "x - y"),)),
}


@cache
def _subject(unit: Unit) -> Subject:
    return subject_of(unit)


def load(name: str) -> Workload:
    """A loss by its name here, or in the catalogue. Raises UnknownLoss."""
    if name in FORMULAS and name not in catalogue.names():
        return Workload(name, _unit(name, FORMULAS[name]), WRITTEN.get(name))
    try:
        unit = catalogue.load(SHORT.get(name, name))
    except catalogue.UnknownLoss:
        raise catalogue.UnknownLoss(name, (*USUAL, *(u["name"] for u in catalogue.described()))) from None
    return Workload(unit.name, unit, WRITTEN.get(unit.name))


def _unit(name: str, formula: Formula) -> Unit:
    term, known = parser.parse_formula(formula.text, dict(formula.domain), targets=list(formula.targets))
    used = {name_of(t) for t in leaves(term)}
    return Unit(name, name, name.replace("_", " "), term, tuple(a for a in known.values() if a.name in used), (), ())


def drawn(workload: Workload, shape: Sequence[int], dtype: str, seed: int = 0) -> dict[str, Array]:
    """Data as in training: normal inputs of some spread, targets in their domain; beyond DRAWN elements they repeat."""
    ahead = max(1, DRAWN // math.prod(shape[1:]))
    if shape[0] > ahead:
        few = drawn(workload, (ahead, *shape[1:]), dtype, seed)
        return {name: np.resize(a, (shape[0], *a.shape[1:])) for name, a in few.items()}
    rng, fmt = np.random.default_rng(seed), FORMATS[dtype]
    lead = tuple(shape[:-1]) if workload.is_row else tuple(shape)
    found = {}
    for a in workload.given:
        size = tuple(shape) if a.axis == "class" or not workload.is_row else lead
        label = a.role == "label"
        found[a.name] = rng.integers(0, shape[-1], size) if label else _values(rng, a, size).astype(fmt.dtype)
    return found


def _values(rng: np.random.Generator, argument: Argument, size: tuple[int, ...]) -> Array:
    domain = argument.domain
    if domain.values:
        return rng.choice([float(v) for v in domain.values], size)
    if domain.unit_sum or (argument.axis == "class" and argument.role == "target" and domain.low == 0):
        powers = rng.standard_exponential(size)
        return np.asarray(powers / powers.sum(-1, keepdims=True))
    if math.isfinite(domain.low) and math.isfinite(domain.high):
        return rng.uniform(float(domain.low), float(domain.high), size)
    if math.isfinite(domain.low):
        return float(domain.low) + np.asarray(rng.poisson(3.0, size), dtype=np.float64)
    return 4 * rng.standard_normal(size) if argument.role == "input" else rng.standard_normal(size)
