"""Which parts of the device library a kernel needs, and the series in them: constants computed here, exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lossmith.codegen.targets.cu_printing import BY_DOUBLE, PI, hexadecimal, single, split
from lossmith.derivations import special
from lossmith.derivations.approximation import Table
from lossmith.derivations.ulp import FORMATS, round_fraction
from lossmith.derivations.ulp import split as split_double

LN2 = Fraction("0.693147180559945309417232121458176568075500134360255254120680009")
# In the order in which they are printed; what each needs before it.
PARTS: dict[str, tuple[str, ...]] = {
    "pair": (), "scale": ("pair",), "exp": ("scale",), "log": ("scale",), "roots": ("pair",),
    "powers": ("exp", "log"), "hyperbolic": ("exp", "log", "roots"), "storage": ("pair",), "guarded": ("pair",),
    "exp_diff": ("exp",), "xlogy": ("guarded", "log"), "log1pmx": ("log",), "expm1mx": ("exp",), "digamma": (),
    "erfcx": ("pair",), "gamma": (), "precise": ("powers", "roots", "guarded"),
    "binet": ("precise",), "binet_slope": ("pair",), "binet_gap": ("binet",), "lgamma1p": ("pair",),
    "erfcx_rest": ("erfcx",),
    "through_double": ("pair",),
    "sums": ("pair",), "peaks": ("sums", "exp_diff", "guarded"), "teams": ("storage", "guarded"),
    "elements": ("storage",), "pair_double": ("precise", "storage"), "rows": ("teams", "sums", "pair_double"),
}
OF_OPERATION = {
    "exp": "exp", "expm1": "exp", "log": "log", "log1p": "log", "sqrt": "roots", "pow": "powers",
    **dict.fromkeys(("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"), "hyperbolic"),
    **dict.fromkeys(("max", "min", "sign", "absorb", "gap"), "guarded"),
    "exp_diff": "exp_diff", "xlogy": "xlogy", "log1pmx": "log1pmx", "expm1mx": "expm1mx", "digamma": "digamma",
    "erfcx": "erfcx", "gamma": "gamma", "lgamma": "gamma", "precise": "precise",
    "binet": "binet", "binet_slope": "binet_slope", "binet_gap": "binet_gap", "lgamma1p": "lgamma1p",
    "erfcx_rest": "erfcx_rest",
}


def parts_for(operations: frozenset[str], more: Iterable[str]) -> tuple[str, ...]:
    """The parts that some operations need, with what those need, in printing order."""
    wanted = [OF_OPERATION[op] for op in sorted(operations) if op in OF_OPERATION]
    wanted += ["guarded", *more, *(["through_double"] if any(op in BY_DOUBLE for op in operations) else [])]
    seen: set[str] = set()
    while wanted:
        part = wanted.pop()
        if part not in seen:
            seen.add(part)
            wanted += PARTS[part]
    return tuple(p for p in PARTS if p in seen)


@dataclass(frozen=True)
class Constant:
    """One constant as text: for float, for double, and as the two halves of a pair."""

    single: str
    double: str
    pair: str
    long: str = ""


def constant(value: Fraction) -> Constant:
    high, low = split(value)
    return Constant(hexadecimal(high, "f"), hexadecimal(round_fraction(value, FORMATS["float64"])),
                    f"{hexadecimal(high, 'f')}, {hexadecimal(low, 'f')}",
                    ", ".join(map(hexadecimal, split_double(value))))


@dataclass(frozen=True)
class Case:
    """A series for one type: `head` is summed in that type, `tail` (the small terms) in `scalar`."""

    type: str
    scalar: str
    head: tuple[Constant, ...]
    tail: tuple[Constant, ...]


PAIR, FLOAT, DOUBLE = "Pair<float>", "float", "double"
LONG = "Pair<double>"
BITS = {FLOAT: 26, DOUBLE: 55, PAIR: 46, LONG: 100}  # what a truncated series may miss, relative to its first term


def terms_needed(coefficients: Sequence[Fraction], radius: float, bits: int) -> int:
    """How many terms until the next is below 2^-bits of the first, at the edge of the range."""
    for n, c in enumerate(coefficients):
        if n and abs(c / coefficients[0]) * Fraction(radius) ** n < Fraction(1, 2**bits):
            return n
    raise ValueError("the series is too short for this precision")


def cases(coefficients: Sequence[Fraction], radius: float, types: Sequence[str]) -> tuple[Case, ...]:
    """The series sum c_n z^n, |z| <= radius, for each type: as many terms as its precision asks for."""
    made = []
    for kind in types:
        count = terms_needed(coefficients, radius, BITS[kind])
        own = {PAIR: 24, LONG: 53}.get(kind)  # bits of the numbers that make the pair
        head = terms_needed(coefficients, radius, BITS[kind] - own) if own else 0
        texts = [constant(c) for c in coefficients[:count]]
        made.append(Case(kind, DOUBLE if kind in (DOUBLE, LONG) else FLOAT, tuple(texts[:head]), tuple(texts[head:])))
    return tuple(made)


def rounded_first(operations: frozenset[str]) -> list[str]:
    """The functions of one argument that have no form in pairs of double, as they are called."""
    known = ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", *BY_DOUBLE)
    return [PRINTED.get(op, op) for op in known if op in operations and op not in OF_TWO]


def through_double(operations: frozenset[str]) -> list[str]:
    """The functions of one argument that a kernel's pairs compute in double, as they are called."""
    return [PRINTED.get(op, op) for op in BY_DOUBLE if op in operations and op not in OF_TWO]


