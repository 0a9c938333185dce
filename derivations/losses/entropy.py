"""Entropy: the expected information of a distribution over the classes, in nats."""

from lossmith.derivations import PROBABILITY, Loss, Reference, Sum, class_index, log, probabilities

p = probabilities("p", PROBABILITY)
i = class_index("i")

LOSS = Loss(
    name="entropy",
    title="Entropy of a distribution",
    formula=-Sum(p[i] * log(p[i]), i),
    references=(Reference("C. E. Shannon, A Mathematical Theory of Communication, 1948"),),
    policies=(("zero_times_log_zero", "0"),),
)
