"""Hyperbolic functions and the error function: complements, half arguments, and overflow."""

from lossmith.derivations.rules.base import family, rule

T = "from e^-|a|, which cannot overflow"

RULES = family(
    "hyperbolic",
    rule("cosh-less-one", "cosh(a) - 1", "2*sinh(a/2)**2", words="the half argument turns the difference into a square",
         because=r"\cosh a-1=2\sinh^2(a/2)"),
    rule("exp-pair-less-two", "exp(a) + exp(-a) - 2", "4*sinh(a/2)**2", words="the half argument turns the difference into a square",
         because=r"e^a+e^{-a}-2=4\sinh^2(a/2)"),
    rule("exp-pair", "exp(a) + exp(-a)", "2*cosh(a)", words="this is the hyperbolic cosine", because=r"e^a+e^{-a}=2\cosh a"),
    rule("exp-odd-pair", "exp(a) - exp(-a)", "2*sinh(a)", words="this is the hyperbolic sine", because=r"e^a-e^{-a}=2\sinh a"),
    rule("tanh-ratio", "sinh(a)/cosh(a)", "tanh(a)", words="this is the hyperbolic tangent", because=r"\sinh a/\cosh a=\tanh a"),
    rule("tanh-from-exp", "(exp(a) - 1)/(exp(a) + 1)", "tanh([a/2])", words="this is the hyperbolic tangent of half", because=r"\frac{e^a-1}{e^a+1}=\tanh(a/2)"),
    rule("log-cosh", "log(cosh(a))", "abs(a) + (log1p(exp(-2*abs(a))) - log(2))", words="take the larger exponential out before it overflows",
         because=r"\cosh a=\tfrac12 e^{|a|}(1+e^{-2|a|})"),
    rule("log-cosh-small", "log(cosh(a))", "log1p(2*sinh(a/2)**2)", words="near a = 0 the logarithm needs cosh a - 1, not cosh a",
         because=r"\cosh a=1+2\sinh^2(a/2)"),
    rule("softplus-to-log-cosh", "softplus(a) - log(2)", "a/2 + log(cosh(a/2))", words="softplus about its middle", because=r"\mathrm{sp}(a)=\tfrac a2+\log(2\cosh\tfrac a2)"),
    rule("softplus-of-double", "a + softplus(-2*a) - log(2)", "log(cosh(a))", words="softplus of the double argument is log cosh",
         because=r"a+\log(1+e^{-2a})-\log 2=\log\cosh a"),
    rule("one-less-tanh", "1 - tanh(a)", "2*sigmoid(-2*a)", words="the complement of tanh is a logistic function", because=r"1-\tanh a=2\sigma(-2a)"),
    rule("one-plus-tanh", "1 + tanh(a)", "2*sigmoid(2*a)", words="the complement of tanh is a logistic function", because=r"1+\tanh a=2\sigma(2a)"),
    rule("sech-square", "1 - tanh(a)**2", "4*(sigmoid(2*a)*sigmoid(-2*a))", words="the square's complement is the slope of tanh",
         because=r"1-\tanh^2 a=4\sigma(2a)\sigma(-2a)"),
    rule("over-cosh-square", "n/cosh(a)**2", "4*n*(sigmoid(2*a)*sigmoid(-2*a))", words=T, because=r"1/\cosh^2 a=4\sigma(2a)\sigma(-2a)"),
    rule("over-cosh", "n/cosh(a)", "2*n*(exp(-abs(a))/(1 + exp(-2*abs(a))))", words=T, because=r"1/\cosh a=\frac{2t}{1+t^2}"),
    rule("cosh-sinh-squares", "cosh(a)**2 - sinh(a)**2", "1", words="the hyperbolic identity", because=r"\cosh^2-\sinh^2=1"),
    rule("sinh-doubled", "sinh(a)*cosh(a)", "sinh(2*a)/2", words="the double argument", because=r"\sinh a\cosh a=\tfrac12\sinh 2a"),
    rule("arsinh", "log(a + sqrt(a**2 + 1))", "asinh(a)", words="this is the inverse hyperbolic sine", because=r"\log(a+\sqrt{a^2+1})=\operatorname{arsinh}a"),
    rule("arcosh", "log(a + sqrt(a**2 - 1))", "acosh(a)", "a >= 1", words="this is the inverse hyperbolic cosine",
         because=r"\log(a+\sqrt{a^2-1})=\operatorname{arcosh}a"),
    rule("artanh", "log1p(a) - log1p(-a)", "2*atanh(a)", "a > -1, a < 1", words="this is the inverse hyperbolic tangent",
         because=r"\log\frac{1+a}{1-a}=2\operatorname{artanh}a"),
    rule("artanh-ratio", "log((1 + a)/(1 - a))", "2*atanh(a)", "a > -1, a < 1", words="this is the inverse hyperbolic tangent",
         because=r"\log\frac{1+a}{1-a}=2\operatorname{artanh}a"),
    rule("erfc", "1 - erf(a)", "erfc(a)", words="the complement has a function of its own", because=r"1-\operatorname{erf}a=\operatorname{erfc}a"),
    rule("erfc-negative", "1 + erf(a)", "erfc(-a)", words="the complement has a function of its own", because=r"1+\operatorname{erf}a=\operatorname{erfc}(-a)"),
    rule("one-less-cos", "1 - cos(a)", "2*sin(a/2)**2", words="the half angle turns the difference into a square", because=r"1-\cos a=2\sin^2(a/2)"),
)
