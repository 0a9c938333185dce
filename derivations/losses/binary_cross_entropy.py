"""Binary cross entropy: a probability against a target in [0, 1], with the clip policies that libraries use."""

from lossmith.derivations import (
    Loss,
    Max,
    Rational,
    Reference,
    Variant,
    clip,
    clip_through,
    interval,
    log,
    parameter,
    probability,
    target,
)

p = probability("p")
z = target("z", interval(0, 1))
eps = parameter("eps", interval(0, Rational(1, 2), open_low=True), "eps", "distance kept from 0 and from 1")
floor = parameter("floor", interval("-inf", 0, open_low=True), "-100", "the least value of a logarithm")


def cross_entropy(q):
    """-z log q - (1 - z) log(1 - q)."""
    return -z * log(q) - (1 - z) * log(1 - q)


LOSS = Loss(
    name="binary_cross_entropy",
    title="Binary cross entropy of a probability",
    formula=cross_entropy(p),
    references=(Reference("Keras, BinaryCrossentropy; PyTorch, torch.nn.BCELoss"),),
    policies=(("clip", "none"), ("zero_times_log_zero", "0")),
    variants=(
        Variant("clipped", cross_entropy(clip(p, eps, 1 - eps)), "Binary cross entropy, the probability clipped",
                (("clip", "eps, no gradient outside"),)),
        Variant("clipped_through", cross_entropy(clip_through(p, eps, 1 - eps)),
                "Binary cross entropy, the probability clipped, the gradient passed through the clip",
                (("clip", "eps, gradient through"),)),
        Variant("log_floor", -z * Max(log(p), floor) - (1 - z) * Max(log(1 - p), floor),
                "Binary cross entropy, the logarithms held above a floor", (("clip", "log floor, no gradient below"),)),
    ),
)
