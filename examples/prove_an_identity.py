"""State an identity of your own, have it proved line by line, and see a wrong line refuted."""

from lossmith.derivations import identities
from lossmith.derivations.domains import PROBABILITY, REAL
from lossmith.derivations.identities.checking import Refuted
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.writing import exp, log, minus, plus, scalar, sigmoid, times
from lossmith.derivations.terms import ONE, var

x, z = var("x"), var("z")
ARGUMENTS = (scalar("x", REAL, "logit"), scalar("z", PROBABILITY, "target"))

right = Identity(
    name="gradient_by_hand",
    title="The gradient of sigmoid cross entropy, as a difference of shares",
    arguments=ARGUMENTS,
    lines=(
        (minus(sigmoid(x), z), "what everyone writes"),
        (minus(times(minus(ONE, z), sigmoid(x)), times(z, minus(ONE, sigmoid(x)))), "z s(x) is added and taken away"),
    ),
)
wrong = Identity(
    name="softplus_misremembered",
    title="A softplus with a sign lost",
    arguments=ARGUMENTS[:1],
    lines=((log(plus(ONE, exp(x))), "softplus"), (minus(log(plus(ONE, exp(x))), x), "so it was remembered")),
)

if __name__ == "__main__":
    print(identities.check(right).to_text())
    try:
        identities.check(wrong)
    except Refuted as refuted:
        print(f"refuted: {refuted}")
