"""The words around the formulas: quantities, domains, evidence, errors, conventions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lossmith.derivations.derivation import Evidence, Measurement, Order, Step
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, walk
from lossmith.derivations.typeset import numbers
from lossmith.derivations.typeset.chain import Chain
from lossmith.derivations.verdicts import sentence

# What the notation abbreviates, said once on a page: operation -> (text, LaTeX), in this order.
CONVENTIONS: dict[str, tuple[str, str]] = {
    "sigmoid": ("s(x) = 1/(1 + exp(-x))", r"$\sigma(x) = \frac{1}{1 + e^{-x}}$"),
    "softplus": ("sp(x) = log(1 + exp(x))", r"$\operatorname{sp}(x) = \log(1 + e^{x})$"),
    "logaddexp": ("logaddexp(a, b) = log(exp(a) + exp(b))",
                  r"$\operatorname{logaddexp}(a, b) = \log(e^{a} + e^{b})$"),
    "lse": ("lse_k(a_k, b) = log(sum_k exp(a_k) + exp(b))",
            r"$\operatorname{lse}_{k}(a_k, b) = \log\left(\sum_{k} e^{a_k} + e^{b}\right)$"),
    "rest": ("k* is one class that attains the maximum", r"$k^*$ is one class that attains the maximum"),
    "log1p": ("log1p(u) = log(1 + u)", r"$\operatorname{log1p}(u) = \log(1 + u)$"),
    "expm1": ("expm1(u) = exp(u) - 1", r"$\operatorname{expm1}(u) = e^{u} - 1$"),
    "log1pmx": ("log1pmx(u) = log(1 + u) - u", r"$\operatorname{log1pmx}(u) = \log(1 + u) - u$"),
    "expm1mx": ("expm1mx(u) = exp(u) - 1 - u", r"$\operatorname{expm1mx}(u) = e^{u} - 1 - u$"),
    "binet": ("binet(a) = lgamma(a) - (a - 1/2) log(a) + a - log(2 pi)/2",
              r"$\mu(a) = \operatorname{lgamma}(a) - (a - \frac12)\log a + a - \frac12\log 2\pi$"),
    "binet_slope": ("binet_slope(a) = log(a) - digamma(a) - 1/(2 a)",
                    r"$\mu'(a) = \log a - \psi(a) - \frac{1}{2a}$"),
    "binet_gap": ("binet_gap(a, b) = binet(a + b) - binet(a)", r"$\Delta\mu(a, b) = \mu(a + b) - \mu(a)$"),
    "lgamma1p": ("lgamma1p(a) = lgamma(1 + a)", r"$\operatorname{lgamma1p}(a) = \operatorname{lgamma}(1 + a)$"),
    "erfcx_rest": ("erfcx_rest(a) = 1/sqrt(pi) - a erfcx(a)",
                   r"$\operatorname{erfcx}^{*}(a) = \frac{1}{\sqrt{\pi}} - a\operatorname{erfcx}(a)$"),
    "clip": ("clip(a, b, c) holds a between b and c",
             r"$\operatorname{clip}(a, b, c)$ holds $a$ between $b$ and $c$"),
    "clip_through": ("clip'(a, b, c) is clip with the derivative 1",
                     r"$\operatorname{clip}'(a, b, c)$ is clip with the derivative 1"),
    "exp2": ("exp2(a) = 2^a", r"$\operatorname{exp2}(a) = 2^{a}$"),
    "erfcx": ("erfcx(a) = exp(a^2) erfc(a)", r"$\operatorname{erfcx}(a) = e^{a^{2}} \operatorname{erfc}(a)$"),
    "gamma": ("Gamma is the gamma function", r"$\Gamma$ is the gamma function"),
    "lgamma": ("lgamma(a) = log |Gamma(a)|", r"$\operatorname{lgamma}(a) = \log|\Gamma(a)|$"),
    "onehot": ("[k = y] is 1 where k = y, else 0", r"$[k = y]$ is 1 where $k = y$, else 0"),
    "absorb": ("a product with a factor 0 is 0, even if the other factor is infinite",
               r"a product with a factor 0 is 0, even if the other factor is infinite: $0 \cdot \infty = 0$"),
    "xlogy": ("0 log 0 = 0", r"$0 \log 0 = 0$"),
    "gap": ("the difference of two equal infinities is 0",
            r"the difference of two equal infinities is 0: $\infty - \infty = 0$"),
}


def conventions(terms: Iterable[Term]) -> list[tuple[str, str]]:
    """Those conventions that a reader of the terms needs, as (plain text, LaTeX text)."""
    used = {t.op for t in walk(*terms)}
    if "binet_gap" in used:
        used.add("binet")
    if "exp_diff" in used:
        used.add("gap")
    return [both for op, both in CONVENTIONS.items() if op in used]


DOMAINS = {
    "real": "real", "extended": "real or infinite", "nonzero": "real, not 0",
    "simplex": "a distribution over the classes", "index": "a class index",
}


def is_row(name: str, arguments: Sequence[Argument]) -> bool:
    return any(a.name == name and a.axis == "class" for a in arguments)


def quantity_words(order: Order) -> str:
    """The quantity in words: `loss`, `gradient by x`, `second derivative by x and z`."""
    if not order:
        return "loss"
    if len(order) == 1:
        return f"gradient by {order[0]}"
    if order[1] == "tangent":
        return f"Hessian-vector product by {order[0]}"
    return f"second derivative by {' and '.join(dict.fromkeys(order))}"


def relations(chain: object) -> tuple[Term, ...]:
    """What holds between the arguments; an identity has none."""
    found: tuple[Term, ...] = getattr(chain, "given", ())
    return found


def domain_words(argument: Argument) -> str:
    """What is known of an argument, as a sentence would say it: `real or infinite`, `in [0, 1]`."""
    text = str(argument.domain)
    values = argument.domain.values
    if argument.domain.unit_sum:
        return DOMAINS["simplex"] + ("" if argument.domain.low_closed else ", none of them 0")
    return DOMAINS.get(text) or (f"= {values[0]}" if len(values) == 1 else f"in {text}")


def error_words(error: Measurement | None) -> str:
    """`2.9 ulp at x = 0.71 (float32)`; empty if nothing was measured."""
    if error is None:
        return ""
    where = f" at {numbers.shortened(error.where)}" if error.where else ""
    return f"{numbers.ulps(error.ulp)} ulp{where} ({error.dtype})"


def evidence_words(evidence: Iterable[Evidence]) -> str:
    """Why one step is true: `proved (case split x > 0, x < 0); enclosed at 200 points`."""
    parts = []
    for e in evidence:
        if e.kind == "proved":
            parts.append(f"proved ({e.method})" if e.method else "proved")
        else:
            parts.append(f"enclosed at {points(e.points)}")
    return "; ".join(dict.fromkeys(parts)) or "no evidence"


def points(number: int) -> str:
    return "1 point" if number == 1 else f"{number:,} points"


def _proved(step: Step) -> bool:
    return any(e.kind == "proved" for e in step.evidence)


def summary(chain: Chain) -> list[str]:
    """The last lines of a derivation: how it is known to be true, and what remains."""
    out = []
    if chain.steps:
        out.append(_steps_summary(chain.steps))
    ends = [e for e in chain.end_to_end if e.kind == "enclosed"]
    if ends:
        out.append(f"from end to end: enclosed at {points(sum(e.points for e in ends))}")
    form = chain.form
    if form is not None and not chain.steps:
        out.append("the definition is computed as it stands")
    if form is not None and (said := sentence(form)):
        out.append(said)
    if form is not None and form.remaining:
        out.append(f"what remains: {form.remaining}")
    return out


def _steps_summary(steps: Sequence[Step]) -> str:
    proved = [s for s in steps if _proved(s)]
    methods = list(dict.fromkeys(e.method for s in proved for e in s.evidence if e.kind == "proved" and e.method))
    how = f" ({'; '.join(methods)})" if methods else ""
    if len(proved) == len(steps):
        first = "the step is proved" if len(steps) == 1 else "every step proved"
        text = first + how
    elif proved:
        text = f"{len(proved)} of {len(steps)} steps proved{how}"
    else:
        text = "no step proved symbolically"
    enclosed = [e.points for s in steps for e in s.evidence if e.kind == "enclosed"]
    if enclosed:
        least = min(enclosed)
        each = "" if len(steps) == 1 else " each" if len(set(enclosed)) == 1 else " each or more"
        text += f"; {'' if len(enclosed) >= len(steps) else f'{len(enclosed)} '}enclosed at {points(least)}{each}"
    bare = [str(n) for n, s in enumerate(steps, 1) if not s.evidence]
    return text + (f"; no evidence for step {', '.join(bare)}" if bare else "")
