"""Large and pathological formulas: the algebra behind matching gives up by counts, never by hanging."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable

import pytest
from lossmith.derivations.match import index, rewrites
from lossmith.derivations.polynomial import TooLargeError, canon, collect, factored, quotient, together
from lossmith.derivations.prove import by_sign, same_quotient
from lossmith.derivations.rules import RULES
from lossmith.derivations.rules.base import pattern_term as read
from lossmith.derivations.seeds import recognized, seeds
from lossmith.derivations.terms import ONE, Term, add, const, div, make, mul, neg, nodes_count, power, sub, var

SECONDS = 8.0  # of processor time, for all that a search asks of one formula; the machine may be slow
X, Y, Z = var("x"), var("y"), var("z")


def total(parts: list[Term]) -> Term:
    out = parts[0]
    for p in parts[1:]:
        out = add(out, p)
    return out


def product(parts: list[Term]) -> Term:
    out = parts[0]
    for p in parts[1:]:
        out = mul(out, p)
    return out


def exponentials() -> Term:
    return make("log", total([make("exp", mul(const(k), X)) for k in range(1, 41)]))


def distinct_exponentials() -> Term:
    parts = [make("exp", sub(mul(const(k), X), mul(Y, power(Z, const(k % 7 + 1))))) for k in range(1, 41)]
    return div(parts[0], total(parts))


def product_of_sums() -> Term:
    return product([total([X, const(k), power(Y, const(k % 3 + 1))]) for k in range(1, 31)])


def quotients() -> Term:
    return total([div(make("exp", mul(const(k), X)), total([X, const(k), mul(Y, Z)])) for k in range(1, 25)])


def powers_of_sums() -> Term:
    out = total([X, Y, Z, ONE])
    for n in (3, 4, 5, 6, 12):
        out = add(power(out, const(n)), X)
    return out


def tower() -> Term:
    out = X
    for _ in range(60):
        out = make("log", add(ONE, make("exp", sub(out, Y))))
    return out


def continued_fraction() -> Term:
    out = add(X, Y)
    for k in range(60):
        out = add(const(k + 1), div(mul(X, Y), out))
    return out


def roots() -> Term:
    inner = [power(make("sqrt", add(Y, const(k))), const(3)) for k in range(12)]
    return product([make("sqrt", total([X, const(k), t])) for k, t in enumerate(inner)])


def nested_abs() -> Term:
    out = X
    for k in range(30):
        out = make("abs", sub(out, const(k)))
    return out


def five_hundred() -> Term:
    """500 nodes and more: what the second derivative of a loss looks like when nobody simplifies it."""
    p = [div(ONE, add(ONE, make("exp", neg(sub(mul(const(k), X), Y))))) for k in range(1, 22)]
    parts = [mul(sub(mul(a, sub(ONE, a)), mul(b, Z)), make("log", add(a, b))) for a, b in itertools.pairwise(p)]
    return total([mul(t, power(sub(ONE, u), const(2))) for t, u in zip(parts, p)])


FORMULAS = (exponentials, distinct_exponentials, product_of_sums, quotients, powers_of_sums, tower,
            continued_fraction, roots, nested_abs, five_hundred)


def attempt(work: Callable[[], object]) -> None:
    with contextlib.suppress(TooLargeError, ZeroDivisionError):
        work()


@pytest.mark.parametrize("build", FORMULAS, ids=lambda f: f.__name__)
def test_algebra_is_bounded(build):
    term = build()
    started = time.process_time()
    canon(term)
    collect(term)
    for work in (quotient, together, factored):
        attempt(lambda work=work: work(term))
    same_quotient(term, add(term, X))
    by_sign(term, neg(term))
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("build", FORMULAS, ids=lambda f: f.__name__)
def test_matching_and_seeding_are_bounded(build):
    term, rules = build(), index(RULES)
    started = time.process_time()
    found = sum(1 for _ in rewrites(term, rules))
    made = len(list(seeds(term))) + len(list(recognized(term, lambda r: True)))
    assert found + made > 0
    assert time.process_time() - started < SECONDS


def test_the_large_one_is_large():
    assert five_hundred().size > 500 and nodes_count(five_hundred()) > 200


def test_what_is_given_up_on_is_kept_as_it_is():
    assert canon(product_of_sums()) and collect(read("x*y")) is read("x*y")
