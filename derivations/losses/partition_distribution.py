"""Partition times distribution: several labels per example as a count and a distribution over classes."""

from lossmith.derivations import (
    Loss,
    Max,
    Rational,
    Reference,
    Sum,
    class_index,
    exp,
    finite,
    log,
    logit,
    logits,
    targets,
)

x = logits("x")
c = logit("c", meaning="predicted number of labels")
y = targets("y", finite(0, 1), meaning="1 for each class that is a label, else 0")
i, j, k = class_index("i"), class_index("j"), class_index("k")
n = Sum(y[k], k)

LOSS = Loss(
    name="partition_distribution",
    title="Partition function times distribution, for several labels",
    formula=Sum(y[i] / n * log(y[i] / n / (exp(x[i]) / Sum(exp(x[j]), j))), i) + (n - Max(Rational(1, 100), c)) ** 2,
    references=(Reference("the product model y_m = Z P(m): the count is the partition function Z"),),
    policies=(("zero_times_log_zero", "0"),),
)
