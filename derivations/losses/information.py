"""Information: the surprise of an event of probability p, in nats."""

from lossmith.derivations import Loss, Reference, log, probability

p = probability("p")

LOSS = Loss(
    name="information",
    title="Information of an event",
    formula=-log(p),
    references=(Reference("C. E. Shannon, A Mathematical Theory of Communication, 1948"),),
)
