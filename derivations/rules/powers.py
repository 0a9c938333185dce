"""Powers with any exponent: in log space, and their differences from one."""

from lossmith.derivations.rules.base import family, rule

RULES = family(
    "powers",
    rule("power-in-log-space", "a**b", "exp(b*log(a))", "a > 0",
         words="a power is the exponential of a logarithm", because=r"a^b=e^{b\log a}"),
    rule("power-of-one-plus", "(1 + a)**b", "exp(b*log1p(a))", "a > -1",
         words="near a = 0 the base rounds to 1", because=r"(1+a)^b=e^{b\log(1+a)}"),
    rule("power-less-one", "a**b - 1", "expm1(b*log(a))", "a > 0",
         words="near a power of 1 the difference cancels", because=r"a^b-1=\operatorname{expm1}(b\log a)"),
    rule("power-difference", "a**c - b**c", "b**c*expm1(c*log(a/b))", "a > 0, b > 0",
         words="near a = b the powers cancel", because=r"a^c-b^c=b^c\operatorname{expm1}(c\log\tfrac ab)"),
    rule("base-less-power", "a - a**b", "-a*expm1([b - 1]*log(a))", "a > 0",
         words="near an exponent of 1 the difference cancels",
         because=r"a-a^b=-a\operatorname{expm1}((b-1)\log a)"),
    rule("power-product", "a**c*b**c", "[a*b]**c", "a > 0, b > 0",
         words="one power instead of two", because=r"a^cb^c=(ab)^c"),
    rule("power-quotient", "a**c/b**c", "[a/b]**c", "a > 0, b > 0",
         words="one power instead of two", because=r"a^c/b^c=(a/b)^c"),
    rule("power-split", "(a*b)**c", "a**c*b**c", "a > 0, b > 0",
         words="the power of each factor", because=r"(ab)^c=a^cb^c"),
    rule("power-sum", "a**b*a**c", "a**[b + c]", "a > 0", words="exponents of one base add", because=r"a^ba^c=a^{b+c}"),
    rule("power-and-base", "a*a**b", "a**[b + 1]", "a > 0",
         words="exponents of one base add", because=r"a\,a^b=a^{b+1}"),
    rule("power-over-base", "a**b/a", "a**[b - 1]", "a > 0",
         words="exponents of one base subtract", because=r"a^b/a=a^{b-1}"),
    rule("negative-power", "a**-b", "1/a**b", "a > 0, b > 0",
         words="a negative exponent divides", because=r"a^{-b}=1/a^b"),
    rule("reciprocal-power", "1/a**b", "a**[-b]", "a > 0",
         words="a divisor is a negative exponent", because=r"1/a^b=a^{-b}"),
)
