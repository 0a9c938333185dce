"""Rules made wrong on purpose: the check refutes every one, and the counterexamples are kept."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import pytest
from lossmith.derivations import balls, prove, refute
from lossmith.derivations.rules import rule

PATH = Path(__file__).resolve().parent.parent / "bench" / "wrong_rules.py"
spec = importlib.util.spec_from_file_location("wrong_rules", PATH)
assert spec is not None and spec.loader is not None
wrong_rules = importlib.util.module_from_spec(spec)
sys.modules["wrong_rules"] = wrong_rules
spec.loader.exec_module(wrong_rules)

# Rules that look right and stay out: left side, right side, condition, and where they fail.
KEPT = (
    ("log(a*b)", "log(a) + log(b)", "", {"a": -1.0, "b": -2.0}),
    ("log(a**2)", "2*log(a)", "", {"a": -0.5}),
    ("sqrt(a**2)", "a", "", {"a": -1.0}),
    ("a/sqrt(a**2)", "sign(a)*a", "a != 0", {"a": 2.0}),
    ("abs(a + b)", "abs(a) + abs(b)", "", {"a": 1.0, "b": -1.0}),
    ("softplus(a) - c*a", "c*softplus(a) + (1 - c)*softplus(-a)", "c >= 0, c <= 1", {"a": 1.0, "c": 0.0}),
    ("max(a, b)", "a", "", {"a": 0.0, "b": 1.0}),
    ("log(exp(a) - exp(b))", "a + log(-expm1(b - b))", "a > b", {"a": 1.0, "b": 0.0}),
    ("a*log(a) - a + 1", "-a*log1pmx((0 - a)/a)", "a > 0", {"a": 0.5}),
    ("log(n + exp(a))", "logaddexp(a, log(n))", "n > -1", {"a": 2.0, "n": -0.5}),
    ("sign(a)", "1", "a >= 0", {"a": 0.0}),
    ("a <= c - b", "b < c - a", "", {"a": 1.0, "b": 1.0, "c": 2.0}),
    ("where(a > b, 1, 0)", "1", "a >= b", {"a": 1.0, "b": 1.0}),
    ("sqrt(a**2 + b**2) - b", "a*(a/(sqrt(a**2 + b**2) - b))", "b > 0", {"a": 1.0, "b": 2.0}),
    ("exp(a)*exp(b)", "exp(a + b) + 1/10000000", "", {"a": 0.0, "b": 0.0}),
    ("softplus(a)", "a", "a > 20", {"a": 25.0}),
)


@pytest.mark.parametrize(("left", "right", "when", "point"), KEPT, ids=[f"{k[0]} -> {k[1]}" for k in KEPT])
def test_a_wrong_rule_stays_out_and_its_counterexample_is_kept(left, right, when, point):
    wrong = rule("wrong", left, right, when, words="", because="")
    assert all(refute.holds(c, point) for c in wrong.conditions)
    before, after = (refute.value(refute.numeric(t), point) for t in (wrong.pattern, wrong.replacement))
    assert not math.isnan(before) and before != after
    assert not balls.overlaps(refute.numeric(wrong.pattern), refute.numeric(wrong.replacement), point)
    assert prove.check_rule(wrong) is not None
    with pytest.raises(ArithmeticError):
        prove.proved_afresh(wrong)


def test_changes_of_the_registry_are_refuted():
    found = [(w.rule.name, *wrong_rules.judged(w)) for w in wrong_rules.sampled(60)]
    assert [f for f in found if f[1] == "missed"] == []
    assert sum(f[1] == "caught" for f in found) >= 40


def test_a_dropped_condition_that_matters_is_refuted():
    found = [w for w in wrong_rules.changed_rules() if w.change.endswith("dropped")]
    caught = {w.origin for w in found if prove.check_rule(w.rule) is not None}
    assert caught >= {"abs-positive", "max-of-positive"} and len(caught) >= 15


@pytest.mark.heavy
def test_every_change_of_the_registry_is_refuted():
    verdicts = [(w.rule.name, *wrong_rules.judged(w)) for w in wrong_rules.changed_rules()]
    assert [v for v in verdicts if v[1] == "missed"] == []
    assert sum(v[1] == "caught" for v in verdicts) >= 2000


def test_the_points_of_a_check_reach_the_edges():
    """Zeros, ties, ends of conditions, their neighbours, infinities, and what is nearly equal."""
    chosen = rule("r", "exp(a + b)", "exp(a)*exp(b)", "a > -1, b >= 0", words="", because="")
    seen = [env for kind in refute._KINDS.values() for env in kind(chosen)]
    held = [env for env in seen if all(refute.holds(c, env) for c in chosen.conditions)]
    assert any(env["b"] == 0 for env in held) and any(env["a"] == env["b"] for env in held)
    assert any(-1 < env["a"] < -1 + 1e-8 for env in held)
    assert any(math.isinf(env["a"]) for env in held) and any(abs(env["a"]) > 100 for env in held)


def test_an_infinity_is_not_close_to_a_number():
    assert not balls.close(1.0, -math.inf) and balls.close(math.inf, math.inf)
    assert not balls.overlaps(prove.BY_NAME["log-difference"].pattern, prove.BY_NAME["log-difference"].pattern.args[0],
                              {"a": 2.0, "b": 0.0})
