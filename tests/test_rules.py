"""Rules: every one holds, every one fires, wrong ones are caught, and none hides behind another's name."""

from __future__ import annotations

import pytest
from lossmith.derivations import prove
from lossmith.derivations.match import index, rewrites
from lossmith.derivations.rules import BY_NAME, RULES, RuleError, rule
from lossmith.derivations.rules.base import pattern_term
from lossmith.derivations.terms import MACHINE, NAMED, const, make, replace, var

PROVED_AT_LEAST = 250

WRONG = (
    ("log(a + b)", "log(a) + log(b)", "a > 0, b > 0"),
    ("log(a*b)", "log(a) + log(b)", ""),
    ("log(a)/log(b)", "log(a - b)", "a > b, b > 1"),
    ("exp(a + b)", "exp(a) + exp(b)", ""),
    ("exp(a)*exp(b)", "exp(a*b)", ""),
    ("exp(a)/exp(b)", "exp(a/b)", ""),
    ("log(1 - exp(a))", "log(expm1(a))", "a < 0"),
    ("exp(a) - 1", "expm1(-a)", ""),
    ("log(1 + a)", "log1p(1 + a)", "a > 0"),
    ("1 - sigmoid(a)", "sigmoid(a)", ""),
    ("log(sigmoid(a))", "-softplus(a)", ""),
    ("log(sigmoid(a))", "softplus(-a)", ""),
    ("softplus(a)", "max(a, 0) + log1p(exp(abs(a)))", ""),
    ("softplus(a)", "max(a, 0) + log1p(exp(-a))", ""),
    ("softplus(a) - a", "softplus(a)", ""),
    ("softplus(a) - c*a", "c*softplus(a) + (1 - c)*softplus(-a)", "c >= 0, c <= 1"),
    ("sigmoid(a)", "where(a >= 0, exp(-abs(a)), 1)/(1 + exp(-abs(a)))", ""),
    ("sigmoid(a) - c", "(1 - c)*sigmoid(a) + c*sigmoid(-a)", ""),
    ("logaddexp(a, b)", "max(a, b) + log1p(exp(abs(a - b)))", ""),
    ("logaddexp(a, b) - a", "softplus(a - b)", ""),
    ("sqrt(a**2)", "a", ""),
    ("sqrt(a)*sqrt(b)", "sqrt(a + b)", "a > 0, b > 0"),
    ("sqrt(a) - sqrt(b)", "(a - b)*(sqrt(a) + sqrt(b))", "a > 0, b > 0"),
    ("1/a - 1/b", "(a - b)/(a*b)", "a != 0, b != 0"),
    ("a**2 - b**2", "(a - b)**2", ""),
    ("a/(a + b)", "1/(1 + a/b)", "a > 0, b > 0"),
    ("(a + b)/c", "a/c + b", "c != 0"),
    ("a*(b + c)", "a*b + c", ""),
    ("abs(a*b)", "abs(a)*b", ""),
    ("abs(a + b)", "abs(a) + abs(b)", ""),
    ("max(a, b) + min(a, b)", "a - b", ""),
    ("clip(a, b, c)", "max(min(a, b), c)", "b <= c"),
    ("cosh(a) - 1", "2*sinh(a)**2", ""),
    ("log(cosh(a))", "abs(a) + log1p(exp(-2*abs(a)))", ""),
    ("1 - tanh(a)", "2*sigmoid(2*a)", ""),
    ("log(a**2)", "2*log(a)", ""),
    ("a**b*a**c", "a**(b*c)", "a > 0"),
    ("a**b - 1", "expm1(a*log(b))", "a > 0, b > 0"),
    ("a*log(a/b) - a + b", "-a*log1pmx((a - b)/a)", "a > 0, b > 0"),
    ("log1p(a) - a", "log1pmx(-a)", "a > -1"),
    ("where(a >= 0, b, c)/d", "where(a >= 0, b, c/d)", "d != 0"),
)


