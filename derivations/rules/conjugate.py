"""Conjugates and common denominators: differences that cancel, made into quotients that do not."""

from lossmith.derivations.rules.base import family, rule

CANCEL = "the difference cancels; over a common denominator it is formed exactly or not at all"

RULES = family(
    "conjugate",
    rule("root-difference", "sqrt(a) - sqrt(b)", "[a - b]/(sqrt(a) + sqrt(b))", "a > 0, b > 0", words="multiply by the conjugate",
         because=r"\sqrt a-\sqrt b = \frac{a-b}{\sqrt a+\sqrt b}"),
    rule("root-less", "sqrt(a) - b", "[a - b**2]/(sqrt(a) + b)", "a > 0, b > 0", words="multiply by the conjugate",
         because=r"\sqrt a - b = \frac{a-b^2}{\sqrt a+b}"),
    rule("root-plus", "sqrt(a) + b", "[a - b**2]/(sqrt(a) - b)", "a > 0, b < 0", words="multiply by the conjugate",
         because=r"\sqrt a + b = \frac{a-b^2}{\sqrt a-b}"),
    rule("root-of-one-plus", "sqrt(1 + a) - 1", "a/(sqrt(1 + a) + 1)", "a >= -1", words="multiply by the conjugate",
         because=r"\sqrt{1+a}-1 = \frac{a}{\sqrt{1+a}+1}"),
    rule("root-of-square-plus-square", "sqrt(a**2 + b**2) - b", "a*(a/(sqrt(a**2 + b**2) + b))", "b > 0", words="multiply by the conjugate, one factor at a time",
         because=r"\sqrt{a^2+b^2}-b = \frac{a^2}{\sqrt{a^2+b^2}+b}"),
    rule("root-of-square", "sqrt(a**2)", "abs(a)", words="the root of a square is the absolute value", because=r"\sqrt{a^2} = |a|"),
    rule("root-large", "sqrt(n + a**2)", "abs(a)*sqrt(1 + n/a**2)", "a != 0, n > 0", words="the square may overflow where its root does not",
         because=r"\sqrt{n+a^2} = |a|\sqrt{1+n/a^2}"),
    rule("root-product", "sqrt(a)*sqrt(b)", "sqrt([a*b])", "a >= 0, b >= 0", words="one root instead of two", because=r"\sqrt a\sqrt b=\sqrt{ab}"),
    rule("root-quotient", "sqrt(a/b)", "sqrt(a)/sqrt(b)", "a >= 0, b > 0", words="the root of a quotient", because=r"\sqrt{a/b} = \sqrt a/\sqrt b"),
    rule("over-root", "a/sqrt(a)", "sqrt(a)", "a > 0", words="a over its root is its root", because=r"a/\sqrt a = \sqrt a"),
    rule("reciprocal-difference", "1/a - 1/b", "[b - a]/(a*b)", "a != 0, b != 0", words=CANCEL, because=r"\frac1a-\frac1b=\frac{b-a}{ab}"),
    rule("quotient-difference", "a/b - c/d", "[a*d - c*b]/(b*d)", "b != 0, d != 0", words=CANCEL, because=r"\frac ab-\frac cd=\frac{ad-cb}{bd}"),
    rule("quotient-less", "a/b - c", "[a - c*b]/b", "b != 0", words=CANCEL, because=r"\frac ab - c=\frac{a-cb}{b}"),
    rule("quotient-plus", "a/b + c", "[a + c*b]/b", "b != 0", words="bring both over one denominator", because=r"\frac ab + c=\frac{a+cb}{b}"),
    rule("squares", "a**2 - b**2", "(a - b)*(a + b)", words="a difference of squares factors", because=r"a^2-b^2=(a-b)(a+b)"),
    rule("square-less-one", "a**2 - 1", "(a - 1)*(a + 1)", words="a difference of squares factors", because=r"a^2-1=(a-1)(a+1)"),
    rule("one-less-square", "1 - a**2", "(1 - a)*(1 + a)", words="a difference of squares factors", because=r"1-a^2=(1-a)(1+a)"),
    rule("square-of-quotient", "a**2/b**2", "(a/b)**2", "b != 0", words="divide before squaring, so that the square does not overflow",
         because=r"a^2/b^2=(a/b)^2"),
    rule("over-square", "a/b**2", "(a/b)/b", "b != 0", words="divide twice rather than by a square that may overflow",
         because=r"a/b^2=(a/b)/b"),
    rule("over-power", "a/b**n", "(a/b)/b**[n - 1]", "b != 0, n > 1", words="divide step by step rather than by a power that may overflow",
         because=r"a/b^n=(a/b)/b^{n-1}"),
    rule("over-product", "a/(b*c)", "(a/b)/c", "b != 0, c != 0", words="divide twice rather than by a product that may overflow",
         because=r"a/(bc)=(a/b)/c"),
    rule("divide-first", "b*a/c", "b*(a/c)", "c != 0", words="divide before multiplying", because=r"\frac{ba}{c} = b\,\frac ac"),
    rule("fraction-of-self", "a**2/(b + a**2)", "1/(1 + b/a**2)", "a != 0", words="divide both sides of the fraction by the square",
         because=r"\frac{a^2}{b+a^2} = \frac{1}{1+b/a^2}"),
)
