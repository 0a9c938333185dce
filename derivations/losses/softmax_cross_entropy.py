"""Softmax cross entropy: logits against a distribution, or any non-negative weights, over the classes."""

from lossmith.derivations import NONNEGATIVE, Loss, Reference, Sum, class_index, exp, log, logits, targets

x = logits("x")
t = targets("t", NONNEGATIVE, meaning="targets: a distribution, or any non-negative weights")
i, j = class_index("i"), class_index("j")

LOSS = Loss(
    name="softmax_cross_entropy",
    title="Softmax cross entropy with logits",
    formula=-Sum(t[i] * log(exp(x[i]) / Sum(exp(x[j]), j)), i),
    references=(Reference("TensorFlow, tf.nn.softmax_cross_entropy_with_logits"),),
    policies=(("at_infinity", "the limit"), ("zero_times_log_zero", "0")),
)
