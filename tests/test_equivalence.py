"""Two forms of one formula: equal or not, where not, and which is the more accurate."""

from __future__ import annotations

import pytest
from lossmith.audit.equivalence import Comparison, compare
from lossmith.derivations import balls, parser

BCE = "log(1 + exp(x)) - x*z"
LOGIT = {"x": "real", "z": "[0,1]"}
REAL = {"x": "real"}


def compared(before: str, after: str, domain: dict[str, str], **more: object) -> Comparison:
    known = parser.arguments(domain)
    terms = [parser.parse_term(text, known) for text in (before, after)]
    return compare(*terms, tuple(known.values()), count=500, **more)


CASES = {
    "sound and better": (BCE, "where(x > 0, (1 - z)*x, -z*x) + log1p(exp(-abs(x)))", LOGIT, "better"),
    "better in part": ("log(cosh(x))", "abs(x) + log1p(exp(-2*abs(x))) - log(2)", REAL, "better in part"),
    "a sign": (BCE, "max(x, 0) - x*z + log1p(exp(abs(x)))", LOGIT, "wrong"),
    "no better": ("x*z", "z*x", LOGIT, "no better"),
    "worse": ("log1p(exp(-abs(x)))", "log(1 + exp(-abs(x)))", REAL, "worse"),
    "wrong at a seam": ("log(1 + exp(x))", "where(x > 0, x + log1p(exp(-x)), where(x < 0, log1p(exp(x)), 0))", REAL,
                        "wrong at a seam"),
    "no value at a seam": ("where(x == 0, 1, (exp(x) - 1)/x)", "expm1(x)/x", REAL, "wrong at a seam"),
}


@pytest.mark.parametrize("case", CASES)
def test_pull_requests_are_told_apart(case: str) -> None:
    before, after, domain, verdict = CASES[case]
    found = compared(before, after, domain)
    assert found.verdict == verdict, found.to_text()
    assert found.sound == (not verdict.startswith("wrong"))


def test_a_counterexample_is_one() -> None:
    before, after, domain, _ = CASES["a sign"]
    found = compared(before, after, domain)
    known = parser.arguments(domain)
    one = found.counterexamples[0]
    assert one.before == balls.truth(parser.parse_term(before, known), one.point)
    assert one.after == balls.truth(parser.parse_term(after, known), one.point) != one.before


def test_the_part_of_the_domain_is_named() -> None:
    found = compared("log(1 + exp(x))", "where(x > 0, x + log1p(exp(-x)), log1p(exp(x)) + 1)", REAL)
    assert found.region == "where x <= 0"
    assert "everywhere" in compared("exp(x)", "2*exp(x)", REAL).region


def test_equality_is_proved_where_it_can_be() -> None:
    assert compared("x*z", "z*x", LOGIT).relation == "proved"
    assert compared("(exp(x) - 1)/x", "expm1(x)/x", REAL).relation == "proved"


def test_association_counts() -> None:
    three = {"a": "real", "b": "real", "c": "real"}
    found = compared("a + b - c", "a - c + b", three)
    assert found.relation == "proved" and any(a.gains or a.losses for a in found.accuracy)


def test_relations_limit_where_forms_must_agree() -> None:
    known = parser.arguments({"x": "real", "y": "real"})
    before, after = (parser.parse_term(t, known) for t in ("abs(x - y)", "x - y"))
    assert compare(before, after, tuple(known.values())).verdict == "wrong"
    given = (parser.parse_condition("x > y", known),)
    assert compare(before, after, tuple(known.values()), given).sound


def test_rows_are_refused() -> None:
    known = parser.arguments({"x[k]": "real"})
    row = parser.parse_term("sum(exp(x))", known).args[0]
    with pytest.raises(ValueError, match="single value"):
        compare(row, row, tuple(known.values()))
