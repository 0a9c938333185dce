"""What a formula may be written with: functions under the names that NumPy, SciPy and PyTorch give them.

An operation of `terms` keeps its name; every other name is written out in operations here. That
changes nothing in exact arithmetic, and a definition is exact. Nothing here is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce

from lossmith.derivations import terms
from lossmith.derivations.terms import COUNT, HALF, ONE, PI, TWO, ZERO, Term, add, const, div, make, mul, neg, node, sub

Maker = Callable[..., Term]
Entry = tuple[Maker, int, int]  # how it is built, and the least and the most arguments
ANY = 99

E = make("exp", ONE)
CONSTANTS: Mapping[str, Term] = {
    "pi": PI, "E": E, "tau": mul(TWO, PI), "euler_gamma": neg(make("digamma", ONE)),
}
# Only with a prefix (np.e): alone, these are names that an argument may well have.
PREFIXED_CONSTANTS: Mapping[str, Term] = {**CONSTANTS, "e": E}
INFINITE = frozenset({"inf", "infty", "Inf", "Infinity", "infinity", "oo", "nan", "NaN", "NINF", "PINF"})
# Modules whose functions may be written with the module's name before them. Names only: nothing is looked up.
MODULES = frozenset({
    "np", "numpy", "math", "cmath", "sp", "scipy", "sc", "special", "torch", "nn", "functional", "F", "jnp", "jax",
    "tf", "tensorflow", "keras", "ops", "backend", "K", "numpyro", "mpmath", "mp", "sympy", "lax", "linalg", "tnp",
    "xp", "ma", "stats", "lm", "lossmith", "anp", "autograd", "cupy", "cp",
})


def _plain(op: str) -> Maker:
    return lambda *args: make(op, *args)


def _fold(op: str) -> Maker:
    return lambda *args: reduce(lambda a, b: make(op, a, b), args)


def _of(outer: str, inner: Maker) -> Maker:
    return lambda *args: make(outer, inner(*args))


def square(a: Term) -> Term:
    return make("pow", a, TWO)


def where(condition: Term, a: Term, b: Term) -> Term:
    """A choice; where both values are one, there is none."""
    return a if a is b else node("where", (condition, a, b))


def indicator(condition: Term) -> Term:
    """1 where a condition holds, else 0: what a comparison is in a product."""
    return node("where", (condition, ONE, ZERO))


def total(a: Term) -> Term:
    return node("sum", (a,))


def mean(a: Term) -> Term:
    return div(total(a), COUNT)


def _variance(a: Term) -> Term:
    return mean(square(sub(a, mean(a))))


def _softmax(a: Term) -> Term:
    return div(make("exp", a), total(make("exp", a)))


def _largest(*args: Term) -> Term:
    """The largest of several; of one row, over its classes."""
    return make("peak", args[0]) if len(args) == 1 else _fold("max")(*args)


def _smallest(*args: Term) -> Term:
    return neg(make("peak", neg(args[0]))) if len(args) == 1 else _fold("min")(*args)


def _log(a: Term, base: Term | None = None) -> Term:
    if base is None:
        return make("log", a)
    for value, op in ((2, "log2"), (10, "log10")):
        if terms.is_const(base, value) and op in terms.OPS:
            return make(op, a)
    return div(make("log", a), make("log", base))


def _root(n: int) -> Maker:
    """A root that takes negative numbers too, where n is odd."""
    power = const(Fraction(1, n))
    return lambda a: mul(make("sign", a), make("pow", make("abs", a), power))


def _ratio(top: str, bottom: str) -> Maker:
    return lambda a: div(make(top, a), make(bottom, a))


def _one_over(op: str) -> Maker:
    return lambda a: div(ONE, make(op, a))


def _at_inverse(op: str) -> Maker:
    return lambda a: make(op, div(ONE, a))


def _exp_base(base: int, op: str) -> Maker:
    return (lambda a: make(op, a)) if op in terms.OPS else (lambda a: make("pow", const(base), a))


def _scaled(factor: Term) -> Maker:
    return lambda a: mul(a, factor)


def _normal_cdf(a: Term) -> Term:
    return mul(HALF, make("erfc", div(neg(a), make("sqrt", TWO))))


def _removable(quotient: Maker, value: Term) -> Maker:
    """A quotient that is 0 / 0 at zero, where it has a limit, as every formula here."""
    return lambda a: value if terms.is_const(a, 0) else quotient(a)


def _entropy_term(a: Term) -> Term:
    return neg(make("xlogy", a, a))


def _relative_entropy(a: Term, b: Term) -> Term:
    return make("xlogy", a, div(a, b))


def _log_beta(a: Term, b: Term) -> Term:
    return sub(add(make("lgamma", a), make("lgamma", b)), make("lgamma", add(a, b)))


def _gamma(a: Term) -> Term:
    return make("gamma", a)


def _beta(a: Term, b: Term) -> Term:
    return div(mul(_gamma(a), _gamma(b)), _gamma(add(a, b)))


def _softplus(a: Term, beta: Term = ONE) -> Term:
    return make("softplus", a) if beta is ONE else div(make("softplus", mul(beta, a)), beta)


def _leaky(a: Term, slope: Term | None = None) -> Term:
    return where(node("gt", (a, ZERO)), a, mul(const("0.01") if slope is None else slope, a))


def _elu(a: Term, alpha: Term = ONE) -> Term:
    return where(node("gt", (a, ZERO)), a, mul(alpha, make("expm1", a)))


def _huber(delta: Term, r: Term) -> Term:
    size = make("abs", r)
    outside = mul(delta, sub(size, div(delta, TWO)))
    return where(node("le", (size, delta)), div(square(r), TWO), outside)


def _pseudo_huber(delta: Term, r: Term) -> Term:
    return mul(square(delta), sub(make("sqrt", add(ONE, square(div(r, delta)))), ONE))


def _box_cox(a: Term, power: Term) -> Term:
    return div(sub(make("pow", a, power), ONE), power)


_UNARY: Mapping[str, Maker] = {
    "square": square,
    "cbrt": _root(3),
    "rsqrt": _one_over("sqrt"),
    "reciprocal": lambda a: div(ONE, a),
    "negative": neg,
    "positive": lambda a: a,
    "relu": lambda a: make("max", a, ZERO),
    "exp10": _exp_base(10, "exp10"),
    "logit": lambda a: make("log", div(a, sub(ONE, a))),
    "log_sigmoid": _of("log", _plain("sigmoid")),
    "log1mexp": lambda a: make("log", sub(ONE, make("exp", neg(a)))),
    "log_cosh": _of("log", _plain("cosh")),
    "log_sinh": _of("log", _plain("sinh")),
    "xlogx": lambda a: make("xlogy", a, a),
    "cosm1": lambda a: sub(make("cos", a), ONE),
    "versin": lambda a: sub(ONE, make("cos", a)),
    "exprel": _removable(lambda a: div(make("expm1", a), a), ONE),
    "sinc": _removable(lambda a: div(make("sin", mul(PI, a)), mul(PI, a)), ONE),
    "coth": _ratio("cosh", "sinh"), "sech": _one_over("cosh"), "csch": _one_over("sinh"),
    "cot": _ratio("cos", "sin"), "sec": _one_over("cos"), "csc": _one_over("sin"),
    "acoth": _at_inverse("atanh"), "asech": _at_inverse("acosh"), "acsch": _at_inverse("asinh"),
    "asec": _at_inverse("acos"), "acsc": _at_inverse("asin"), "acot": _at_inverse("atan"),
    "degrees": _scaled(div(const(180), PI)), "radians": _scaled(div(PI, const(180))),
    "ndtr": _normal_cdf,
    "log_ndtr": _of("log", _normal_cdf),
    "norm_sf": lambda a: _normal_cdf(neg(a)),
    "norm_logsf": lambda a: make("log", _normal_cdf(neg(a))),
    "norm_pdf": lambda a: div(make("exp", neg(div(square(a), TWO))), make("sqrt", mul(TWO, PI))),
    "norm_logpdf": lambda a: neg(add(div(square(a), TWO), div(make("log", mul(TWO, PI)), TWO))),
    "entr": _entropy_term,
    "rgamma": lambda a: div(ONE, _gamma(a)),
    "factorial": lambda a: _gamma(add(a, ONE)),
    "silu": lambda a: mul(a, make("sigmoid", a)),
    "gelu": lambda a: mul(a, _normal_cdf(a)),
    "mish": lambda a: mul(a, make("tanh", make("softplus", a))),
    "softsign": lambda a: div(a, add(ONE, make("abs", a))),
    "tanhshrink": lambda a: sub(a, make("tanh", a)),
    "squareplus": lambda a: div(add(a, make("sqrt", add(square(a), const(4)))), TWO),
    "relu6": lambda a: make("min", make("max", a, ZERO), const(6)),
}
_BINARY: Mapping[str, Maker] = {
    "pow": _plain("pow"), "add": add, "subtract": sub, "multiply": mul, "divide": div,
    "xlog1py": lambda a, b: make("xlogy", a, add(ONE, b)),
    "rel_entr": _relative_entropy,
    "kl_div": lambda a, b: add(sub(_relative_entropy(a, b), a), b),
    "betaln": _log_beta, "beta": _beta,
    "logaddexp2": lambda a, b: _log(add(_exp_base(2, "exp2")(a), _exp_base(2, "exp2")(b)), TWO),
    "logsubexp": lambda a, b: make("log", sub(make("exp", a), make("exp", b))),
    "squared_difference": lambda a, b: square(sub(a, b)),
    "powm1": lambda a, b: sub(make("pow", a, b), ONE),
    "huber": _huber, "pseudo_huber": _pseudo_huber,
    "boxcox": _box_cox, "boxcox1p": lambda a, power: _box_cox(add(ONE, a), power),
    "inv_boxcox": lambda a, power: make("pow", add(mul(power, a), ONE), div(ONE, power)),
    "heaviside": lambda a, at_zero: where(node("eq", (a, ZERO)), at_zero, indicator(node("gt", (a, ZERO)))),
}
_OPERATIONS = {op: (_plain(op), spec.arity, spec.arity)
               for table in (terms.FUNCTIONS, terms.NAMED, terms.GUARDED) for op, spec in table.items()
               if spec.arity > 0}
_ROWS: Mapping[str, Entry] = {
    "sum": (total, 1, 2),
    "mean": (mean, 1, 2),
    "var": (_variance, 1, 1), "std": (_of("sqrt", _variance), 1, 1),
    "dot": (lambda a, b: total(mul(a, b)), 2, 2),
    "norm": (lambda a: make("sqrt", total(square(a))), 1, 1),
    "onehot": (_plain("onehot"), 1, 1),
    "logsumexp": (_plain("lse"), 1, ANY),
    **{op: (_plain(op), 1, ANY) for op in ("lse", "peak", "rest")},
    "logmeanexp": (lambda a: make("log", mean(make("exp", a))), 1, 1),
    "softmax": (_softmax, 1, 1),
    "softmin": (lambda a: _softmax(neg(a)), 1, 1),
    "log_softmax": (_of("log", _softmax), 1, 1),
}
_NAMED: Mapping[str, Entry] = {
    **_OPERATIONS,
    **{op: (_plain(op), 1, 1) for op in ("abs", "sign", "sqrt")},
    "log": (_log, 1, 2),
    "max": (_largest, 1, ANY), "min": (_smallest, 1, ANY),
    "hypot": (lambda *args: make("sqrt", reduce(add, map(square, args))), 2, ANY),
    "where": (where, 3, 3),
    "softplus": (_softplus, 1, 2), "leaky_relu": (_leaky, 1, 2), "elu": (_elu, 1, 2),
    **{name: (make_, 1, 1) for name, make_ in _UNARY.items()},
    **{name: (make_, 2, 2) for name, make_ in _BINARY.items()},
    **_ROWS,
}
SAME: Mapping[str, str] = {
    "ln": "log", "expit": "sigmoid", "logistic": "sigmoid", "sig": "sigmoid", "log_expit": "log_sigmoid",
    "logsigmoid": "log_sigmoid", "logcosh": "log_cosh", "logsinh": "log_sinh", "log1pexp": "softplus",
    "power": "pow", "float_power": "pow", "fabs": "abs", "absolute": "abs", "Abs": "abs", "sgn": "sign",
    "maximum": "max", "minimum": "min", "fmax": "max", "fmin": "min", "Max": "max", "Min": "min",
    "amax": "max", "amin": "min", "clamp": "clip", "hardtanh": "clip",
    "gammaln": "lgamma", "loggamma": "lgamma", "lngamma": "lgamma", "psi": "digamma", "lbeta": "betaln",
    "arctan": "atan", "arcsin": "asin", "arccos": "acos", "arctan2": "atan2",
    "arctanh": "atanh", "arcsinh": "asinh", "arccosh": "acosh", "artanh": "atanh", "arsinh": "asinh",
    "arcosh": "acosh", "arccoth": "acoth", "arcoth": "acoth", "arcsech": "asech", "arsech": "asech",
    "arccsch": "acsch", "arcsch": "acsch", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc",
    "cosec": "csc", "cosech": "csch", "rad2deg": "degrees", "deg2rad": "radians",
    "norm_cdf": "ndtr", "norm_logcdf": "log_ndtr", "true_divide": "divide",
    "log_sum_exp": "logsumexp", "log_add_exp": "logaddexp", "logdiffexp": "logsubexp", "log_sub_exp": "logsubexp",
    "log_mean_exp": "logmeanexp", "swish": "silu", "one_hot": "onehot", "nansum": "sum", "Sum": "sum",
    "average": "mean", "reduce_sum": "sum", "reduce_mean": "mean", "reduce_max": "max", "reduce_min": "min",
    "reduce_logsumexp": "logsumexp",
}
FUNCTIONS: Mapping[str, Entry] = {
    **_NAMED,
    **{name: _NAMED[meant] for name, meant in SAME.items()},
}
# What runs over the class axis and gives one value: names inside are rows.
def _with_synonyms(names: set[str]) -> frozenset[str]:
    return frozenset(names | {name for name, meant in SAME.items() if meant in names})


REDUCING = _with_synonyms({"sum", "mean", "var", "std", "dot", "norm", "logmeanexp", "softmax", "softmin",
                           "log_softmax"})
# These run over the classes only with one argument: max(x) of a row, max(a, b) of two numbers.
EITHER = _with_synonyms({"max", "min", "peak", "rest", "lse", "logsumexp"})
# The words that an argument cannot have as its name: the operations that generated code calls.
TAKEN = frozenset({*_OPERATIONS, "abs", "sign", "sqrt", "max", "min", "where", *_ROWS} - {"var", "std", "dot", "norm"})
# Functions that a dot is part of, after any module's name.
DOTTED: Mapping[str, str] = {
    "norm.cdf": "ndtr", "norm.logcdf": "log_ndtr", "norm.sf": "norm_sf", "norm.logsf": "norm_logsf",
    "norm.pdf": "norm_pdf", "norm.logpdf": "norm_logpdf",
    "logaddexp.reduce": "logsumexp", "add.reduce": "sum", "maximum.reduce": "peak",
}
HINTS: Mapping[str, str] = {
    "prod": "exp(sum(log(x)))", "argmax": "max(x)", "argmin": "min(x)", "floor": "where(...)", "ceil": "where(...)",
    "round": "where(...)", "cumsum": "sum(x)", "cross_entropy": "logsumexp(x) - x[y]", "len": "C",
    "nll_loss": "-x[y]", "mse_loss": "(x - y)**2", "cosine_similarity": "dot(x, y)/(norm(x)*norm(y))",
}
