"""The constants that coefficients of series are made of: exact sums of products of atoms, and balls.

An atom is a term without a rational value: pi, log 2, sqrt 3, exp(1), another argument of the
formula. Whether such a sum vanishes is decided by its canonical form; that it does not vanish is
certain only where a ball says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from flint import arb, fmpq, fmpz
from lossmith.derivations import polynomial, terms
from lossmith.derivations.enclosing import inputs_of, run, working
from lossmith.derivations.polynomial import Poly, TooLargeError, canon, write
from lossmith.derivations.terms import ONE, PI, Term, const, div, is_const, make, mul, node, number

BITS = 300  # of the balls that certify and that bound
ATOMS = 40  # products that a sum may hold


class NotKnownError(Exception):
    """A constant that this module cannot write."""


class Sum:
    """A polynomial over atoms, `polynomial.Poly`, as a coefficient of a series."""

    __slots__ = ("poly",)

    def __init__(self, poly: Poly) -> None:
        if len(poly) > ATOMS:
            raise NotKnownError("a coefficient is too large")
        self.poly = poly

    def __add__(self, other: Any) -> Any:
        return simplest(polynomial.plus(self.poly, poly_of(other)))

    def __sub__(self, other: Any) -> Any:
        return simplest(polynomial.plus(self.poly, poly_of(other), -1))

    def __rsub__(self, other: Any) -> Any:
        return simplest(polynomial.plus(poly_of(other), self.poly, -1))

    def __neg__(self) -> Sum:
        return Sum({m: -c for m, c in self.poly.items()})

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, (int, fmpq)):
            scale = fraction(other)
            return Sum({m: c * scale for m, c in self.poly.items()}) if scale else fmpq(0)
        try:
            return simplest(polynomial.times(self.poly, poly_of(other)))
        except TooLargeError:
            raise NotKnownError("a coefficient is too large") from None

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> Any:
        return self * reciprocal(other)

    def __rtruediv__(self, other: Any) -> Any:
        return reciprocal(self) * other

    def term(self) -> Term:
        return write(self.poly)


def fraction(value: Any) -> Fraction:
    return Fraction(value) if isinstance(value, int) else Fraction(int(value.p), int(value.q))


def rational(value: Fraction) -> fmpq:
    return fmpq(value.numerator, value.denominator)


def poly_of(value: Any) -> Poly:
    if isinstance(value, Sum):
        return value.poly
    exact = fraction(value)
    return {(): exact} if exact else {}


def simplest(poly: Poly) -> Any:
    """A rational where the sum is one."""
    if not poly:
        return fmpq(0)
    if len(poly) == 1 and () in poly:
        return rational(poly[()])
    return Sum(poly)


def reciprocal(value: Any) -> Any:
    if not isinstance(value, Sum):
        exact = fraction(value)
        return rational(1 / exact)
    return simplest(canon(div(ONE, value.term())))


def term_of(value: Any) -> Term:
    """The coefficient as a term."""
    return value.term() if isinstance(value, Sum) else const(fraction(value))


# Values of the Hurwitz zeta function have no term; as atoms they are names that stand for (k, a).
_zeta: dict[Term, tuple[int, Fraction]] = {}


def zeta(k: int, a: Fraction) -> Term:
    """sum of 1/(n + a)**k over n >= 0, as an atom."""
    atom = node("var", (), f"zeta({k},{a})")
    _zeta[atom] = k, a
    return atom


def is_writable(term: Term) -> bool:
    """Whether a term is one that a machine can compute: it holds no value of zeta."""
    return all(t not in _zeta for t in terms.walk(term))


class Constants:
    """Exact constants. `sample`: a rational for each other argument, at which signs are read and atoms certified."""

    def __init__(self, sample: Mapping[str, Fraction] | None = None, positive: frozenset[str] = frozenset()) -> None:
        self.sample = dict(sample or {})
        self.positive = positive

    def leaf(self, term: Term) -> Any:
        if term.op == "const":
            return rational(number(term))
        if term.op in ("pi", "var"):
            return Sum(canon(term))
        raise NotKnownError(f"{term.op} is no scalar")

    def vanishes(self, value: Any) -> bool:
        return not isinstance(value, Sum) and bool(value == 0)

    def certain(self, value: Any) -> bool:
        """Whether the value, not plainly zero, is known to differ from zero (at the sample)."""
        return not isinstance(value, Sum) or not self.ball(value).contains(0)

    def sign(self, value: Any) -> int:
        if not isinstance(value, Sum):
            return int(value > 0) - int(value < 0)
        if any(name not in self.positive for atom in _atoms(value) for name, _ in inputs_of(atom) if atom not in _zeta):
            raise NotKnownError("the sign of a coefficient depends on other arguments")
        found = self.ball(value)
        depends = any(inputs_of(a) and a not in _zeta for a in _atoms(value))
        if found.contains(0) or (depends and len(value.poly) > 1):
            raise NotKnownError("the sign of a coefficient is not known")
        return 1 if found > 0 else -1

    def ball(self, value: Any) -> arb:
        """The value in a ball, at the sample."""
        with working(BITS):
            if not isinstance(value, Sum):
                return arb(value)
            total = arb(0)
            for m, c in value.poly.items():
                part = arb(rational(c))
                for atom, e in m:
                    part *= self._atom(atom) ** e
                total += part
            return total

    def _atom(self, atom: Term) -> arb:
        if atom in _zeta:
            k, a = _zeta[atom]
            return arb(k).zeta(arb(rational(a)))
        found: arb = run(atom, self.sample, True)
        return found

    def power(self, value: Any, exponent: Fraction) -> Any:
        if exponent.denominator == 1:
            n = int(exponent)
            out: Any = fmpq(1)
            for _ in range(min(abs(n), 64)):
                out = out * value
            if abs(n) > 64:
                raise NotKnownError("a high power")
            return out if n >= 0 else reciprocal(out)
        if self.sign(value) < 0:
            raise NotKnownError("a root of a negative number")
        if isinstance(value, Sum) and len(value.poly) > 1:
            return Sum(canon(terms.power(value.term(), const(exponent))))
        ((m, c),) = poly_of(value).items()
        out = rational(Fraction(1))
        for base, e in [*((const(p), e) for p, e in _primes(c)), *m]:
            total = e * exponent
            whole, rest = divmod(total.numerator, total.denominator)
            out = out * self.power(simplest(canon(base)), Fraction(whole))
            if rest:
                out = out * Sum(canon(terms.power(base, const(Fraction(rest, total.denominator)))))
        return out

    def function(self, op: str, value: Any) -> Any:
        """A function of OWN at a constant."""
        if op in ("sinh", "cosh"):
            grown, decayed = self.function("exp", value), self.function("exp", -value)
            return (grown - decayed if op == "sinh" else grown + decayed) / 2
        if op == "log":
            return self._log(value)
        if op in ("sin", "cos") and isinstance(value, Sum):
            turns = self._quarter_turns(value)
            if turns is not None:
                return fmpq((0, 1, 0, -1)[(turns + (op == "cos")) % 4])
        if op == "atan" and not isinstance(value, Sum) and abs(value) == 1:
            return Sum(canon(mul(PI, const(fraction(value) / 4))))
        return simplest(canon(make(op, term_of(value))))

    def _quarter_turns(self, value: Sum) -> int | None:
        ((m, c), *more) = value.poly.items()
        if more or m != ((PI, 1),) or (2 * c).denominator != 1:
            return None
        return int(2 * c)

    def _log(self, value: Any) -> Any:
        if self.sign(value) < 0:
            raise NotKnownError("a logarithm of a negative number")
        if isinstance(value, Sum) and len(value.poly) > 1:
            return simplest(canon(make("log", value.term())))
        ((m, c),) = poly_of(value).items()
        total: Any = fmpq(0)
        for base, e in [*((const(p), e) for p, e in _primes(c)), *m]:
            total = total + simplest(canon(make("log", base) if base.op != "exp" else base.args[0])) * e
        return total

    def gamma(self, op: str, value: Any, k: int) -> Any:
        """The k-th Taylor coefficient of lgamma or digamma at a positive rational."""
        if isinstance(value, Sum) or value <= 0:
            raise NotKnownError(f"{op} at this point")
        a = fraction(value)
        if op == "lgamma" and k <= 1:
            if k == 0:
                whole = a.denominator == 1 and a <= 20
                return self._log(fmpq(math.factorial(int(a) - 1))) if whole and a > 2 else (
                    fmpq(0) if whole else Sum(canon(make("lgamma", const(a)))))
            return self.gamma("digamma", value, 0)
        if op == "digamma" and k == 0:
            if a.denominator == 1 and a <= 20:
                more = sum((Fraction(1, n) for n in range(1, int(a))), Fraction(0))
                return Sum(canon(make("digamma", ONE))) + rational(more)
            return Sum(canon(make("digamma", const(a))))
        order = k if op == "lgamma" else k + 1
        sign = (-1) ** order
        less, base = Fraction(0), a
        while base > 1:  # zeta(k, a) = zeta(k, a - 1) - (a - 1)**-k
            base -= 1
            less += base**-order
            if base.denominator > 64 or a > 20:
                raise NotKnownError(f"{op} at this point")
        found = Sum(canon(zeta(order, base))) - rational(less)
        return found * sign / k if op == "lgamma" else found * sign

    def two_over_root_pi(self) -> Any:
        return Sum(canon(div(const(2), make("sqrt", PI))))


def _atoms(value: Sum) -> list[Term]:
    return list(dict.fromkeys(a for m in value.poly for a, _ in m))


def _primes(value: Fraction) -> list[tuple[int, int]]:
    """The factors of a positive rational, those of the denominator with negative powers."""
    out: list[tuple[int, int]] = []
    for whole, sign in ((value.numerator, 1), (value.denominator, -1)):
        if whole.bit_length() > 80:
            raise NotKnownError("a constant that is too long to factor")
        out += [(int(p), int(e) * sign) for p, e in fmpz(whole).factor()]
    return out


class BallConstants(Constants):
    """The same in balls."""

    def leaf(self, term: Term) -> Any:
        if is_const(term):
            return rational(number(term))
        if term.op != "pi":
            raise NotKnownError("another argument")
        return arb.pi()

    def vanishes(self, value: Any) -> bool:
        return isinstance(value, fmpq) and bool(value == 0)

    def power(self, value: Any, exponent: Fraction) -> Any:
        return arb(value) ** arb(rational(exponent)) if exponent.denominator != 1 else arb(value) ** int(exponent)

    def function(self, op: str, value: Any) -> Any:
        if isinstance(value, fmpq) and value == 0 and op in terms.AT_ZERO:
            return rational(number(terms.AT_ZERO[op]))
        found = getattr(arb(value), op)()
        if not found.is_finite():
            raise NotKnownError(f"{op} at this point")
        return found

    def gamma(self, op: str, value: Any, k: int) -> Any:
        a = arb(value)
        if not a > 0:
            raise NotKnownError(f"{op} at this point")
        if op == "lgamma" and k <= 1:
            return a.lgamma() if k == 0 else a.digamma()
        if op == "digamma" and k == 0:
            return a.digamma()
        order = k if op == "lgamma" else k + 1
        found = arb(order).zeta(a) * (-1) ** order
        return found / k if op == "lgamma" else found

    def two_over_root_pi(self) -> Any:
        return 2 / arb.pi().sqrt()
