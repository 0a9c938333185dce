"""The smooth functions of which special.py holds polynomials, as balls: definitions, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from flint import arb
from lossmith.derivations.anchored import Ball, erfcx_ball, erfcx_rest_ball, expm1mx_ball


def erfcx_scaled(t: Ball) -> Ball:
    """(x + 1/2) erfcx(x), x = 4 (1 + t) / (1 - t)."""
    x = (4 * (1 + t) / (1 - t)).mid()
    return (x + arb(0.5)) * erfcx_ball(x)


def erf_ratio(z: Ball) -> Ball:
    """erf(x) / x, x^2 = z."""
    x = z.mid().sqrt()
    return x.erf() / x


def reciprocal_gamma_slope(r: Ball) -> Ball:
    """(1 / gamma(1 + r) - 1) / r."""
    r = r.mid()
    return ((1 + r).rgamma() - 1) / r


def lgamma_slope(whole: int) -> Callable[[Ball], Ball]:
    """lgamma(whole + r) / r, whole 1 or 2."""
    return lambda r: (whole + r.mid()).lgamma() / r.mid()


def binet(u: Ball) -> Ball:
    """What Stirling's formula leaves of lgamma(1 / u), over u."""
    x = 1 / u.mid()
    return (x.lgamma() - (x - arb(0.5)) * x.log() + x - (2 * arb.pi()).log() / 2) / u.mid()


def digamma_tail(u: Ball) -> Ball:
    """(digamma(x) - log(x)) x, x = 1 / u."""
    x = 1 / u.mid()
    return (x.digamma() - x.log()) * x


def binet_slope_scaled(u: Ball) -> Ball:
    """(log(x) - digamma(x) - 1 / (2 x)) x^2, x = 1 / u."""
    x = 1 / u.mid()
    return (x.log() - x.digamma() - u.mid() / 2) * x**2


def lgamma_beside(x: Ball) -> Ball:
    """What Stirling's rest is at x beside -(x + 1/2) log(x): smooth at 0."""
    x = x.mid()
    return (1 + x).lgamma() + x - (2 * arb.pi()).log() / 2


def digamma_beside(x: Ball) -> Ball:
    """-digamma(1 + x)."""
    return -(1 + x.mid()).digamma()


def erfcx_rest_scaled(t: Ball) -> Ball:
    """(x + 1)^2 (1 / sqrt(pi) - x erfcx(x)), x = 4 (1 + t) / (1 - t)."""
    x = (4 * (1 + t) / (1 - t)).mid()
    return (x + 1) ** 2 * erfcx_rest_ball(x)


def atanh_rest(z: Ball) -> Ball:
    """(atanh(s) / s - 1) / z, s^2 = z."""
    s = z.mid().sqrt()
    return (s.atanh() / s - 1) / z.mid()


def expm1mx_ratio(a: Ball) -> Ball:
    """(exp(a) - 1 - a) / a^2."""
    return expm1mx_ball(a.mid()) / a.mid() ** 2


def atanh_tail(z: Ball) -> Ball:
    """((atanh(s) / s - 1) / z - 1/3) / z, s^2 = z: what follows the first two terms of the series of log."""
    s = z.mid().sqrt()
    return ((s.atanh() / s - 1) / z.mid() - arb(1) / 3) / z.mid()


@cache
def digamma_root() -> Ball:
    """The positive zero of digamma, by Newton's method."""
    x = arb(1.5)
    for _ in range(10):
        x = (x - x.digamma() / arb(2).zeta(x)).mid()
    return x


def digamma_ratio(x: Ball) -> Ball:
    """digamma(x) over the way from its zero."""
    return x.mid().digamma() / (x.mid() - digamma_root())
