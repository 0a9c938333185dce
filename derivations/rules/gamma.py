"""The gamma function: in log space, and differences whose arguments differ by a whole number."""

from lossmith.derivations.rules.base import family, rule

STEP = "the gamma function grows by its argument"
STEP_TEX = r"\Gamma(a+1) = a\,\Gamma(a)"

RULES = family(
    "gamma",
    rule("log-gamma", "log(gamma(a))", "lgamma(a)", "a > 0",
         words="gamma overflows where its logarithm does not", because=r"\log\Gamma(a)"),
    rule("exp-log-gamma", "exp(lgamma(a))", "gamma(a)", "a > 0",
         words="exp undoes the logarithm", because=r"e^{\log\Gamma(a)} = \Gamma(a)"),
    rule("gamma-quotient", "gamma(a)/gamma(b)", "exp(lgamma(a) - lgamma(b))", "a > 0, b > 0",
         words="the quotient in log space", because=r"\frac{\Gamma(a)}{\Gamma(b)} = e^{\log\Gamma(a)-\log\Gamma(b)}"),
    rule("gamma-step", "gamma(a + 1)/gamma(a)", "a", words=STEP, because=STEP_TEX),
    rule("gamma-step-by-number", "gamma(a + n)/gamma(a)", "[a + n - 1]*(gamma([a + n - 1])/gamma(a))",
         words=STEP, because=STEP_TEX),
    rule("log-gamma-step", "lgamma(a + 1) - lgamma(a)", "log(a)", "a > 0", words=STEP, because=STEP_TEX),
    rule("log-gamma-step-by-number", "lgamma(a + n) - lgamma(a)",
         "log([a + n - 1]) + (lgamma([a + n - 1]) - lgamma(a))", "a > 0, n >= 1", words=STEP, because=STEP_TEX),
    rule("log-gamma-down", "lgamma(a + 1)", "log(a) + lgamma(a)", "a > 0", words=STEP, because=STEP_TEX),
    rule("log-gamma-beside-one", "lgamma(a + 1)", "lgamma1p(a)",
         words="near a = 0 the sum would lose a", because=r"\log\Gamma(1+a)"),
    rule("log-gamma-up", "lgamma(a)", "lgamma([a + 1]) - log(a)", "a > 0", words=STEP, because=STEP_TEX),
    rule("digamma-step", "digamma(a + 1) - digamma(a)", "1/a", "a > 0",
         words="the derivative of the logarithm of a step", because=r"\psi(a+1)-\psi(a) = \tfrac1a"),
)