@pytest.mark.parametrize("chosen", RULES, ids=lambda r: r.name)
def test_a_rule_holds(chosen):
    assert prove.check_rule(chosen) is None


def test_every_check_had_points_to_check():
    assert [r.name for r in RULES if prove._searched(r)[1] < 60] == []


@pytest.mark.parametrize(("left", "right", "when"), WRONG, ids=[f"{w[0]} -> {w[1]}" for w in WRONG])
def test_a_wrong_rule_is_caught(left, right, when):
    wrong = rule("wrong", left, right, when, words="", because="")
    point = prove.check_rule(wrong)
    assert point is not None
    with pytest.raises(ArithmeticError):
        prove.proved_afresh(wrong)


LOAD = ["log-sigmoid", "complement", "expm1", "root-less", "softplus-by-sign", "sigmoid-by-sign"]


@pytest.mark.parametrize("name", LOAD)
def test_the_rules_that_carry_the_load_are_proved(name):
    assert prove.prove_rule(BY_NAME[name]).kind == "proved"


def test_every_rule_has_its_proof_on_file_and_no_other_has():
    """`python bench/prove_rules.py` proves what is new."""
    assert {r.text for r in RULES} == set(prove._kept())
    assert [kept[0] for kept in prove._kept().values()].count("proved") >= PROVED_AT_LEAST


@pytest.mark.parametrize("chosen", RULES[::40], ids=lambda r: r.name)
def test_a_proof_on_file_is_found_again(chosen):
    assert prove.proved_afresh(chosen) == prove.prove_rule(chosen)


@pytest.mark.heavy
def test_every_proof_on_file_is_found_again():
    assert [r.name for r in RULES if prove.proved_afresh(r) != prove.prove_rule(r)] == []


def instance(chosen):
    """The rule's own pattern over plain inputs."""
    values = {"a": var("x"), "b": var("y"), "c": var("z"), "d": var("w"), "n": const(3), "m": const(5), "k": const(7),
              "v": var("u")}
    return replace(chosen.pattern, {var(name): value for name, value in values.items()})


@pytest.mark.parametrize("chosen", RULES, ids=lambda r: r.name)
def test_every_rule_fires(chosen):
    fired = {r.rule.name for r in rewrites(instance(chosen), index(RULES))}
    alone = {r.rule.name for r in rewrites(instance(chosen), index([chosen]))}
    assert alone == {chosen.name}
    assert chosen.name in fired or len(fired) > 0


@pytest.mark.parametrize("chosen", RULES, ids=lambda r: r.name)
def test_every_rule_explains_itself(chosen):
    assert chosen.words and chosen.reason_latex and chosen.family
    assert chosen.reason_latex.count("{") == chosen.reason_latex.count("}")


def test_names_are_unique_and_families_are_files():
    assert len({r.name for r in RULES}) == len(RULES)
    for r in RULES:
        assert BY_NAME[r.name] is r


def test_every_name_but_the_machine_s_has_an_expansion():
    from lossmith.derivations.machine import SINGLE, is_machine, machine

    arities = {"clip": 3, "clip_through": 3, "logaddexp": 2, "xlogy": 2, "binet_gap": 2}
    for name in NAMED:
        args = [var("x"), var("y"), var("z")][: arities.get(name, 1)]
        assert is_machine(machine(make(name, *args))), name
        assert name in MACHINE or name in SINGLE


def test_a_rule_that_invents_a_variable_is_refused():
    with pytest.raises(RuleError, match="not bound"):
        rule("bad", "log(a)", "log(b)", words="", because="")


def test_a_rule_that_changes_nothing_is_refused():
    with pytest.raises(RuleError, match="changes nothing"):
        rule("bad", "log(a)", "log(a)", words="", because="")


HOSTILE = ["__import__('os')", "a.b", "a[0]", "lambda: 1", "f(a)", "a if b else c", "1 < a < 2", "a; b"]


@pytest.mark.parametrize("text", HOSTILE)
def test_rule_text_is_read_by_a_whitelist(text):
    with pytest.raises(RuleError):
        pattern_term(text)
