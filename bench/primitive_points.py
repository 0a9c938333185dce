"""Where each primitive operation is measured: its domain, its zeros and poles, and points that seek trouble."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from lossmith.derivations.points import neighbours
from lossmith.derivations.ulp import Doubles, Format, round_array

INF = math.inf


@dataclass(frozen=True)
class Domain:
    """Where an argument lies; `busy`, where most of the points are; `near`, what is approached from both sides."""

    low: float = -INF
    high: float = INF
    busy: tuple[tuple[float, float], ...] = ((-10.0, 10.0),)
    near: tuple[float, ...] = (0.0,)


GAMMA_ZEROS = (-2.4570247382208006, -2.7476826467274127, -3.143580888349981, -3.9552942848585980, -4.039361839740536,
               -7.9998, -10.0, 1.0, 2.0)
PSI_ZEROS = (1.4616321449683622, -0.5040830082644554, -1.573498473162391, -2.610720868444145, -9.702672540001864)
POSITIVE = Domain(0.0, INF, ((0.0, 4.0), (0.0, 1e3)), (0.0, 1.0))
UNIT = Domain(-1.0, 1.0, ((-1.0, 1.0),), (-1.0, 0.0, 1.0))
ANGLE = Domain(busy=((-10.0, 10.0), (-1e5, 1e5)), near=tuple(math.pi / 2 * k for k in (-2, -1, 0, 1, 2, 3, 4, 7, 100)))
EXPONENT = Domain(busy=((-10.0, 10.0), (-745.2, 709.8), (-104.0, 88.8)), near=(0.0, -745.13, -708.4, 709.78, 88.72))
REAL = Domain()
DOMAINS: dict[str, tuple[Domain, ...]] = {
    "sqrt": (POSITIVE,), "exp": (EXPONENT,), "expm1": (EXPONENT,),
    "exp2": (Domain(busy=((-10.0, 10.0), (-1075.0, 1024.0), (-150.0, 128.0))),),
    "log": (POSITIVE,), "log2": (POSITIVE,), "log10": (POSITIVE,),
    "log1p": (Domain(-1.0, INF, ((-1.0, 3.0), (0.0, 1e3)), (-1.0, 0.0)),),
    "sinh": (EXPONENT,), "cosh": (EXPONENT,), "tanh": (Domain(busy=((-1.0, 1.0), (-20.0, 20.0))),),
    "asinh": (Domain(busy=((-1.0, 1.0), (-20.0, 20.0))),),
    "acosh": (Domain(1.0, INF, ((1.0, 3.0), (1.0, 1e3)), (1.0,)),),
    "atanh": (UNIT,), "asin": (UNIT,), "acos": (UNIT,), "sin": (ANGLE,), "cos": (ANGLE,), "tan": (ANGLE,),
    "atan": (REAL,), "atan2": (REAL, REAL),
    "erf": (Domain(busy=((-1.0, 1.0), (-6.0, 6.0))),),
    "erfc": (Domain(busy=((-6.0, 6.0), (0.0, 27.3), (5.0, 10.1)), near=(0.0, 0.5, 1.0, 26.5, 27.2, 9.2, 10.05)),),
    "erfcx": (Domain(busy=((-6.0, 6.0), (-26.7, 27.3), (-9.5, 50.0)), near=(0.0, -26.62, -9.39)),),
    "gamma": (Domain(busy=((-6.0, 6.0), (-184.0, 171.7), (-42.0, 35.1)),
                     near=(0.0, 1.0, 2.0, -1.0, -5.0, 171.6, 35.04)),),
    "lgamma": (Domain(busy=((0.0, 4.0), (-30.0, 30.0)), near=(0.0, *GAMMA_ZEROS)),),
    "digamma": (Domain(busy=((0.0, 4.0), (-30.0, 30.0)), near=(0.0, *PSI_ZEROS)),),
    "pow": (Domain(0.0, INF, ((0.0, 4.0), (0.9, 1.1)), (1.0,)), Domain(busy=((-10.0, 10.0), (-700.0, 700.0)))),
    "xlogy": (REAL, POSITIVE),
    "log1pmx": (Domain(-1.0, INF, ((-1.0, 3.0), (0.0, 1e3)), (-1.0, 0.0, -0.5, 1.0)),),
    "expm1mx": (Domain(busy=((-3.0, 3.0), (-104.0, 89.0)), near=(0.0, -1.0, 1.0)),),
    "binet": (Domain(0.0, INF, ((0.0, 4.0), (0.0, 1e3)), (0.0, 0.5, 1.0)),),
    "binet_slope": (Domain(0.0, INF, ((0.0, 4.0), (0.0, 1e3)), (0.0, 0.5, 1.0)),),
    "binet_gap": (Domain(0.0, INF, ((0.0, 4.0), (0.0, 1e3)), (0.0, 0.5, 1.0)),
                  Domain(0.0, INF, ((0.0, 4.0), (0.0, 1e3)), (0.0, 0.5, 1.0))),
    "lgamma1p": (Domain(-1.0, INF, ((-1.0, 3.0), (0.0, 1e3)), (-1.0, 0.0, 1.0, 0.5, 1.5)),),
    "erfcx_rest": (Domain(busy=((-6.0, 6.0), (-26.7, 27.3), (-9.5, 50.0)), near=(0.0, -26.62, -9.39)),),
    "exp_diff": (EXPONENT, Domain(busy=((-10.0, 10.0), (-500.0, 500.0)))),
}


def points(op: str, fmt: Format, count: int, seed: int = 1) -> list[Doubles]:
    """One array of numbers of the format per argument, some `count` of them each, the same on every machine."""
    rng = np.random.default_rng([seed, *op.encode()])
    columns = [_column(domain, fmt, count, rng) for domain in DOMAINS[op]]
    length = min(map(len, columns))
    if len(columns) == 1:
        return columns
    return [rng.permutation(column)[:length] for column in columns]


def _column(domain: Domain, fmt: Format, count: int, rng: np.random.Generator) -> Doubles:
    """A third on every exponent, a third spread over the busy parts, a third towards the landmarks."""
    third = count // 3
    sizes = np.ldexp(1 + rng.random(third), rng.integers(fmt.quantum, fmt.emax, third, endpoint=True))
    sizes *= 1 if domain.low >= -1 else rng.choice([-1, 1], third)
    spread = [rng.uniform(low, high, third // len(domain.busy)) for low, high in domain.busy]
    close: list[float] = []
    each = max(third // len(domain.near), 12)
    for value in domain.near:
        steps = np.ldexp(1 + rng.random(each), -rng.integers(0, fmt.precision + 2, each)) * rng.choice([-1, 1], each)
        close += [value + s * max(abs(value), 2.0**-20) for s in steps]
        close += neighbours([value], fmt)
    found = round_array(np.concatenate([sizes, *spread, close]), fmt)
    inside = np.isfinite(found) & (found >= domain.low) & (found <= domain.high)
    return np.asarray(found[inside])