OF_TWO = ("atan2", "binet_gap")
PRINTED = {"gamma": "gamma_function", "lgamma": "lgamma_function"}


def _hexadecimals(table: Table) -> list[str]:
    return [hexadecimal(c) for c in table]


def _erfcx(kind: str, table: Table) -> dict[str, object]:
    """The coefficients of erfcx as text: those of the slope, and the last one as a sum of two."""
    first, suffix = (FORMATS["float32"], "f") if kind == FLOAT else (FORMATS["float64"], "")
    *slope, start = table.exact
    high = round_fraction(start, first)
    texts = [hexadecimal(round_fraction(c, first), suffix) for c in (*slope, start, start - Fraction(high))]
    return {"type": kind, "slope": texts[:-2], "high": texts[-2], "low": texts[-1]}


def _ended(table: Table, low: Table) -> list[str]:
    """A table, and after it what float64 leaves of its last coefficient."""
    return [*_hexadecimals(table), *_hexadecimals(low)]


def _context() -> dict[str, object]:
    factorials = [Fraction(1, math.factorial(n + 2)) for n in range(40)]
    odd = [Fraction(1, 2 * n + 3) for n in range(60)]
    everything = (FLOAT, DOUBLE, PAIR, LONG)
    high = Fraction(math.floor(LN2 * 2**16), 2**16)  # times any exponent: exact
    middle, low = split(LN2 - high)
    return {
        "exp_tail": cases(factorials, 0.3470, (PAIR,)),
        "log_tail": cases(odd, 0.0296, (PAIR,)),
        "log1pmx_tail": cases(odd, 0.1112, everything),
        "expm1mx_tail": cases(factorials, 1.0, everything),
        "ln2_high": hexadecimal(float(high), "f"), "ln2_middle": hexadecimal(middle, "f"),
        "ln2_low": hexadecimal(low, "f"), "ln2_pair": constant(LN2).pair,
        "log2_e": hexadecimal(single(1 / LN2), "f"),
        "sqrt_half": hexadecimal(single(Fraction(math.isqrt(2**99), 2**50)), "f"),
        "pi": constant(PI).double,
        "erfcx_series": [_erfcx(FLOAT, special.ERFCX_SHORT), _erfcx(DOUBLE, special.ERFCX)],
        "binet_far": _hexadecimals(special.BINET), "binet_long": _hexadecimals(special.BINET_LONG),
        "binet_small": _ended(special.BINET_SMALL, special.BINET_SMALL_LOW),
        "slope_far": _hexadecimals(special.BINET_SLOPE), "slope_small": _hexadecimals(special.BINET_SLOPE_SMALL),
        "lgamma_one": _ended(special.LGAMMA_ONE, special.LGAMMA_ONE_LOW),
        "lgamma_two": _ended(special.LGAMMA_TWO, special.LGAMMA_TWO_LOW),
        "erfcx_rest_right": _ended(special.ERFCX_REST, special.ERFCX_REST_LOW),
        "binet_at_zero": hexadecimal(special.BINET_SMALL_AT_ZERO), "rest_far": hexadecimal(special.ERFCX_REST_FAR),
        "root_pi_inverse": hexadecimal(special.ROOT_PI_INVERSE),
        "digamma_near": _hexadecimals(special.DIGAMMA), "digamma_root": _hexadecimals(special.DIGAMMA_ROOT),
        "digamma_tail": _hexadecimals(special.DIGAMMA_TAIL), "ln2_double": _hexadecimals(special.LN2),
        "third": ", ".join(_hexadecimals(special.THIRD)), "sqrt_half_double": hexadecimal(math.sqrt(0.5)),
        "log_double": [constant(Fraction(1, 2 * n + 5)).double for n in range(10, -1, -1)],
    }


CONTEXT = _context()
