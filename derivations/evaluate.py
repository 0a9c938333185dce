"""A term evaluated in a floating-point format on arrays, each operation rounded to the format once.

float16, bfloat16 and float32 are computed in float64 and rounded, so that every operation is
correctly rounded and the result is the same on every machine; float64 is NumPy's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from lossmith.derivations import special
from lossmith.derivations.precise import compute
from lossmith.derivations.terms import OPS, Term, name_of, number, varies, walk
from lossmith.derivations.ulp import FORMATS, Doubles, Format, round_array, round_fraction, split

Array = npt.NDArray[Any]


def _xlogy(a: Array, b: Array) -> Array:
    return np.where((a == 0) & ~np.isnan(b), 0.0, a * np.log(b))


def _absorb(a: Array, b: Array) -> Array:
    return np.where((a == 0) & ~np.isnan(b), 0.0, a * b)


def _gap(a: Array, b: Array) -> Array:
    return np.where(a == b, 0.0, a - b)


def _clip(a: Array, low: Array, high: Array) -> Array:
    return np.minimum(np.maximum(a, low), high)


def _softplus(a: Array) -> Array:
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))


def _sigmoid(a: Array) -> Array:
    decay = np.exp(-np.abs(a))
    return np.where(a >= 0, 1 / (1 + decay), decay / (1 + decay))


SIMPLE: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "pow": np.power, "max": np.maximum, "min": np.minimum, "abs": np.abs, "sign": np.sign, "sqrt": np.sqrt,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "exp2": np.exp2,
    "log2": np.log2, "log10": np.log10, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    **{name: getattr(special, name) for name in special.FUNCTIONS},
    "sigmoid": _sigmoid, "softplus": _softplus, "logaddexp": np.logaddexp, "xlogy": _xlogy,
    "clip": _clip, "clip_through": _clip,
    "absorb": _absorb, "gap": _gap,
}
LOGICAL: Mapping[str, Callable[..., Any]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
}


def _whole_power(a: special.Pair, n: special.Pair) -> special.Pair:
    return special.power(a, int(n[0]))


def in_float64(t: Term, args: Sequence[Array]) -> Array:
    """A `precise` node for formats narrower than float64, which has twice their digits: not rounded to them yet."""
    found: Array = compute(t, args, SIMPLE, lambda v: np.float64(v.numerator / v.denominator),
                           lambda: np.float64(math.pi))
    return found


_IN_PAIRS: Mapping[str, Callable[..., Any]] = {**special.PAIRED, **special.ENDED, "pow": _whole_power}


class Evaluator:
    """Evaluates terms on one environment, each distinct node once.

    `env`: name -> float64-convertible array. Scalars and labels have any batch shape; rows have
    the batch shape and the class axis last; everything broadcasts. `classes` is needed only
    where no row input tells it. A call returns float64 (bool for a truth) holding numbers of the
    format: the batch shape for a scalar, with the class axis last for a row. Inputs are rounded
    to the format first.
    """

    def __init__(self, env: Mapping[str, npt.ArrayLike], fmt: Format = FORMATS["float64"],
                 classes: int | None = None) -> None:
        self.fmt = fmt
        self.env = env
        self.classes = classes
        self._done: dict[int, Array] = {}

    def __call__(self, term: Term) -> Array:
        order = walk(term)
        if self.classes is None:
            self.classes = next((np.shape(self.env[name_of(t)])[-1] for t in order if t.op == "row"), None)
        with np.errstate(all="ignore"):
            for t in order:
                if t.id not in self._done:
                    self._done[t.id] = self._compute(t)
        return self._done[term.id]

    def _compute(self, t: Term) -> Array:
        own = _OWN.get(t.op)
        if own is not None:
            return own(self, t)
        args = self._aligned(t)
        if t.op == "where":
            return np.where(args[0], args[1], args[2])
        if t.op in LOGICAL:
            return np.asarray(LOGICAL[t.op](*args))
        return self._round(SIMPLE[t.op](*args))

    def _round(self, values: Any) -> Doubles:
        return round_array(values, self.fmt)

    def _aligned(self, t: Term) -> list[Array]:
        """The values of the arguments, scalars given a class axis of length one beside rows."""
        rows = [varies(a) for a in t.args]
        values = [self._done[a.id] for a in t.args]
        if any(rows):
            values = [v if r else v[..., None] for v, r in zip(values, rows, strict=True)]
        return values

    def _const(self, t: Term) -> Array:
        return np.asarray(round_fraction(number(t), self.fmt))

    def _pi(self, t: Term) -> Array:
        return self._round(math.pi)

    def _input(self, t: Term) -> Array:
        return self._round(np.asarray(self.env[name_of(t)], dtype=np.float64))

    def _label(self, t: Term) -> Array:
        return np.asarray(self.env[name_of(t)]).astype(np.int64)

    def _length(self) -> int:
        if self.classes is None:
            raise ValueError("the number of classes is unknown: pass classes=, or evaluate a term with a row first")
        return self.classes

    def _position(self, t: Term) -> Array:
        return np.arange(self._length(), dtype=np.float64)

    def _count(self, t: Term) -> Array:
        return self._round(float(self._length()))

    def _onehot(self, t: Term) -> Array:
        found: Array = np.arange(self._length()) == self._done[t.args[0].id][..., None]
        return found.astype(np.float64)

    def _at(self, t: Term) -> Array:
        row, label = self._done[t.args[0].id], self._done[t.args[1].id].astype(np.int64)
        if row.shape[-1] == 1 and self.classes is not None:
            row = np.broadcast_to(row, (*row.shape[:-1], self.classes))
        batch = np.broadcast_shapes(row.shape[:-1], label.shape)
        row, label = np.broadcast_to(row, (*batch, row.shape[-1])), np.broadcast_to(label, batch)
        found: Array = np.take_along_axis(row, label[..., None], -1)[..., 0]
        return found

    def _sum(self, t: Term) -> Array:
        row = self._done[t.args[0].id]
        if not varies(t.args[0]):
            return self._round(row * self._length())
        return self._pairwise(row)

    def _pairwise(self, row: Array) -> Array:
        """Halves added to each other until one element is left, each addition rounded."""
        while row.shape[-1] > 1:
            half = row.shape[-1] // 2
            folded = self._round(row[..., :half] + row[..., half:2 * half])
            row = np.concatenate([folded, row[..., 2 * half:]], axis=-1)
        return np.asarray(row[..., 0] if row.shape[-1] else np.zeros(row.shape[:-1]))

    def _elements(self, t: Term) -> Array:
        """All arguments of lse, peak or rest side by side along the class axis."""
        parts = [self._done[a.id] if varies(a) else self._done[a.id][..., None] for a in t.args]
        batch = np.broadcast_shapes(*(p.shape[:-1] for p in parts))
        return np.concatenate([np.broadcast_to(p, (*batch, p.shape[-1])) for p in parts], axis=-1)

    def _peak(self, t: Term) -> Array:
        return np.asarray(np.max(self._elements(t), axis=-1))

    def _rest(self, t: Term) -> Array:
        """The monoid's (s, n): terms below the peak, then the ties but one; NaN where the peak says nothing."""
        elements = self._elements(t)
        peak = np.max(elements, axis=-1)
        tied = elements == peak[..., None]
        ties = tied.sum(axis=-1)
        below = np.where(tied, 0.0, self._exp_diff_of(elements, np.broadcast_to(peak[..., None], elements.shape)))
        total = self._round(self._pairwise(below) + self._round(ties - 1.0))
        lost = np.isneginf(peak) | (np.isposinf(peak) & (ties > 1)) | np.isnan(peak)
        return np.where(lost, np.nan, total)

    def _lse(self, t: Term) -> Array:
        peak, rest = self._peak(t), self._rest(t)
        return np.where(np.isinf(peak), peak, self._round(peak + self._round(np.log1p(rest))))

    def _precise(self, t: Term) -> Array:
        """In pairs of float64; the other formats in float64 alone, which has twice their digits."""
        args = self._aligned(t)
        if t.value is None:
            return args[0]
        if self.fmt.name != "float64":
            return self._round(in_float64(t, args))
        found = compute(t, [(a, np.zeros_like(a)) for a in args], _IN_PAIRS, split, lambda: special.PI)
        return self._round(special.value(found) if isinstance(found, tuple) else found)

    def _wide(self, t: Term) -> Array:
        return self._round(in_float64(t, self._aligned(t)))

    def _exp_diff(self, t: Term) -> Array:
        return self._exp_diff_of(*self._aligned(t))

    def _exp_diff_of(self, a: Array, b: Array) -> Array:
        """exp(d) (1 + low), d the rounded difference and low what rounding took from it (TwoDiff)."""
        d = self._round(a - b)
        back = self._round(a - d)
        low = self._round(self._round(a - self._round(d + back)) + self._round(back - b))
        grown = self._round(np.exp(d))
        extra = self._round(grown * low)
        return np.where(a == b, 1.0, self._round(grown + np.where(np.isfinite(extra), extra, 0.0)))


_OWN: Mapping[str, Callable[[Evaluator, Term], Array]] = {
    "const": Evaluator._const, "pi": Evaluator._pi, "var": Evaluator._input, "row": Evaluator._input,
    "label": Evaluator._label, "position": Evaluator._position, "count": Evaluator._count,
    "onehot": Evaluator._onehot, "at": Evaluator._at, "sum": Evaluator._sum, "peak": Evaluator._peak,
    "rest": Evaluator._rest, "lse": Evaluator._lse, "exp_diff": Evaluator._exp_diff, "precise": Evaluator._precise,
    "wide": Evaluator._wide,
}
_lacking = sorted(set(OPS) - {*SIMPLE, *LOGICAL, *_OWN, "where"})
if _lacking:
    raise TypeError(f"evaluate has no meaning for {_lacking}")


def evaluate(term: Term, env: Mapping[str, npt.ArrayLike], fmt: Format = FORMATS["float64"],
             classes: int | None = None) -> Array:
    """The value of one term in a format: see Evaluator for shapes."""
    return Evaluator(env, fmt, classes)(term)
