"""Absolute Kullback-Leibler divergence: sum |(p - q) log(p / q)|, both held above eps."""

from lossmith.derivations import (
    PROBABILITY,
    Abs,
    Loss,
    Max,
    Rational,
    Reference,
    Sum,
    class_index,
    interval,
    log,
    parameter,
    probabilities,
    targets,
)

q = probabilities("q", PROBABILITY)
p = targets("p", PROBABILITY)
eps = parameter("eps", interval(0, Rational(1, 2), open_low=True), "eps", "the least probability")
i = class_index("i")
above_q, above_p = Max(q[i], eps), Max(p[i], eps)

LOSS = Loss(
    name="abs_kl_divergence",
    title="Absolute Kullback-Leibler divergence",
    formula=Sum(Abs((above_p - above_q) * log(above_p / above_q)), i),
    references=(Reference("H. Jeffreys, Theory of Probability, 1948: the sum of both directed divergences"),),
    policies=(("clip", "below by eps, no gradient below"),),
)
