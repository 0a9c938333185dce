"""Seeds: equal forms of a formula that are worth starting from, found by algebra rather than by search.

Recognition applies rules that only ever help (log of a logistic function is a softplus..) until
none fits. The normal forms bring a formula over one denominator with e^u, or the logistic
function of u, as one symbol. The decay form does so on either side of u = 0 with e^-|u|, which
cannot overflow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lossmith.derivations import terms
from lossmith.derivations.asymptotic import GAMMAS, TAILS, stirling_forms, tail_forms
from lossmith.derivations.grouping import grouped
from lossmith.derivations.match import Index, Rewrite, build, index, product, rewrites, summands
from lossmith.derivations.polynomial import (
    Quotient,
    TooLargeError,
    canon,
    factored,
    factors_of,
    in_powers,
    leading_sign,
    quotient,
    write,
    written,
)
from lossmith.derivations.rules import BY_NAME
from lossmith.derivations.shifts import shifted
from lossmith.derivations.terms import ONE, TWO, ZERO, Term, is_const, make, number, walk

RECOGNITIONS = (
    "log-of-exp", "exp-of-log", "logistic", "sigmoid-decay", "logistic-ratio", "logistic-slope", "logistic-numerator",
    "softmax-of-two", "complement", "log-sigmoid", "log-sigmoid-ratio", "log1p-sigmoid", "softplus-log", "softplus",
    "logaddexp",
    "logaddexp-less", "exp-minus-softplus", "exp-softplus", "exp-product", "exp-quotient", "softplus-reflected",
    "softplus-odd",
    "sigmoid-power", "logistic-variance", "one-less-tanh", "one-plus-tanh", "sech-square", "cancel-factor",
    "cancel-into", "log-of-exponentials", "log-exponentials-and-number", "log-of-exp-share",
    "log-of-weighted-exponentials", "log-of-weighted-exp", "log-over-exp",
    "logaddexp-of-three-less", "log-root", "exponential-divergence", "over-root",
    "over-root-power", "exp-over-erfc", "log-of-half-erfc",
    "log-erfc-by-sign", "erfc", "erfc-negative", "log-gamma", "log-gamma-step", "gamma-step", "atan-difference",
    "tan-less-sin", "tan-of-half", "cosecant-less-cotangent", "one-less-cos",
    "half-turn-less-atan", "half-turn-plus-atan", "atan2-difference", "atan-exp-less-quarter",
    "two-atan-exp-less-half", "log-arcosh-from-one", "arcosh-from-one", "haversine",
    "square-of-two-less-product", "complement-of-product", "log-rest-of-sigmoid-power",
    "expm1", "log1p", "log1p-negative", "sign-times-self", "sigmoid-less-reflected",
    "over-abs", "sign-of-positive", "sign-of-negative", "abs-positive", "numbers-cancel",
)
TOWARDS_ONE = ("log-through-one", "two-logarithms")
# Rules whose result is good wherever what they replace has a value, and better where that cancels or overflows.
STEADY = (
    "softplus-of-log-ratio", "half-perimeter-less-side", "root-of-product-of-four",
    "law-of-cosines", "quadratic-formula", "less-root-of-square-less", "log-sigmoid-difference-by-size",
    "log-sum-of-sigmoids-by-size",
    "halved-sum", "harmonic-sum", "over-reciprocals", "log-of-turn", "log-of-softplus", "tan-of-turn",
    "acos-near-one-by-size",
    "arsinh-of-reciprocal", "tanh-of-softplus",
    "two-divergences", "divergence-by-nearness", "itakura-saito-by-nearness", "itakura-saito-turned",
    "log-mixture-by-weight", "log-tilt", "log-tilt-from-other", "log2-of-powers",
    "log-mean-exp", "log-of-signed-exponentials", "log-sum-of-sigmoids", "exponential-divergence",
    "log-expm1-difference", "affinity-of-two", "means-apart",
    "weighted-means-apart",
    "sigmoid-ratio", "logistic-sums-ratio", "logistic-sum-times-sigmoid",
    "softplus-difference-by-nearness", "tanh-difference", "sigmoid-difference-by-order", "exp-difference-by-order",
    "log1p-difference-by-nearness", "log-ratio-anywhere", "log-difference-anywhere", "logaddexp-less-other",
    "root-of-hypotenuse-plus", "root-of-hypotenuse-less",
    "root-of-one-plus", "log-of-square-plus-one-by-size", "log-of-squares",
    "hypotenuse-with-one", "root-of-square-plus", "hypotenuse",
    "sin-difference", "cos-difference", "tan-difference", "cosh-difference-by-size", "sinh-difference-by-size",
    "two-less-third",
)
# Other ways to pair what is in a formula, before the steady rules look at it.
PAIRINGS = ("log-quotients-regrouped",)
_pairings = index([BY_NAME[n] for n in PAIRINGS])
_steady = [index([BY_NAME[n]]) for n in STEADY]
_recognitions = index([BY_NAME[n] for n in RECOGNITIONS])
_towards_one = index([BY_NAME[n] for n in TOWARDS_ONE])
DEGREE = 8  # the highest power of e^u that a normal form may hold


@dataclass(frozen=True)
class Seed:
    """One equal form: the named step that leads to it from `source`."""

    name: str
    words: str
    latex: str
    source: Term
    term: Term


def recognized(term: Term, allowed: Callable[[Rewrite], bool]) -> list[Rewrite]:
    """The chain of rewrites by rules that only ever help; `allowed` judges their side conditions."""
    return _chain(term, _recognitions, lambda r: r.after.size <= r.before.size + 2 and allowed(r), 24)


def towards_one(term: Term, allowed: Callable[[Rewrite], bool]) -> list[Rewrite]:
    """The chain that turns every logarithm of a quotient into one of 1 + a difference, linear parts apart."""
    return _chain(term, _towards_one, allowed, 6)


def steadied(term: Term, allowed: Callable[[Rewrite], bool]) -> list[Rewrite]:
    """The chain of rewrites whose results are good everywhere, the larger patterns first.

    No place is rewritten twice, and no rule works on what it made itself.
    """
    chain: list[Rewrite] = []
    done: set[int] = set()
    for rules in _steady:
        made: set[int] = set()
        for _ in range(4):
            step = next((r for r in rewrites(term, rules)
                         if r.source.id not in done | made and allowed(r)), None)
            if step is None:
                break
            done.add(step.source.id)
            made |= {t.id for t in walk(step.result)} - {t.id for t in walk(term)}
            chain.append(step)
            term = step.after
    return chain


def paired(term: Term, allowed: Callable[[Rewrite], bool]) -> list[Rewrite]:
    """The first regrouping that fits, if any."""
    return _chain(term, _pairings, allowed, 1)


def _chain(term: Term, rules: Index, allowed: Callable[[Rewrite], bool], most: int) -> list[Rewrite]:
    chain: list[Rewrite] = []
    for _ in range(most):
        step = next((r for r in rewrites(term, rules) if allowed(r)), None)
        if step is None:
            break
        chain.append(step)
        term = step.after
    return chain


def _mapped(term: Term, change: Callable[[Term], Term]) -> Term:
    """`change` applied to every node, arguments first."""
    done: dict[int, Term] = {}
    for t in walk(term):
        made = t if not t.args else build(t.op, *(done[a.id] for a in t.args))
        done[t.id] = change(made)
    return done[term.id]


def _exponential(t: Term) -> Term:
    """Logistic and hyperbolic functions through exp, leaving softplus and logarithms alone."""
    if not t.args:
        return t
    a = t.args[0]
    if t.op == "sigmoid":
        return terms.div(ONE, terms.add(ONE, make("exp", build("neg", a))))
    if t.op == "expm1":
        return terms.sub(make("exp", a), ONE)
    grown, decayed = make("exp", a), make("exp", build("neg", a))
    if t.op == "tanh":
        return terms.div(terms.sub(grown, decayed), terms.add(grown, decayed))
    if t.op in ("cosh", "sinh"):
        return terms.div(make("add" if t.op == "cosh" else "sub", grown, decayed), TWO)
    return t


def through_exp(term: Term) -> Term:
    """The term with its logistic and hyperbolic functions written through exp."""
    return _mapped(term, _exponential)


def _base(t: Term) -> tuple[Term, int] | None:
    """exp(k u) as (u, k)."""
    p = canon(t)
    if len(p) != 1:
        return None
    ((m, _),) = p.items()
    return (m[0][0].args[0], m[0][1]) if len(m) == 1 and m[0][0].op == "exp" else None


def _logistic(t: Term) -> Term:
    """exp(u) as s/(1 - s), s the logistic function of u."""
    if t.op != "exp":
        return t
    found = _base(t)
    if found is None:
        return t
    s = make("sigmoid", found[0])
    odds = terms.div(s, terms.sub(ONE, s))
    return terms.power(odds, terms.const(found[1]))


def _powers_of_roots(t: Term) -> Term:
    """sqrt(a)**n as a**(n/2), times the root where n is odd."""
    if t.op == "pow" and t.args[0].op == "sqrt" and is_const(t.args[1]) and number(t.args[1]).denominator == 1:
        a, n = t.args[0].args[0], int(number(t.args[1]))
        if n >= 2:
            return build("mul", terms.power(a, terms.const(n // 2)), t.args[0] if n % 2 else ONE)
    return t


def _hyperbolic(t: Term) -> Term:
    """exp(u) as (1 + t)/(1 - t), t the hyperbolic tangent of u/2: what is odd in u shows."""
    found = _base(t) if t.op == "exp" else None
    if found is None:
        return t
    half = make("tanh", build("div", found[0], TWO))
    return terms.power(terms.div(terms.add(ONE, half), terms.sub(ONE, half)), terms.const(found[1]))


def _sides(t: Term) -> Term:
    """1 + tanh(a) and 1 - tanh(a) as logistic functions."""
    if t.op in ("add", "sub") and ONE in t.args:
        other = t.args[1] if t.args[0] is ONE else t.args[0]
        if other.op == "tanh":
            half = other.args[0]
            u = half.args[0] if half.op == "div" and half.args[1] is TWO else build("mul", TWO, half)
            s = build("mul", TWO, make("sigmoid", u if t.op == "add" else build("neg", u)))
            return terms.neg(s) if t.op == "sub" and t.args[1] is ONE else s
    return t


def _abs_by_sign(term: Term) -> Term:
    """|u| as u sign(u), where the sign of u occurs too: what cancels for either sign shows."""
    signed = {t.args[0] for t in walk(term) if t.op == "sign"}
    return terms.replace(term, {t: terms.mul(make("sign", t.args[0]), t.args[0])
                                for t in walk(term) if t.op == "abs" and t.args[0] in signed})


def _whole_powers_apart(t: Term) -> Term:
    """a**(b + k) as a**b times a**k, k a whole number: powers that differ by that have one symbol."""
    if t.op != "pow" or is_const(t.args[1]):
        return t
    exponent = canon(t.args[1])
    k = exponent.get((), Fraction(0))
    if not k or k.denominator != 1:
        return t
    rest = terms.power(t.args[0], write({m: c for m, c in exponent.items() if m}))
    whole = terms.power(t.args[0], terms.const(abs(k)))
    return build("mul", rest, whole) if k > 0 else build("div", rest, whole)


def _complements(t: Term) -> Term:
    if t.op == "sub":
        for one, other, sign in ((t.args[0], t.args[1], 1), (t.args[1], t.args[0], -1)):
            if one is ONE and other.op == "sigmoid":
                s = make("sigmoid", build("neg", other.args[0]))
                return s if sign > 0 else terms.neg(s)
    return t


SYMBOLS: Mapping[str, tuple[Callable[[Term], Term], Callable[[Term], Term], str, str]] = {
    "": (lambda t: t, lambda t: t, "", ""),
    "exp": (lambda t: t, lambda t: t, ", e^u as one symbol", r"\text{ in } e^{u}"),
    "logistic": (_logistic, _complements, ", the logistic function as one symbol", r"\text{ in } \sigma(u)"),
    "tanh": (_hyperbolic, _sides, ", the hyperbolic tangent of u/2 as one symbol", r"\text{ in } \tanh(u/2)"),
}  # what is taken as one symbol: how it is put in, how it is written afterwards, in words and in LaTeX


def _decays(term: Term) -> list[Term]:
    """Exponentials of less an exponential, where those of the exponential itself do not occur: they may overflow."""
    found = list(dict.fromkeys(t for t in walk(term) if t.op == "exp"))
    bare = {t.args[0] for t in found}
    return [t for t in found if t.args[0].op == "neg" and t.args[0].args[0] not in bare
            and any(u.op == "exp" for u in walk(t.args[0]))]


def normal_forms(term: Term) -> Iterator[Seed]:
    """The formula over one denominator, factored: as it stands, in e^u, in the logistic function or tanh of u."""
    given = _mapped(_abs_by_sign(term), _whole_powers_apart)
    powers = list(dict.fromkeys(t for t in walk(given) if t.op == "pow" and not is_const(t.args[1])))
    for opaque in ([], *filter(None, (powers, _decays(given)))):
        bare = {t: terms.var(f"power'{i}") for i, t in enumerate(opaque)}
        back = {v: t for t, v in bare.items()}
        start = terms.replace(given, bare) if bare else _abs_by_sign(term)
        through = through_exp(start)
        kinds = [] if opaque is powers else ["", "exp"]
        if any(t.op == "exp" for t in walk(through)):
            kinds += ["logistic", "tanh"]
        for kind in kinds:
            into, after, what, tex = SYMBOLS[kind]
            try:
                found = factored(_mapped(through, into) if kind else start)
            except (TooLargeError, ZeroDivisionError, ValueError, AssertionError):
                continue
            found = _mapped(_mapped(found, after), _powers_of_roots)
            if bare:
                found = terms.replace(found, back)
            if found is term:
                continue
            yield Seed("common-denominator", f"bring everything over one denominator{what}, and factor",
                       r"\text{over one denominator}" + tex, term, found)


def _apart(term: Term) -> Term:
    """e^(u + v) as e^u e^v, where e^u and e^v occur on their own too."""
    alone = {t.args[0].id for t in walk(term) if t.op == "exp"}

    def change(t: Term) -> Term:
        parts = summands(t.args[0]) if t.op == "exp" else []
        if len(parts) < 2 or any(u.id not in alone for _, u in parts):
            return t
        return product((sign, make("exp", u)) for sign, u in parts)

    return _mapped(term, change)


def shifted_form(term: Term) -> Iterator[Seed]:
    """For a formula rational in several exponentials: each of them over the largest."""
    try:
        for found in shifted(quotient(_apart(through_exp(term)))):
            yield Seed("shift-by-largest", "every exponential over the largest of them, which cannot overflow",
                       r"e^{u} = e^{M} e^{u-M},\ M = \max u", term, found)
    except (TooLargeError, ZeroDivisionError, ValueError):
        return


def decay_form(term: Term) -> Iterator[Seed]:
    """For a formula rational in e^u for one u: both signs of u through e^-|u|."""
    try:
        q = quotient(through_exp(term))
    except (TooLargeError, ZeroDivisionError, ValueError):
        return
    places = [i for i, a in enumerate(q.atoms) if a.op == "exp"]
    if len(places) != 1 or q.top == 0:
        return
    place = places[0]
    u = q.atoms[place].args[0]
    decay = make("exp", terms.neg(make("abs", u)))
    sides = [_Side(q, place, decay, flipped) for flipped in (True, False)]
    if any(s.degree > DEGREE for s in sides):
        return
    (top1, bottom1), (top2, bottom2) = sides[0].quotient(), sides[1].quotient()
    positive = make("ge", u, ZERO)
    if bottom1 is bottom2:
        found = build("div", _choose(positive, top1, top2), bottom1)
    else:
        found = _choose(positive, build("div", top1, bottom1), build("div", top2, bottom2))
    if found is not term:
        yield Seed("decay", "on either side of zero, through e^-|u|, which cannot overflow",
                   r"t = e^{-|u|} \text{ on either side of } u = 0", term, found)


def _choose(condition: Term, yes: Term, no: Term) -> Term:
    if yes is no:
        return yes
    if yes.op == "neg" and no.op == "neg":
        return terms.neg(_choose(condition, yes.args[0], no.args[0]))
    return make("where", condition, yes, no)


@dataclass(frozen=True)
class _Side:
    """One side of u = 0. Flipped: u >= 0, where e^u is 1 / decay."""

    q: Quotient
    place: int
    decay: Term
    flipped: bool

    @property
    def degree(self) -> int:
        return max(int(p.degrees()[self.place]) for p in (self.q.top, self.q.bottom))

    def quotient(self) -> tuple[Term, Term]:
        top, top_power = self._side(self.q.top)
        bottom, bottom_power = self._side(self.q.bottom)
        power = top_power - bottom_power
        raised = terms.power(self.decay, terms.const(abs(power))) if power else ONE
        if power > 0:
            return build("mul", top, raised), bottom
        return top, build("mul", bottom, raised)

    def _side(self, p: Any) -> tuple[Term, int]:
        """The factors with e^u replaced, and the power of the decay taken out of them."""
        coefficient, found = factors_of(self.q, p)
        out, power = ONE, 0
        for f, e in found:
            factor, taken, negative = self._factor(f)
            power += taken * e
            if negative and e % 2:
                coefficient = -coefficient
            out = build("mul", out, build("mul", factor, factor) if e == 2 else terms.power(factor, terms.const(e)))
        out = build("mul", terms.const(abs(coefficient)), out)
        return (out if coefficient > 0 else build("neg", out)), power

    def _factor(self, f: Any) -> tuple[Term, int, bool]:
        """One factor in powers of the decay, the lowest power taken out; whether its sign was turned."""
        parts = in_powers(f, self.place)
        powers = {(-k if self.flipped else k): c for k, c in parts.items()}
        low = min(powers)
        negative = leading_sign(self.q, powers[low]) < 0
        total: Term = ZERO
        for k in sorted(powers):
            sign = leading_sign(self.q, powers[k])
            part = build("mul", written(self.q, powers[k] * sign), _power(self.decay, k - low))
            total = build("sub" if (sign < 0) != negative else "add", total, part)
        return total, low, negative


def _power(base: Term, k: int) -> Term:
    out = ONE
    for _ in range(k):
        out = terms.mul(out, base)
    return out


def asymptotic_form(term: Term) -> Iterator[Seed]:
    """For sums of log-gamma or error functions: through what their leading terms leave."""
    used = {t.op for t in walk(term)}
    ways: tuple[tuple[frozenset[str], Callable[[Term], Iterator[Term]], str, str], ...] = (
        (GAMMAS | {"gamma"}, stirling_forms, "gamma functions through Stirling's formula and its rest, logarithms of "
         "one weight as one", r"\log\Gamma(a) = (a-\tfrac12)\log a - a + \tfrac12\log 2\pi + \mu(a)"),
        (TAILS, tail_forms, "tails through erfcx, and what that lacks to its leading term",
         r"a\operatorname{erfcx}a = \tfrac{1}{\sqrt\pi} - \operatorname{erfcx}^{*}a"),
    )
    for functions, forms, words, latex in ways:
        if used & functions:
            with contextlib.suppress(TooLargeError, ZeroDivisionError, ValueError):
                for found in forms(term):
                    yield Seed("leading-terms", words, latex, term, found)


def seeds(term: Term) -> Iterator[Seed]:
    """Every seed of the term, each form once."""
    seen = {term.id}
    for make_seeds in (normal_forms, shifted_form, decay_form, asymptotic_form):
        for seed in make_seeds(term):
            if seed.term.id not in seen:
                seen.add(seed.term.id)
                yield seed
            for again in complements_form(seed) if make_seeds is normal_forms else ():
                if again.term.id not in seen:
                    seen.add(again.term.id)
                    yield again


def complements_form(seed: Seed) -> Iterator[Seed]:
    """What a normal form multiplied out, in pairs again."""
    for found in grouped(seed.term):
        yield Seed("complements-paired", f"{seed.words}; what differs by a factor in pairs",
                   rf"{seed.latex},\ M - M a = M\,(1-a)", seed.source, _mapped(found, _complements))


__all__ = ["Seed", "decay_form", "normal_forms", "recognized", "seeds", "through_exp", "write"]
