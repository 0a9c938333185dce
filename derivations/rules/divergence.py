"""Entropy and divergence: x log x at zero, and logarithms that cancel against their linear part."""

from lossmith.derivations.rules.base import family, rule

LINEAR = "near equality the logarithm cancels against its linear part"

RULES = family(
    "divergence",
    rule("log1p-second", "log1p(a) - a", "log1pmx(a)",
         words=LINEAR, because=r"\log(1+a)-a=-\tfrac{a^2}{2}+\cdots"),
    rule("log-second", "a - 1 - log(a)", "-log1pmx([a - 1])",
         words=LINEAR, because=r"\log(1+t)-t=-\tfrac{t^2}{2}+\cdots"),
    rule("two-logarithms", "a*log1p(b) + c*log1p(d)", "a*log1pmx(b) + c*log1pmx(d) + [a*b + c*d]",
         words="near equality the logarithms cancel against each other: their linear parts are added exactly",
         because=r"\log(1+t) = (\log(1+t)-t) + t"),
    rule("two-divergences", "a*log(b) + c*log(d)",
         "where(max(max(b, 1/b), max(d, 1/d)) < 4,"
         " -a*log1pmx([1/b - 1]) - c*log1pmx([1/d - 1]) + [a - a/b + c - c/d], a*log(b) + c*log(d))", "b > 0, d > 0",
         words="two divergences, neither negative: what separates them from the logarithms is linear and added exactly",
         because=r"a\log b = a\,(\log b-1+\tfrac1b) + (a-\tfrac ab)"),
    rule("divergence-term", "a*log(a/b) - a + b", "-a*log1pmx([b - a]/a)", "a > 0, b > 0", words=LINEAR,
         because=r"a\log\frac ab-a+b=-a\,(\log(1+t)-t),\ t=\tfrac{b-a}{a}"),
    rule("divergence-by-nearness", "a*log(a/b) - a + b",
         "where(max(a, b) < 4*min(a, b), -a*log1pmx([b - a]/a), a*log(a/b) - (a - b))", "a > 0, b > 0",
         words="near a = b without the linear part, elsewhere nothing cancels",
         because=r"a\log\frac ab-a+b=-a\,(\log(1+t)-t),\ t=\tfrac{b-a}{a}"),
    rule("divergence-from-one", "a*log(a) - a + 1", "-a*log1pmx([1 - a]/a)", "a > 0", words=LINEAR,
         because=r"a\log a-a+1=-a\,(\log(1+t)-t),\ t=\tfrac{1-a}{a}"),
    rule("itakura-saito", "a/b - log(a/b) - 1", "-log1pmx([a - b]/b)", "a > 0, b > 0", words=LINEAR,
         because=r"\tfrac ab-\log\tfrac ab-1=-(\log(1+t)-t),\ t=\tfrac{a-b}{b}"),
    rule("itakura-saito-by-nearness", "a/b - log(a/b) - 1",
         "where(max(a, b) < 4*min(a, b), -log1pmx([a - b]/b), [a - b]/b - log(a/b))", "a > 0, b > 0",
         words="near a = b without the linear part, elsewhere nothing cancels",
         because=r"\tfrac ab-\log\tfrac ab-1=-(\log(1+t)-t),\ t=\tfrac{a-b}{b}"),
    rule("itakura-saito-turned", "b/a + log(a/b) - 1",
         "where(max(a, b) < 4*min(a, b), -log1pmx([b - a]/a), [b - a]/a + log(a/b))", "a > 0, b > 0",
         words="near a = b without the linear part, elsewhere nothing cancels",
         because=r"\tfrac ba+\log\tfrac ab-1=-(\log(1+t)-t),\ t=\tfrac{b-a}{a}"),
    rule("exponential-divergence", "exp(b) - a*b - a + a*log(a)", "a*expm1mx(b - log(a))", "a > 0",
         words=LINEAR, because=r"e^{b}-ab-a+a\log a = a\,(e^{t}-1-t),\ t=b-\log a"),
    rule("log-ratio", "a*log(b) - a*log(c)", "a*log([b/c])",
         words="one logarithm instead of two", because=r"a\log b-a\log c=a\log\frac bc"),
    rule("zero-log-zero", "a*log(b)", "xlogy(a, b)", "b >= 0", words="0 log 0 is its limit, 0", because=r"0\log 0=0"),
    rule("xlogy", "xlogy(a, b)", "a*log(b)", "b > 0",
         words="away from zero this is a product", because=r"\mathrm{xlogy}(a,b)=a\log b"),
)
