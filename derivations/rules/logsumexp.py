"""Log-sum-exp of two terms, and quotients scaled so that no exponential overflows."""

from lossmith.derivations.rules.base import family, rule

OUT = "take the larger exponential out of the logarithm"

RULES = family(
    "logsumexp",
    rule("logaddexp", "log(exp(a) + exp(b))", "logaddexp(a, b)",
         words="this is log-sum-exp", because=r"\log(e^{a}+e^{b}) = \mathrm{lse}(a,b)"),
    rule("logaddexp-less", "logaddexp(a, b) - a", "softplus([b - a])",
         words="log-sum-exp less one of its terms is a softplus",
         because=r"\mathrm{lse}(a,b)-a = \log(1+e^{b-a})"),
    rule("logaddexp-softplus", "logaddexp(a, b)", "a + softplus([b - a])",
         words="take one exponential out of the logarithm",
         because=r"\mathrm{lse}(a,b) = a+\log(1+e^{b-a})"),
    rule("logaddexp-by-order", "logaddexp(a, b)", "max(a, b) + log1p(exp(-abs(gap(a, b))))", words=OUT,
         because=r"e^{a}+e^{b} = e^{\max(a,b)}(1+e^{-|a-b|})"),
    rule("log-number-plus-exp", "log(n + exp(a))", "logaddexp(a, log(n))", "n > 0",
         words="a number is the exponential of its logarithm",
         because=r"n = e^{\log n}"),
    rule("log-sum-by-first", "log(a + b)", "log(a) + log1p(b/a)", "a > 0, b > 0",
         words="take one term out of the logarithm",
         because=r"a+b = a(1+b/a)"),
    rule("log-exp-plus", "log(exp(a) + b)", "a + log1p(b*exp([-a]))", "b > 0",
         words="take the exponential out of the logarithm",
         because=r"e^{a}+b = e^{a}(1+b e^{-a})"),
    rule("ratio-flipped", "a/(a + b)", "1/(1 + [b/a])", "a > 0, b > 0",
         words="divide both sides of the fraction by a term", because=r"\frac{a}{a+b} = \frac{1}{1+b/a}"),
    rule("divided-by-term", "c/(a + b)", "[c/a]/(1 + [b/a])", "a != 0",
         words="divide both sides of the fraction by a term",
         because=r"\frac{c}{a+b} = \frac{c/a}{1+b/a}"),
    rule("exp-over", "exp(a)/b", "1/[b*exp(-a)]", "b > 0",
         words="divide both sides of the fraction by the exponential", because=r"\frac{e^{a}}{b} = \frac{1}{b e^{-a}}"),
)
