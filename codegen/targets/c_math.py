"""The function library of a generated C file: its polynomials with their bounds, and its constants, as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from functools import cache, partial
from typing import Any

from lossmith.codegen.polynomials import ROOT_HALF, Polynomial, polynomial
from lossmith.codegen.targets import c_printing
from lossmith.codegen.targets.c_printing import DOUBLE, FLOAT, LIBRARY, LIBRARY_OF_TWO, PAIR, Arithmetic, literal
from lossmith.codegen.targets.cu_device import LN2, terms_needed
from lossmith.codegen.targets.cu_printing import hexadecimal
from lossmith.derivations import special
from lossmith.derivations.ulp import split as split_double

# Per arithmetic: bits after the leading one, the exponent's bias, and of ln(2)'s high part so many bits
# that a product with any exponent is exact.
_SHAPE = {FLOAT: (23, 127, 15), DOUBLE: (52, 1023, 40)}
_LIMITS = {  # where exp has reached 0 (times 2^64, all but) and infinity, where expm1 has reached -1; what is tiny
    FLOAT: (-130, 89, -20, Fraction(1, 2**30)), DOUBLE: (-750, 710, -40, Fraction(1, 2**60)),
}


def context(used: frozenset[str], powers: Iterable[int]) -> dict[str, Any]:
    """What templates/c/library.j2 reads, for the operations and whole powers that occur."""
    shared = {
        "used": used, "powers": list(powers), "c_name": lambda name: c_printing.C_NAMES.get(name, name),
        "plain_functions": [n for n in ("sqrt", *LIBRARY) if n in used],
        "plain_functions_of_two": [n for n in LIBRARY_OF_TWO if n in used],
    }
    pair = {**shared, **_pair(), "power_body": partial(c_printing.power_body, arithmetic=PAIR),
            "plain_functions": [n for n in LIBRARY if n in used]}
    names = ["exp", "log", "log_unit", *(n for n in ("log1pmx", "expm1mx", "sinh") if n in used)]
    plain = [{**shared, **_plain(a), **{n: polynomial(n, a.format) for n in names},
              "power_body": partial(c_printing.power_body, arithmetic=a)} for a in (FLOAT, DOUBLE)]
    return {"float_library": plain[0], "double_library": plain[1], "pair_library": pair}


@cache
def _plain(a: Arithmetic) -> dict[str, Any]:
    bits, bias, high_bits = _SHAPE[a]
    exp_low, exp_high, expm1_low, tiny = _LIMITS[a]
    high = Fraction(math.floor(LN2 * 2**high_bits), 2**high_bits)
    unsigned = "uint32_t" if a is FLOAT else "uint64_t"
    one = bias << bits

    def lit(value: float | Fraction) -> str:
        return literal(Fraction(value), a)

    def word(value: int) -> str:
        return f"{unsigned.upper().removesuffix('_T')}_C({value:#x})"

    return {
        "F": a.type, "s": a.suffix, "U": unsigned, "M": bits, "lit": lit,
        "magic": lit(Fraction(3, 2) * 2**bits), "one_bits": word(one), "lifted_one_bits": word((bias + 64) << bits),
        "abs_mask": word(0x7FFFFFFF if a is FLOAT else 2**63 - 1), "sign_bit": word(2**31 if a is FLOAT else 2**63),
        "root_half_bits": word(_word(ROOT_HALF, bits, bias)), "mantissa_mask": word(2**bits - 1),
        "count_bits": word((bias + bits) << bits), "count_offset": lit(2**bits + bias),
        "log2_e": lit(1 / LN2), "ln2_high": lit(high), "ln2_low": lit(LN2 - high),
        "root_two_less_one": lit(1 / ROOT_HALF - 1),
        "shrink_64": lit(Fraction(1, 2**64)), "small_lift": lit(2**64), "small_lift_k": lit(64),
        "least_normal": "FLT_MIN" if a is FLOAT else "DBL_MIN", "largest": "FLT_MAX" if a is FLOAT else "DBL_MAX",
        "exp_low": lit(exp_low), "exp_high": lit(exp_high), "sinh_high": lit(exp_high + Fraction(1, 2)),
        "expm1_low": lit(expm1_low), "tiny": lit(tiny),
        # below 2^8 a number rounded to 14 bits after the point, and so many of ln(2), leave a bit for their sum
        "near_limit": lit(2**8), "near_magic": lit(Fraction(3, 2) * 2 ** (bits - 14)),
        "evaluated": partial(_evaluated, a),
    }


def _word(value: Fraction, bits: int, bias: int) -> int:
    """The bits of a number between 1/2 and 1."""
    return ((bias - 1) << bits) + int((2 * value - 1) * 2**bits)


def _evaluated(a: Arithmetic, made: Polynomial, x: str) -> str:
    """The statements that evaluate a polynomial: by squares, highest power first, two coefficients at a time, which
    wait for nothing but x."""
    texts = [literal(Fraction(c), a) for c in made.coefficients]
    pairs = [f"fused{a.suffix}({odd}, {x}, {even})" for even, odd in zip(texts[::2], texts[1::2])]
    pairs += texts[-1:] if len(texts) % 2 else []
    lines = [f"    const {a.type} square = {x} * {x};", f"    {a.type} value = {pairs[-1]};",
             *(f"    value = fused{a.suffix}(value, square, {pair});" for pair in pairs[-2::-1])]
    return "\n".join([*lines, "    return value;"]) + "\n"


@cache
def _pair() -> dict[str, Any]:
    factorials = [Fraction(1, math.factorial(n + 2)) for n in range(60)]
    odd = [Fraction(1, 2 * n + 3) for n in range(60)]
    high = Fraction(math.floor(LN2 * 2**40), 2**40)
    middle, low = split_double(LN2 - high)
    return {
        "sqrt_half": hexadecimal(math.sqrt(0.5)), "third": ", ".join(map(hexadecimal, special.THIRD)),
        "log_tail": [hexadecimal(float(Fraction(1, 2 * n + 5))) for n in range(10, -1, -1)],
        "ln2_wide": [hexadecimal(v) for v in special.LN2],
        "ln2_parts": [hexadecimal(v) for v in (float(high), middle, low)],
        "log1pmx_long": _long(odd, 0.1112), "expm1mx_long": _long(factorials, 1.0),
    }


def _long(coefficients: list[Fraction], radius: float) -> list[str]:
    """A series to a hundred bits, its coefficients pairs, the highest first."""
    count = terms_needed(coefficients, radius, 100)
    return [", ".join(map(hexadecimal, split_double(c))) for c in reversed(coefficients[:count])]


