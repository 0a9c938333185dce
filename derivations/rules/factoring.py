"""Factoring and distributing: fewer roundings, shared parts, differences of what is exact."""

from lossmith.derivations.rules.base import family, rule

FACTOR = "take out the common factor"

RULES = family(
    "factoring",
    rule("factor-sum", "a*b + a*c", "a*[b + c]", words=FACTOR, because=r"ab+ac=a(b+c)"),
    rule("factor-difference", "a*b - a*c", "a*[b - c]", words=FACTOR, because=r"ab-ac=a(b-c)"),
    rule("factor-one", "a*b + a", "a*[b + 1]", words=FACTOR, because=r"ab+a=a(b+1)"),
    rule("factor-less-one", "a*b - a", "a*[b - 1]", words=FACTOR, because=r"ab-a=a(b-1)"),
    rule("factor-one-less", "a - a*b", "a*[1 - b]", words=FACTOR, because=r"a-ab=a(1-b)"),
    rule("factor-quotient", "a/c + b/c", "[a + b]/c", "c != 0",
         words="one division instead of two", because=r"\frac ac+\frac bc=\frac{a+b}{c}"),
    rule("factor-quotient-difference", "a/c - b/c", "[a - b]/c", "c != 0", words="one division instead of two",
         because=r"\frac ac-\frac bc=\frac{a-b}{c}"),
    rule("one-division", "a*(1/b)", "a/b", "b != 0", words="one rounding instead of two",
         because=r"a \cdot \tfrac1b = \tfrac ab"),
    rule("distribute", "a*(b + c)", "a*b + a*c", words="multiply out", because=r"a(b+c)=ab+ac"),
    rule("distribute-difference", "a*(b - c)", "a*b - a*c", words="multiply out", because=r"a(b-c)=ab-ac"),
    rule("split-quotient", "(a + b)/c", "[a/c] + [b/c]", "c != 0",
         words="divide term by term", because=r"\frac{a+b}{c}=\frac ac+\frac bc"),
    rule("split-quotient-difference", "(a - b)/c", "[a/c] - [b/c]", "c != 0", words="divide term by term",
         because=r"\frac{a-b}{c}=\frac ac-\frac bc"),
    rule("cancel-factor", "a*b/a", "b", "a != 0", words="a factor above and below cancels", because=r"ab/a = b"),
    rule("cancel-into", "a/(a*b)", "1/b", "a != 0", words="a factor above and below cancels", because=r"a/(ab) = 1/b"),
    rule("cancel-powers", "a**n/a", "a**[n - 1]", "a != 0",
         words="powers of one base combine", because=r"a^n/a=a^{n-1}"),
    rule("convex-shared", "a*(b + c) + (1 - a)*(d + c)", "a*b + (1 - a)*d + c",
         words="the weights sum to one, so the shared part stands alone",
         because=r"a c + (1-a) c = c"),
    rule("convex-difference", "a*b + (1 - a)*c", "c + a*[b - c]",
         words="a weighted mean from one end", because=r"ab+(1-a)c=c+a(b-c)"),
    rule("numbers-cancel", "a + n - n", "a", words="what is added and subtracted again is gone", because=r"a+n-n=a"),
    rule("like-terms", "a + a", "2*a", words="add like terms", because=r"a+a=2a"),
    rule("square", "a*a", "a**2", words="a product of equals is a square", because=r"a\,a=a^2"),
    rule("square-apart", "a*b**2", "a*b*b", words="the square may overflow or vanish where the product does not",
         because=r"a\,b^2=(a\,b)\,b"),
    rule("over-one-plus", "a + 1/b", "(1 + a*b)/b", "b != 0",
         words="bring both over one denominator", because=r"a+\frac1b=\frac{1+ab}{b}"),
    rule("regroup", "a + b - c", "a + (b - c)", words="subtract first what is close", because=r"(a+b)-c=a+(b-c)"),

    rule("second-difference", "a - 2*b + c", "(a - b) - (b - c)",
         words="a difference of differences", because=r"a-2b+c=(a-b)-(b-c)"),
    rule("complement-of-product", "1 - (1 - a)*(1 - b)", "a + b*(1 - a)",
         words="one of the two, or the other without it", because=r"1-(1-a)(1-b)=a+b\,(1-a)"),
)
