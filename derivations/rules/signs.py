"""Absolute values, signs, maxima and clips: what they are, and what holds on either side of zero."""

from lossmith.derivations.rules.base import family, rule

RULES = family(
    "signs",
    rule("clip", "clip(a, b, c)", "min(max(a, b), c)", "b <= c", words="a clip is a minimum of a maximum", because=r"\mathrm{clip}(a,b,c) = \min(\max(a,b),c)"),
    rule("clip-through", "clip_through(a, b, c)", "min(max(a, b), c)", "b <= c", words="in value a clip is a minimum of a maximum",
         because=r"\mathrm{clip}(a,b,c) = \min(\max(a,b),c)"),
    rule("square-of-abs", "abs(a)**2", "a**2", words="a square has no sign", because=r"|a|^2=a^2"),
    rule("abs-product", "abs(a*b)", "abs(a)*abs(b)", words="the absolute value of a product", because=r"|ab|=|a||b|"),
    rule("abs-quotient", "abs(a/b)", "abs(a)/abs(b)", "b != 0", words="the absolute value of a quotient", because=r"|a/b|=|a|/|b|"),
    rule("abs-positive", "abs(a)", "a", "a >= 0", words="the number is not negative", because=r"|a| = a \text{ for } a \ge 0"),
    rule("abs-negative", "abs(a)", "-a", "a <= 0", words="the number is not positive", because=r"|a| = -a \text{ for } a \le 0"),
    rule("over-abs", "a/abs(a)", "sign(a)", "a != 0", words="a over its absolute value is its sign", because=r"a/|a| = \operatorname{sign} a"),
    rule("sign-times-abs", "sign(a)*abs(a)", "a", words="sign and absolute value make the number", because=r"\operatorname{sign}(a)|a|=a"),
    rule("sign-times-self", "a*sign(a)", "abs(a)", words="a number times its sign is its absolute value", because=r"a\operatorname{sign}(a)=|a|"),
    rule("max-split", "max(a, b) + min(a, b)", "a + b", words="the larger and the smaller are the two", because=r"\max+\min=a+b"),
    rule("max-zero-split", "max(a, 0) - a", "max(-a, 0)", words="the positive part less the number is the negative part",
         because=r"\max(a,0)-a=\max(-a,0)"),
    rule("max-zero-convex", "max(a, 0) - c*a", "c*max(-a, 0) + (1 - c)*max(a, 0)", "c >= 0, c <= 1",
         words="a difference becomes a sum of two terms that are never negative", because=r"a = \max(a,0) - \max(-a,0)"),
    rule("max-of-positive", "max(a, b)", "a", "a >= b", words="the larger is known", because=r"\max(a,b)=a \text{ for } a\ge b"),
    rule("where-factor", "where(a >= 0, b, c)/d", "where(a >= 0, [b/d], [c/d])", "d != 0", words="divide in each branch", because=r"\text{divide in each branch}"),
    rule("square-expanded", "a**2", "a*a", words="a square is one multiplication", because=r"a^2 = a\,a"),
)
