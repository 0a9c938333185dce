"""Absolute Kullback-Leibler divergence: sum |(p - q) log(p / q)|, both held above eps."""

from lossmith.derivations import (
    POSITIVE,
    PROBABILITY,
    Abs,
    Loss,
    Max,
    Reference,
    Sum,
    class_index,
    log,
    parameter,
    probabilities,
    targets,
)

q = probabilities("q", PROBABILITY)
p = targets("p", PROBABILITY)
eps = parameter("eps", POSITIVE, "eps", "the least probability")
i = class_index("i")
above_q, above_p = Max(q[i], eps), Max(p[i], eps)

LOSS = Loss(
    name="abs_kl_divergence",
    title="Absolute Kullback-Leibler divergence",
    formula=Sum(Abs((above_p - above_q) * log(above_p / above_q)), i),
    references=(Reference("H. Jeffreys, Theory of Probability, 1948: the sum of both directed divergences"),),
    policies=(("clip", "below by eps, no gradient below"),),
)
