"""Words to write the lines of an identity with: terms exactly as written, nothing folded, nothing moved."""

from __future__ import annotations

from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, node


def plus(first: Term, *more: Term) -> Term:
    """first + second + .., grouped to the left."""
    for term in more:
        first = node("add", (first, term))
    return first


def minus(a: Term, b: Term) -> Term:
    return node("sub", (a, b))


def times(first: Term, *more: Term) -> Term:
    """first * second * .., grouped to the left."""
    for term in more:
        first = node("mul", (first, term))
    return first


def over(a: Term, b: Term) -> Term:
    return node("div", (a, b))


def negative(a: Term) -> Term:
    return node("neg", (a,))


def log(a: Term) -> Term:
    return node("log", (a,))


def exp(a: Term) -> Term:
    return node("exp", (a,))


def sigmoid(a: Term) -> Term:
    return node("sigmoid", (a,))


def absolute(a: Term) -> Term:
    return node("abs", (a,))


def total(a: Term) -> Term:
    """The sum over the classes."""
    return node("sum", (a,))


def element(a: Term, at: Term) -> Term:
    """The element of a row at a label."""
    return node("at", (a, at))


def onehot(at: Term) -> Term:
    return node("onehot", (at,))


def scalar(name: str, domain: Domain, meaning: str) -> Argument:
    """An argument with one value per example."""
    return Argument(name, "input", domain, meaning=meaning)


def over_classes(name: str, domain: Domain, meaning: str) -> Argument:
    """An argument with one value per class."""
    return Argument(name, "input", domain, "class", meaning=meaning)


def index(name: str, meaning: str) -> Argument:
    """A class index."""
    from lossmith.derivations.domains import INDEX

    return Argument(name, "label", INDEX, differentiable=False, meaning=meaning)
