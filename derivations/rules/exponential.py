"""Exponentials and logarithms: products to sums, and expm1 and log1p where a difference would cancel."""

from lossmith.derivations.rules.base import family, rule

MOVE = "move between products and sums of exponents"
MOVE_TEX = r"e^{a} e^{b} = e^{a+b}"
LOGS = "the logarithm of a product is the sum of the logarithms"
LOGS_TEX = r"\log(ab) = \log a + \log b"
NEAR_ZERO = "e^a - 1 cancels near a = 0; expm1 does not"
NEAR_ZERO_TEX = r"e^{a}-1 \text{ cancels as } a \to 0"
NEAR_ONE = "forming 1 + a rounds away the digits of a; log1p keeps them"
NEAR_ONE_TEX = r"1+a \text{ loses the digits of a small } a"

RULES = family(
    "exponential",
    rule("exp-product", "exp(a)*exp(b)", "exp([a + b])", words=MOVE, because=MOVE_TEX),
    rule("exp-quotient", "exp(a)/exp(b)", "exp([a - b])", words=MOVE, because=r"e^{a}/e^{b} = e^{a-b}"),
    rule("over-exp", "a/exp(b)", "a*exp([-b])", words="dividing by e^b is multiplying by e^-b", because=r"1/e^{b} = e^{-b}"),
    rule("exp-power", "exp(a)**n", "exp([n*a])", words="a power of an exponential is an exponential",
         because=r"(e^{a})^{n} = e^{na}"),
    rule("exp-root", "sqrt(exp(a))", "exp([a/2])", words="a root of an exponential is an exponential",
         because=r"\sqrt{e^{a}} = e^{a/2}"),
    rule("exp-of-sum", "exp(a + b)", "exp(a)*exp(b)", words=MOVE, because=MOVE_TEX),
    rule("exp-of-log", "exp(log(a))", "a", "a > 0", words="exp undoes log", because=r"e^{\log a} = a"),
    rule("exp-scaled-log", "exp(b*log(a))", "a**b", "a > 0", words="e^(b log a) is a power", because=r"e^{b \log a} = a^{b}"),
    rule("log-of-exp", "log(exp(a))", "a", words="log undoes exp", because=r"\log e^{a} = a"),
    rule("log-product", "log(a*b)", "log(a) + log(b)", "a > 0, b > 0", words=LOGS, because=LOGS_TEX),
    rule("log-quotient", "log(a/b)", "log(a) - log(b)", "a > 0, b > 0", words="the logarithm of a quotient is a difference",
         because=r"\log(a/b) = \log a - \log b"),
    rule("log-reciprocal", "log(1/a)", "-log(a)", "a > 0", words="the logarithm of 1/a is -log a", because=r"\log(1/a) = -\log a"),
    rule("log-difference", "log(a) - log(b)", "log([a/b])", "a > 0, b > 0", words="a difference of logarithms is one logarithm",
         because=r"\log a - \log b = \log(a/b)"),
    rule("log-sum", "log(a) + log(b)", "log([a*b])", "a > 0, b > 0", words="a sum of logarithms is one logarithm", because=LOGS_TEX),
    rule("log-power", "log(a**b)", "b*log(a)", "a > 0", words="a power comes out of the logarithm", because=r"\log a^{b} = b \log a"),
    rule("log-square", "log(a**2)", "2*log(abs(a))", "a != 0", words="a square comes out of the logarithm",
         because=r"\log a^{2} = 2 \log|a|"),
    rule("log-root", "log(sqrt(a))", "log(a)/2", "a > 0", words="a root comes out of the logarithm",
         because=r"\log \sqrt{a} = \tfrac12 \log a"),
    rule("log1p", "log(1 + a)", "log1p(a)", "a > -1", words=NEAR_ONE, because=NEAR_ONE_TEX),
    rule("log1p-negative", "log(1 - a)", "log1p([-a])", "a < 1", words=NEAR_ONE, because=NEAR_ONE_TEX),
    rule("log-through-one", "log(a/b)", "log1p([a - b]/b)", "a > 0, b > 0", words="near a = b the quotient rounds to 1; the difference is exact",
         because=r"a/b \to 1 \text{ loses } a-b"),
    rule("log-difference-through-one", "log(a) - log(b)", "log1p([a - b]/b)", "a > 0, b > 0",
         words="near a = b the logarithms cancel; the difference of a and b is exact", because=r"\log a - \log b \text{ cancels as } a \to b"),
    rule("log1p-difference", "log1p(a) - log1p(b)", "log1p([a - b]/(1 + b))", "a > -1, b > -1",
         words="near a = b the logarithms cancel", because=r"\frac{1+a}{1+b} = 1 + \frac{a-b}{1+b}"),
    rule("log1p-large", "log1p(a)", "log(a) + log1p(1/a)", "a > 0", words="a may overflow where log a does not",
         because=r"1+a = a\,(1 + 1/a)"),
    rule("log-of-square-plus-one", "log1p(a**2)", "2*log(abs(a)) + log1p((1/a)**2)", "a != 0",
         words="the square may overflow where its logarithm does not", because=r"1+a^2 = a^2 (1 + a^{-2})"),
    rule("log1p-undone", "log1p(a)", "log([1 + a])", "a > -1", words="log1p(a) is log(1 + a)", because=r"\operatorname{log1p} a = \log(1+a)"),
    rule("expm1", "exp(a) - 1", "expm1(a)", words=NEAR_ZERO, because=NEAR_ZERO_TEX),
    rule("exp-difference", "exp(a) - exp(b)", "exp(b)*expm1([a - b])", words="near a = b the exponentials cancel",
         because=r"e^{a}-e^{b} = e^{b}(e^{a-b}-1)"),
    rule("scaled-exp-difference", "c*exp(a) - c*exp(b)", "c*exp(b)*expm1([a - b])", words="near a = b the exponentials cancel",
         because=r"e^{a}-e^{b} = e^{b}(e^{a-b}-1)"),
    rule("expm1-plus-one", "expm1(a) + 1", "exp(a)", words="expm1(a) + 1 is e^a", because=r"(e^{a}-1)+1 = e^{a}"),
    rule("expm1-over-exp", "expm1(a)/exp(a)", "-expm1([-a])", words="turn the exponent's sign", because=r"(e^{a}-1)/e^{a} = -(e^{-a}-1)"),
    rule("exp-times-expm1", "exp(a)*expm1(-a)", "-expm1(a)", words="turn the exponent's sign", because=r"e^{a}(e^{-a}-1) = -(e^{a}-1)"),
    rule("expm1-second", "expm1(a) - a", "expm1mx(a)", words="the first two terms of the series cancel near a = 0",
         because=r"e^{a}-1-a = \tfrac{a^2}{2} + \cdots"),
    rule("exp-second", "exp(a) - 1 - a", "expm1mx(a)", words="the first two terms of the series cancel near a = 0",
         because=r"e^{a}-1-a = \tfrac{a^2}{2} + \cdots"),
    rule("exp-of-difference", "exp(a - b)", "exp_diff(a, b)", words="put the rounding error of a - b back after the exponential",
         because=r"e^{a-b} \text{ amplifies the rounding of } a-b"),
    rule("halved-exponent", "b*exp(a)", "(b*exp([a/2]))*exp([a/2])", words="e^a may be subnormal where the product is not",
         because=r"e^{a} = e^{a/2} e^{a/2}"),
    rule("log-one-minus-exp", "log(1 - exp(a))", "where(a > -1, log(-expm1(a)), log1p(-exp(a)))", "a < 0",
         words="1 - e^a cancels near a = 0, and e^a vanishes beside 1 far below", because=r"1-e^{a} \text{ cancels as } a \to 0"),
    rule("log1p-minus-exp", "log1p(-exp(a))", "where(a > -1, log(-expm1(a)), log1p(-exp(a)))", "a < 0",
         words="1 - e^a cancels near a = 0, and e^a vanishes beside 1 far below", because=r"1-e^{a} \text{ cancels as } a \to 0"),
    rule("log-exp-minus-one", "log(exp(a) - 1)", "a + log(-expm1(-a))", "a > 0", words="take e^a out before it overflows",
         because=r"e^{a}-1 = e^{a}(1-e^{-a})"),
    rule("log-expm1", "log(expm1(a))", "a + log(-expm1(-a))", "a > 0", words="take e^a out before it overflows",
         because=r"e^{a}-1 = e^{a}(1-e^{-a})"),
    rule("log-exp-difference", "log(exp(a) - exp(b))", "a + log(-expm1([b - a]))", "a > b",
         words="take the larger exponential out", because=r"e^{a}-e^{b} = e^{a}(1-e^{b-a})"),
)
