"""What people write in NumPy, SciPy and PyTorch means here what it means there; rows are found by their use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from lossmith.derivations import balls, parser, vocabulary
from lossmith.derivations.importer import to_term
from lossmith.derivations.parser import FormulaError, parse_formula, parse_term
from lossmith.derivations.terms import OPS, show, walk

sp = pytest.importorskip("scipy.special")
stats = pytest.importorskip("scipy.stats")
np = pytest.importorskip("numpy")

HERE = {"x": 0.7, "y": 1.9, "p": 0.3, "q": 0.8, "n": 3.25}
KNOWN = parser.arguments({"x": "real", "y": "real", "p": "(0,1)", "q": "(0,1)", "n": "positive"})
# Text: its value by the library whose notation it is.
WRITTEN: dict[str, Callable[[Any], float]] = {
    "np.exp2(x) + np.log2(n) + np.log10(n)": lambda v: 2**v.x + math.log2(v.n) + math.log10(v.n),
    "np.log1p(p) + np.expm1(x)": lambda v: math.log1p(v.p) + math.expm1(v.x),
    "np.abs(-x) + np.sign(-y) + np.fabs(x)": lambda v: 2 * v.x - 1,
    "np.maximum(x, y) - np.minimum(x, y) + max(x, y, 3)": lambda v: v.y - v.x + 3,
    "np.sqrt(n) + np.square(x) + np.cbrt(-n)": lambda v: math.sqrt(v.n) + v.x**2 + float(np.cbrt(-v.n)),
    "np.hypot(x, y) + np.power(n, x) + np.reciprocal(y)": lambda v: math.hypot(v.x, v.y) + v.n**v.x + 1 / v.y,
    "np.logaddexp(x, y) + np.logaddexp2(x, y)": lambda v: float(np.logaddexp(v.x, v.y) + np.logaddexp2(v.x, v.y)),
    "np.arctan2(x, -y) + np.arcsin(p) + np.arccos(p) + np.arctan(x)":
        lambda v: math.atan2(v.x, -v.y) + math.asin(v.p) + math.acos(v.p) + math.atan(v.x),
    "math.asinh(x) + math.acosh(y) + math.atanh(p)": lambda v: math.asinh(v.x) + math.acosh(v.y) + math.atanh(v.p),
    "np.sinc(x) + np.degrees(x) + np.radians(y)": lambda v: float(np.sinc(v.x) + np.degrees(v.x) + np.radians(v.y)),
    "coth(x) + sech(x) + csch(x)": lambda v: 1 / math.tanh(v.x) + 1 / math.cosh(v.x) + 1 / math.sinh(v.x),
    "cot(x) + sec(x) + csc(x)": lambda v: 1 / math.tan(v.x) + 1 / math.cos(v.x) + 1 / math.sin(v.x),
    "acoth(y) + asech(p) + acsch(x)": lambda v: math.atanh(1 / v.y) + math.acosh(1 / v.p) + math.asinh(1 / v.x),
    "acot(x) + asec(y) + acsc(y)": lambda v: math.atan(1 / v.x) + math.acos(1 / v.y) + math.asin(1 / v.y),
    "scipy.special.expit(x) + sigmoid(x) + logistic(x)": lambda v: 3 * float(sp.expit(v.x)),
    "logit(p) + log_sigmoid(x) + F.logsigmoid(x) + log_expit(x)":
        lambda v: float(sp.logit(v.p) + 3 * sp.log_expit(v.x)),
    "softplus(x) + relu(-x) + relu(x)": lambda v: math.log1p(math.exp(v.x)) + v.x,
    "erf(x) + erfc(x) + sp.erfcx(x)": lambda v: 1 + float(sp.erfcx(v.x)),
    "sp.ndtr(x) + sp.log_ndtr(x) + norm_cdf(x)": lambda v: float(2 * sp.ndtr(v.x) + sp.log_ndtr(v.x)),
    "norm.cdf(x) + scipy.stats.norm.logcdf(x) + norm.sf(x)": lambda v: float(1 + sp.log_ndtr(v.x)),
    "norm.pdf(x) + norm.logpdf(x) + norm.logsf(x)":
        lambda v: float(stats.norm.pdf(v.x) + stats.norm.logpdf(v.x) + stats.norm.logsf(v.x)),
    "gamma(n) + gammaln(n) + loggamma(n) + math.lgamma(n)": lambda v: float(sp.gamma(v.n) + 3 * sp.gammaln(v.n)),
    "digamma(n) + psi(n) + rgamma(n)": lambda v: float(2 * sp.psi(v.n) + sp.rgamma(v.n)),
    "betaln(n, y) + beta(n, y)": lambda v: float(sp.betaln(v.n, v.y) + sp.beta(v.n, v.y)),
    "xlogy(p, q) + xlog1py(p, q)": lambda v: float(sp.xlogy(v.p, v.q) + sp.xlog1py(v.p, v.q)),
    "entr(p) + rel_entr(p, q) + kl_div(p, q)":
        lambda v: float(sp.entr(v.p) + sp.rel_entr(v.p, v.q) + sp.kl_div(v.p, v.q)),
    "np.clip(x, 0, 0.5) + clip(-x, -1, 1)": lambda v: 0.5 - v.x,
    "np.where((x > 0) & (y < 1), x, y) + np.where((x > 0) | ~(y < 1), 1, 2)": lambda v: v.y + 1,
    "where(0 < x < y and not p > q, 5, 6)": lambda v: 5.0,
    "(x > 0)*y + (x > 1)*100": lambda v: v.y,
    "pi*E + np.pi + math.e": lambda v: math.pi * math.e + math.pi + math.e,
    "exprel(x) + cosm1(x) + powm1(n, x)": lambda v: float(sp.exprel(v.x) + sp.cosm1(v.x) + sp.powm1(v.n, v.x)),
    "huber(1, x) + huber(1, y) + pseudo_huber(2, x)":
        lambda v: float(sp.huber(1, v.x) + sp.huber(1, v.y) + sp.pseudo_huber(2, v.x)),
    "boxcox(n, 0.5) + boxcox1p(n, 0.5) + inv_boxcox(x, 0.5)":
        lambda v: float(sp.boxcox(v.n, 0.5) + sp.boxcox1p(v.n, 0.5) + sp.inv_boxcox(v.x, 0.5)),
    "log(n, 2) + log(n, 3) + math.log(n, 10)": lambda v: math.log(v.n, 2) + math.log(v.n, 3) + math.log10(v.n),
    "heaviside(x, 0.5) + factorial(4) + 2**0.5": lambda v: 1 + 24 + math.sqrt(2),
}


class _Values:
    """HERE as attributes: v.x."""

    def __getattr__(self, name: str) -> float:
        return HERE[name]


@pytest.mark.parametrize("text", WRITTEN)
def test_it_means_what_it_means_there(text: str) -> None:
    found = balls.truth(parse_term(text, KNOWN), HERE)
    assert found == pytest.approx(WRITTEN[text](_Values()), rel=1e-13)


def test_every_function_is_written_in_operations_that_there_are() -> None:
    rows = parser.arguments({"x[k]": "real", "y": "index", "s": "(0,1)"})
    over_classes = vocabulary.REDUCING | vocabulary.EITHER
    for name, (_, low, _) in vocabulary.FUNCTIONS.items():
        inside = ["x"] * low if name in over_classes else ["x", "s", "s"][:low]
        inside = {"where": ["s > 0", "x", "s"], "onehot": ["y"], "one_hot": ["y"]}.get(name, inside)
        term = parse_term(f"{name}({', '.join(inside)})", rows, rows=True)
        assert all(t.op in OPS for t in walk(term))
        assert (term.sort == "scalar") == (name in over_classes and "soft" not in name)


@pytest.mark.parametrize("text", WRITTEN)
def test_to_sympy_and_back_keeps_the_value(text: str) -> None:
    symbols = parser.symbols_of(KNOWN)
    back = to_term(parser.parse(text, symbols))
    assert balls.truth(back, HERE) == pytest.approx(balls.truth(parse_term(text, KNOWN), HERE), rel=1e-15)


REALS = dict.fromkeys(("x", "t", "q", "w", "p"), "real") | {"T": "positive", "b": "positive"}
# Text: what is read, and which names are rows or labels.
ROWS = [
    ("logsumexp(x) - x[y]", "lse(x[k]) - x[y]", "x", "y"),
    ("sum(t*log(t/q))", "sum(t[k]*log(t[k]/q[k]))", "tq", ""),
    ("log(mean(exp(x/T)))*T", "log(sum(exp(x[k]/T))/C)*T", "x", ""),
    ("log(sum(w[i]*exp(x[i])))", "log(sum(w[k]*exp(x[k])))", "xw", ""),
    ("log(1 + sum(exp(x[i])))", "log(1 + sum(exp(x[k])))", "x", ""),
    ("log(mean(exp(x[i]/T)))*T", "log(sum(exp(x[k]/T))/C)*T", "x", ""),
    ("log(sum(exp(x[i] - x[y])))", "log(sum(exp(x[k] - x[y])))", "x", "y"),
    ("sum(p[i]*log(p[i]/q[i]))", "sum(p[k]*log(p[k]/q[k]))", "pq", ""),
    ("sum(w*x[i], i)", "sum(w*x[k])", "x", ""),
    ("logsumexp(b*x)/b", "lse(b*x[k])/b", "x", ""),
    ("x - logsumexp(x)", "x[k] - lse(x[k])", "x", ""),
    ("-log(softmax(x)[y])", "-log(exp(x[y])/sum(exp(x[k])))", "x", "y"),
    ("-log_softmax(x)[y]", "-log(exp(x[y])/sum(exp(x[k])))", "x", "y"),
    ("max(x) - x[y]", "peak(x[k]) - x[y]", "x", "y"),
    ("np.sum(np.exp(x), axis=-1)", "sum(exp(x[k]))", "x", ""),
    ("torch.logsumexp(x, dim=-1)", "lse(x[k])", "x", ""),
    ("np.log(np.sum(np.exp(x), -1, keepdims=True))", "log(sum(exp(x[k])))", "x", ""),
    ("-sum(onehot(y)*log(q))", "-sum(onehot(y)*log(q[k]))", "q", "y"),
    ("sum(where(k == y, 0, exp(x)))", "sum(where(k == y, 0, exp(x[k])))", "x", "y"),
    ("np.linalg.norm(x) + len(x)", "sqrt(sum(x[k]**2)) + C", "x", ""),
    ("sum((x - mean(x))**2)", "sum((x[k] - sum(x[k])/C)**2)", "x", ""),
    ("max(x, t) + T", "max(x, t) + T", "", ""),
]


@pytest.mark.parametrize(("text", "read", "rows", "labels"), ROWS, ids=[r[0] for r in ROWS])
def test_rows_are_found_by_their_use(text: str, read: str, rows: str, labels: str) -> None:
    term, known = parse_formula(text, REALS, rows=True)
    assert show(term) == read
    assert {n for n, a in known.items() if a.axis == "class"} == set(rows)
    assert {n for n, a in known.items() if a.role == "label"} == set(labels)


def test_where_rows_are_written_exactly_those_are_rows() -> None:
    _, known = parse_formula("sum(w*exp(x))", {"x[k]": "real", "w": "real"})
    assert (known["x"].axis, known["w"].axis) == ("class", "none")
    _, known = parse_formula("sum(w*exp(x))", {"x": "real", "w": "2"})
    assert (known["x"].axis, known["w"].axis) == ("class", "none")


@pytest.mark.parametrize(("text", "hint"), [
    ("logsumexp(x, axis=0)", "axis=-1"), ("logsumexp(x, 0)", "lse(x, 0)"),
    ("sum(exp(x[i] - x[j]), i)", "each sum has one index"), ("x[0]", ""), ("x.sum()", "sum(x)"),
    ("prod(x)", "exp(sum(log(x)))"), ("sum(3)", "declare a row"),
])
def test_what_does_not_fit_on_one_axis_is_refused(text: str, hint: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(text, REALS)
    assert hint in caught.value.hint
