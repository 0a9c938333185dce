"""Sigmoid cross entropy: a logit against a target in [0, 1], one label per example or many."""

from lossmith.derivations import (
    Loss,
    Reference,
    Sum,
    Variant,
    class_index,
    classes,
    interval,
    log,
    logit,
    logits,
    sigmoid,
    target,
    targets,
)

x = logit("x")
z = target("z", interval(0, 1))

xs = logits("x")
zs = targets("z", interval(0, 1), meaning="targets, each class on its own")
i = class_index("i")
over_classes = Sum(-zs[i] * log(sigmoid(xs[i])) - (1 - zs[i]) * log(1 - sigmoid(xs[i])), i)

LOSS = Loss(
    name="sigmoid_cross_entropy",
    title="Sigmoid cross entropy with logits",
    formula=-z * log(sigmoid(x)) - (1 - z) * log(1 - sigmoid(x)),
    references=(Reference("TensorFlow, tf.nn.sigmoid_cross_entropy_with_logits"),),
    policies=(("at_infinity", "the limit"),),
    variants=(
        Variant("multilabel", over_classes, "Sigmoid cross entropy summed over the classes of an example"),
        Variant("multilabel_mean", over_classes / classes,
                "Sigmoid cross entropy averaged over the classes of an example"),
    ),
)
