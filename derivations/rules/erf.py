"""Error functions and the normal distribution: complements, tails in log space, and the ratio of density to tail."""

from lossmith.derivations.rules.base import family, rule

COMPLEMENT = "the complement has a function of its own"
TAIL = "the tail vanishes like a Gaussian; erfcx is what is left"
TAIL_TEX = r"\operatorname{erfc}a = e^{-a^2}\operatorname{erfcx}a"

RULES = family(
    "erf",
    rule("erfc", "1 - erf(a)", "erfc(a)",
         words=COMPLEMENT, because=r"1-\operatorname{erf}a=\operatorname{erfc}a"),
    rule("erfc-negative", "1 + erf(a)", "erfc(-a)",
         words=COMPLEMENT, because=r"1+\operatorname{erf}a=\operatorname{erfc}(-a)"),
    rule("erf-from-erfc", "1 - erfc(a)", "erf(a)",
         words="the complement of the complement", because=r"1-\operatorname{erfc}a=\operatorname{erf}a"),
    rule("two-less-erfc", "2 - erfc(a)", "erfc(-a)",
         words="the tail on the other side", because=r"2-\operatorname{erfc}a=\operatorname{erfc}(-a)"),
    rule("erf-difference-right", "erf(a) - erf(b)", "erfc(b) - erfc(a)",
         words="far to the right both are 1; their tails still differ",
         because=r"\operatorname{erf}a-\operatorname{erf}b=\operatorname{erfc}b-\operatorname{erfc}a"),
    rule("erf-difference-left", "erf(a) - erf(b)", "erfc(-a) - erfc(-b)",
         words="far to the left both are -1; their tails still differ",
         because=r"\operatorname{erf}a-\operatorname{erf}b=\operatorname{erfc}(-a)-\operatorname{erfc}(-b)"),
    rule("log-erfc", "log(erfc(a))", "log(erfcx(a)) - a**2", words=TAIL, because=TAIL_TEX),
    rule("log-erfc-by-sign", "log(erfc(a))", "where(a > 1, log(erfcx(a)) - a**2, log1p(-erf(a)))",
         words="in the tail through erfcx, elsewhere through the part that is missing from 1",
         because=r"\operatorname{erfc}a = e^{-a^2}\operatorname{erfcx}a = 1-\operatorname{erf}a"),
    rule("log-erf", "log(erf(a))", "where(a > 1/2, log1p(-erfc(a)), log(erf(a)))",
         words="near 1 a logarithm needs what is missing from 1",
         because=r"\operatorname{erf}a=1-\operatorname{erfc}a"),
    rule("log-of-half-erfc", "log(erfc(a)/2)", "where(a > 0, log(erfcx(a)/2) - a**2, log1p(-erfc(-a)/2))",
         words="the logarithm of a normal distribution: its tail through erfcx, the rest from what 1 lacks",
         because=r"\tfrac12\operatorname{erfc}a = \tfrac12e^{-a^2}\operatorname{erfcx}a "
                 r"= 1-\tfrac12\operatorname{erfc}(-a)"),
    rule("exp-over-erfc", "exp(b)/erfc(a)", "exp([a**2 + b])/erfcx(a)",
         words=TAIL, because=TAIL_TEX),
    rule("erfc-times-exp", "erfc(a)*exp(b)", "erfcx(a)*exp([b - a**2])", words=TAIL, because=TAIL_TEX),
    rule("scaled-erfc", "erfc(a)", "erfcx(a)*exp(-a**2)", words=TAIL, because=TAIL_TEX),
    rule("scaled-erfc-undone", "erfcx(a)", "exp(a**2)*erfc(a)", words="what erfcx is",
         because=r"\operatorname{erfcx}a = e^{a^2}\operatorname{erfc}a"),
)
