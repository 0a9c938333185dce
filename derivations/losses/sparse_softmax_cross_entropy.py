"""Sparse softmax cross entropy: logits against one class index."""

from lossmith.derivations import Loss, Reference, Sum, class_index, class_label, exp, log, logits

x = logits("x")
y = class_label("y")
j = class_index("j")

LOSS = Loss(
    name="sparse_softmax_cross_entropy",
    title="Softmax cross entropy with logits and a class index",
    formula=-log(exp(x[y]) / Sum(exp(x[j]), j)),
    references=(Reference("TensorFlow, tf.nn.sparse_softmax_cross_entropy_with_logits"),),
    policies=(("at_infinity", "the limit"), ("label_range", "error; NaN where a kernel cannot raise")),
)
