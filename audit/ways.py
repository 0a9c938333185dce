"""The ten ways in which stable losses fail: a code, a title, what happens, how to see it, and the fix.

What an audit finds is sorted into these by `diagnose.py`, which carries the input that shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OTHER = "L200"  # found wrong, and none of the ten


@dataclass(frozen=True)
class Way:
    """`happens`: what and why. `seen`: how an audit tells it from the others. `shows`: an input that
    shows it in a common function. `fix`: what to write instead."""

    code: str
    title: str
    happens: str
    seen: str
    shows: str
    fix: str


_ALL = (
    Way(OTHER, "wrong, and none of the ten ways",
        "The function is not the formula that it is measured against, or a handful of roundings add up. The line "
        "says which: whether more precision helps, and whether every point or only some are concerned.",
        "The value stays wrong in a wider format, and no probe finds a seam, a clip, a mask or a merge; or the "
        "error is below 64 ulp, and a wider format removes it.",
        "torch softplus in float64 returns x itself from x = 20 on: 5.8e5 ulp there",
        "compare the code with the formula at the input that is printed"),
    Way("L201", "safe from overflow, yet cancelling",
        "Two nearly equal numbers are subtracted, or a small one is added to a large one and lost. Nothing overflows, "
        "so the form passes for stable, and the small result keeps a few digits, or is 0.",
        "The same function in a wider format is right at the same input: only rounding can do that.",
        "(1 - z)*x + max(-x,0) + log1p(exp(-abs(x))) in float32 at x = -20, z = 0: 0 for 2.1e-9",
        "factor before rounding: log1p and expm1 for 1 + small, terms of one sign, the difference of the arguments "
        "in place of the difference of the results"),
    Way("L202", "a clip that kills the gradient",
        "An argument or a result is clipped, or an eps is added, so that no logarithm is infinite. Beyond the clip "
        "the value stands still and the gradient is 0, or close to it, exactly where the model is most wrong.",
        "The computed value is one number over a range in which the exact one at least doubles; or the gradient is "
        "less than 1/256 of the exact one, in a wider format too.",
        "binary_cross_entropy(sigmoid(x), 1) at x = -50: gradient -1.9e-10 for -1",
        "take the logits and use the form from logits, which needs no clip; where probabilities are given, let the "
        "gradient through the clip"),
    Way("L203", "a guard on the value and none on the derivative",
        "A where, a max or a clip keeps the value finite; the derivative of what is not chosen is still computed, "
        "and 0 times its infinity is NaN.",
        "The value is right at the input, and a derivative there is NaN or infinite.",
        "a focal loss with gamma = 0.5 at x = 100: (1 - p)**gamma has an infinite slope at p = 1: NaN",
        "guard the argument before the function, where(c, f(where(c, x, 1)), ...), or write the derivative in a "
        "form of its own"),
    Way("L204", "0 times infinity, or infinity less infinity, at masked or empty mass",
        "A class that is masked by a logit of -inf, or has no mass, is multiplied by a logarithm that is infinite: "
        "0 * -inf is NaN, and one such class makes the whole row NaN.",
        "NaN where an input is infinite or a weight is 0, in whatever order the classes stand.",
        "softmax cross entropy of x = [0, -inf], t = [1, 0]: NaN for 0",
        "multiply only where the weight is not 0: where(t == 0, 0, t * log_p), or xlogy"),
    Way("L205", "infinity minus infinity in an online merge",
        "A row is read in pieces, each with a running maximum. A piece that is masked throughout has the maximum "
        "-inf, and exp(-inf - -inf), which should rescale an empty sum, is NaN.",
        "NaN for a row whose first classes are masked, and the right value for the same classes in another order.",
        "a log-sum-exp in tiles of 128 on a row whose first 128 logits are -inf",
        "the neutral state is (-inf, 0): rescale by exp(m - M) only where m is greater than -inf, else by 0"),
    Way("L206", "rounding to the storage type before a cancelling operation",
        "An intermediate result is stored in 16 bits (or in a narrower type than the result) and then subtracted "
        "from, so that its rounding becomes the result.",
        "The same function, given the same numbers in float32, is right; or every result is a number of a narrower "
        "format than it is returned in.",
        "p = softmax(x) in bfloat16, then p - 1: 0 for -0.0015",
        "compute in float32 from the inputs to the result, and round once at the end"),
    Way("L207", "the range or the precision of an accumulator",
        "A sum, or another intermediate result, leaves the range of its type, or grows until what is added no longer "
        "changes it, although the result itself is an ordinary number.",
        "Infinite, NaN or 0 at finite inputs, and right in a wider format or at smaller inputs; or short rows are "
        "right and long ones are not.",
        "a float16 sum of 131072 exponentials: infinite beyond 65504; log(1 + exp(x)) at x = 90 in float32",
        "accumulate in a wider type, scale by the largest term first"),
    Way("L208", "the derivative of max or abs at the seam",
        "A stable form is written with max or abs. At their seam the automatic derivative takes one side's (0, 1 or "
        "the middle) in each of them, and their sum is not the derivative of the smooth function.",
        "Wrong at one input and right at the next number on either side.",
        "max(x,0) - x*z + log(1 + exp(-abs(x))) at x = 0, z = 0.3: 0.7 or -0.3 for 0.2",
        "write the derivative in a form of its own, as in an autograd.Function"),
    Way("L209", "a hand-written gradient that is not the gradient of the forward",
        "The backward pass was written by hand for another formula than the forward: a clamp here, an eps there, "
        "or an assumption such as labels that sum to 1.",
        "The forward is right at the input and around it and the gradient is wrong, in a wider format too; or the "
        "gradient is not what differences of the function's own forward give.",
        "softmax(x) - t for targets that sum to 0.9: the gradient is sum(t) * softmax(x) - t",
        "derive the backward from the forward that is run, and test it at the edges of the domain"),
    Way("L210", "a Hessian by differences, or silently zero",
        "The second derivative is a difference of gradients, wrong in most of its digits; or the backward pass is "
        "cut off from the graph, and differentiating it gives 0 without a word.",
        "The gradient is right, and the second derivative is 0 at every point, or off by more than 1000 ulp at most "
        "of them, in float64 too.",
        "(g(x + h) - g(x))/h at x = 10 for the sigmoid cross entropy in float32: 48 percent off",
        "derive the second derivative, and mark a backward that cannot be differentiated with once_differentiable"),
)
WAYS: Mapping[str, Way] = {w.code: w for w in _ALL}


def explain(code: str) -> str:
    """A way for a person to read. Raises KeyError for a code that there is not."""
    way = WAYS[code]
    return "\n".join([f"{way.code}  {way.title}", "", *_folded("happens", way.happens), *_folded("seen by", way.seen),
                      *_folded("such as", way.shows), *_folded("fix", way.fix)])


def _folded(label: str, text: str, width: int = 100) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, initial_indent=f"  {label:8} ", subsequent_indent=" " * 11)
