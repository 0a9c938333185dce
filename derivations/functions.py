"""The functions that a formula may use beyond SymPy's own, each with its meaning and derivative.

They are opaque to SymPy on purpose: `sigmoid(x)` stays `sigmoid(x)`, so that a derivative of the
definition is short, and the rules, not SymPy, decide how it is computed.
"""

from __future__ import annotations

from typing import Any

import sympy as sp


class sigmoid(sp.Function):  # noqa: N801  (the field's name)
    """1 / (1 + exp(-x)); derivative s(x) s(-x)."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        x = self.args[0]
        return sigmoid(x) * sigmoid(-x)

    def meaning(self) -> Any:
        return 1 / (1 + sp.exp(-self.args[0]))


class softplus(sp.Function):  # noqa: N801
    """log(1 + exp(x)); derivative s(x)."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        return sigmoid(self.args[0])

    def meaning(self) -> Any:
        return sp.log(1 + sp.exp(self.args[0]))


class logaddexp(sp.Function):  # noqa: N801
    """log(exp(a) + exp(b))."""

    nargs = 2

    def meaning(self) -> Any:
        return sp.log(sp.exp(self.args[0]) + sp.exp(self.args[1]))


class xlogy(sp.Function):  # noqa: N801
    """a log(b), with 0 log 0 = 0."""

    nargs = 2

    def meaning(self) -> Any:
        return self.args[0] * sp.log(self.args[1])


class erfcx(sp.Function):  # noqa: N801
    """exp(x^2) erfc(x); derivative 2 x erfcx(x) - 2 / sqrt(pi)."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Any:
        x = self.args[0]
        return 2 * x * erfcx(x) - 2 / sp.sqrt(sp.pi)

    def meaning(self) -> Any:
        return sp.exp(self.args[0] ** 2) * sp.erfc(self.args[0])


class clip(sp.Function):  # noqa: N801
    """a held between low and high; derivative 1 inside (ends included), 0 outside."""

    nargs = 3

    def meaning(self) -> Any:
        a, low, high = self.args
        return sp.Min(sp.Max(a, low), high)


class clip_through(sp.Function):  # noqa: N801
    """The same value as clip; derivative 1 everywhere, so that a clipped example still learns."""

    nargs = 3

    def meaning(self) -> Any:
        a, low, high = self.args
        return sp.Min(sp.Max(a, low), high)
