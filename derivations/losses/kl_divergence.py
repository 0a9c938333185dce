"""Kullback-Leibler divergence of q from p, KL(p || q), from probabilities, logarithms or logits."""

from lossmith.derivations import (
    Loss,
    Reference,
    Sum,
    Variant,
    class_index,
    exp,
    interval,
    log,
    logits,
    probabilities,
    targets,
)

logarithm = interval("-inf", 0)

q = probabilities("q")
p = targets("p")
log_q = probabilities("log_q", logarithm, meaning="logarithms of probabilities")
log_p = targets("log_p", logarithm, meaning="logarithms of target probabilities")
x = logits("x")
r = targets("p")  # after the inputs that it is used with, so that it comes second
i, j = class_index("i"), class_index("j")

LOSS = Loss(
    name="kl_divergence",
    title="Kullback-Leibler divergence KL(p || q) of two distributions",
    formula=Sum(p[i] * log(p[i] / q[i]), i),
    references=(Reference("S. Kullback, R. A. Leibler, On Information and Sufficiency, 1951"),),
    policies=(("zero_times_log_zero", "0"),),
    variants=(
        Variant("from_log_probabilities", Sum(r[i] * (log(r[i]) - log_q[i]), i),
                "KL(p || q) from probabilities p and logarithms of q"),
        Variant("log_target", Sum(exp(log_p[i]) * (log_p[i] - log_q[i]), i), "KL(p || q) from logarithms of both"),
        Variant("from_logits", Sum(r[i] * log(r[i] / (exp(x[i]) / Sum(exp(x[j]), j))), i),
                "KL(p || softmax x) from probabilities p and logits x"),
    ),
)
