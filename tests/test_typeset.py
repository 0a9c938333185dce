"""Typesetting: notation, the four formats, and LaTeX that pdflatex really sets."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace as replaced
from pathlib import Path

import pytest
from lossmith.derivations import identities
from lossmith.derivations.derivation import Derivation, Evidence, Measurement, StableForm, Step
from lossmith.derivations.domains import EXTENDED, INDEX, parse_domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import (
    ONE,
    OPS,
    POSITION,
    TWO,
    ZERO,
    Term,
    add,
    const,
    div,
    label,
    make,
    mul,
    neg,
    node,
    power,
    row,
    sub,
    var,
    walk,
)
from lossmith.derivations.typeset import words
from lossmith.derivations.typeset.html import derivation_html
from lossmith.derivations.typeset.json import derivation_json
from lossmith.derivations.typeset.latex import LONGEST, derivation_latex, document, notebook_latex, unit_latex
from lossmith.derivations.typeset.markdown import derivation_markdown, unit_markdown
from lossmith.derivations.typeset.mathml import mathml
from lossmith.derivations.typeset.naming import others
from lossmith.derivations.typeset.notation import escape, identifier, latex
from lossmith.derivations.typeset.numbers import shortened
from lossmith.derivations.typeset.setter import setter_for
from lossmith.derivations.typeset.text import break_formula, derivation_rich, derivation_text
from lossmith.derivations.typeset.text_notation import text

x, z, t = var("x"), var("z"), var("t")
X, T, y = row("x"), row("t"), label("y")
SUM_EXP = node("sum", (make("exp", X),))
PEAK, REST = node("peak", (X,)), node("rest", (X,))

NOTATION: list[tuple[Term, str, str]] = [
    (sub(x, sub(z, t)), "x - (z - t)", "x - (z - t)"),
    (add(x, sub(z, t)), "x + z - t", "x + z - t"),
    (sub(neg(mul(z, make("log", make("sigmoid", x)))), mul(sub(ONE, z), make("log", sub(ONE, make("sigmoid", x))))),
     r"-z \log\sigma(x) - (1 - z) \log(1 - \sigma(x))", "-z log s(x) - (1-z) log(1 - s(x))"),
    (make("exp", neg(make("abs", x))), "e^{-|x|}", "exp(-|x|)"),
    (make("exp", neg(div(x, TWO))), "e^{-x/2}", "exp(-x/2)"),
    (mul(make("log", x), z), r"\log(x)\, z", "log(x) z"),
    (mul(z, make("log", x)), r"z \log x", "z log x"),
    (power(make("log", x), TWO), r"(\log x)^{2}", "(log x)^2"),
    (power(make("exp", x), TWO), "(e^{x})^{2}", "exp(x)^2"),
    (mul(div(x, z), t), r"\frac{x}{z}\, t", "(x/z) t"),
    (div(x, mul(z, t)), r"\frac{x}{z\, t}", "x/(z t)"),
    (make("log", div(x, z)), r"\log\frac{x}{z}", "log(x/z)"),
    (mul(x, const(2)), r"x \cdot 2", "x * 2"),
    (mul(const(2), x), "2x", "2 x"),
    (mul(const(-2), x), "-2x", "-2 x"),
    (mul(const("0.01"), x), r"0.01\, x", "0.01 x"),
    (node("mul", (z, neg(x))), r"z\, (-x)", "z * (-x)"),
    (node("sum", (mul(T, make("log", div(make("exp", X), SUM_EXP))),)),
     r"\sum_{k} t_k \log\frac{e^{x_k}}{\sum_{j} e^{x_j}}", "sum_k t_k log(exp(x_k)/(sum_j exp(x_j)))"),
    (mul(node("sum", (T,)), x), r"\left(\sum_{k} t_k\right)\, x", "(sum_k t_k) x"),
    (add(node("sum", (T,)), x), r"\sum_{k} t_k + x", "sum_k t_k + x"),
    (sub(div(make("exp", X), SUM_EXP), node("onehot", (y,))), r"\frac{e^{x_k}}{\sum_{j} e^{x_j}} - [k = y]",
     "exp(x_k)/(sum_j exp(x_j)) - [k = y]"),
    (node("at", (mul(T, X), y)), r"t_y\, x_y", "t_y x_y"),
    (node("lse", (X,)), r"\operatorname{lse}_{k} x_k", "lse_k x_k"),
    (node("lse", (X, ZERO)), r"\operatorname{lse}_{k}(x_k, 0)", "lse_k(x_k, 0)"),
    (add(node("gap", (PEAK, node("at", (X, y)))), z), r"(\max_{k} x_k - x_y) + z", "(max_k x_k - x_y) + z"),
    (node("absorb", (z, x)), r"z\, x", "z x"),
    (node("where", (node("gt", (x, ZERO)), z, t)),
     r"\begin{cases} z, & \text{if } x > 0 \\ t, & \text{otherwise} \end{cases}", "where(x > 0, z, t)"),
]


@pytest.mark.parametrize(("term", "tex", "plain"), NOTATION, ids=[p for _, _, p in NOTATION])
def test_notation_is_what_mathematicians_write(term: Term, tex: str, plain: str) -> None:
    assert latex(term) == tex
    assert text(term) == plain


def one_of_each() -> list[Term]:
    """A term for every operation of the vocabulary."""
    special = {
        "const": const("0.1"), "pi": node("pi"), "var": x, "row": X, "label": y, "position": POSITION,
        "count": node("count"), "sum": SUM_EXP, "at": node("at", (X, y)), "onehot": node("onehot", (y,)),
        "not": node("not", (node("gt", (x, z)),)),
        "and": node("and", (node("gt", (x, z)), node("lt", (x, t)))),
        "or": node("or", (node("gt", (x, z)), node("lt", (x, t)))),
        "where": node("where", (node("gt", (x, z)), x, t)),
    }
    return [
        special[op] if op in special else node(op, (X, ZERO) if OPS[op].arity < 0 else (x, z, t)[: OPS[op].arity])
        for op in OPS
    ]


def test_every_operation_has_a_notation_in_every_style() -> None:
    for term in one_of_each():
        assert latex(term) and text(term).isascii()
        ElementTree.fromstring(f"<math>{mathml(term)}</math>".replace("&nbsp;", " "))


def test_what_is_before_a_factor_or_a_sign_is_closed() -> None:
    choice = node("where", (node("gt", (x, ZERO)), z, t))
    assert latex(add(choice, x)).startswith(r"\left\lbrace\begin{array}") and latex(add(choice, x)).endswith("+ x")
    assert latex(add(x, choice)).endswith(r"\end{cases}")
    assert latex(mul(make("log", x), mul(make("log", z), t))) == r"\log(x) \log(z)\, t"


def test_exact_shows_every_association() -> None:
    term = node("add", (x, node("add", (z, t))))
    assert (text(term), text(term, exact=True)) == ("x + z + t", "x + (z + t)")


def test_indices_avoid_the_names_in_use() -> None:
    assert text(node("sum", (mul(var("k"), X),))) == "sum_j k x_j"


@pytest.mark.parametrize(("name", "tex"), [
    ("x", "x"), ("x0", "x_{0}"), ("gamma", r"\gamma"), ("eps", r"\varepsilon"), ("pos_weight", r"\mathrm{pos\_weight}"),
])
def test_names_in_latex(name: str, tex: str) -> None:
    assert identifier(name) == tex


def test_latex_text_is_escaped() -> None:
    hostile = r"\input{/etc/passwd} $x$ %& #_^~{}<>"
    escaped = escape(hostile)
    assert "\\input" not in escaped
    assert not re.search(r"(?<!\\)[$%&#_]", escaped)


# --- derivations, made by hand --------------------------------------------------------------------


def chain(name: str, order: tuple[str, ...], arguments: tuple[Argument, ...],
          lines: list[tuple[Term, str, str, float | None]], evidence: tuple[Evidence, ...]) -> Derivation:
    measured = [None if e is None else Measurement("float32", e, "x = 0.71", 400) for *_, e in lines]
    steps = tuple(
        Step("differentiate" if order and i == 0 else f"rule-{i}", a[0], b[0], a[0], b[0], "0 <= z" if i else "", b[1],
             b[2], evidence, measured[i], measured[i + 1])
        for i, (a, b) in enumerate(itertools.pairwise(lines))
    )
    form = StableForm(lines[-1][0], lines[0][0], arguments, order, measured[-1], "stable")
    return Derivation(name, f"Title of {name}", order, arguments, lines[0][0], steps, form,
                      (Evidence("enclosed", "balls", 20000),), (("at_infinity", "the limit"),), ("A reference & more",))


PROVED = (Evidence("proved", "case split x > 0, x < 0"), Evidence("enclosed", "balls", 200))
ENCLOSED = (Evidence("enclosed", "balls", 200),)
LOGIT, TARGET = Argument("x", "input", EXTENDED), Argument("z", "target", parse_domain("[0,1]"))
DECAY = make("exp", neg(make("abs", x)))
BCE = NOTATION[2][0]


@functools.cache
def samples() -> tuple[Derivation, ...]:
    split = add(node("where", (node("gt", (x, ZERO)), mul(sub(ONE, z), x), neg(mul(z, x)))), make("log1p", DECAY))
    loss = chain("sigmoid_cross_entropy", (), (LOGIT, TARGET), [
        (BCE, "", "", float("inf")),
        (add(mul(z, make("softplus", neg(x))), mul(sub(ONE, z), make("softplus", x))), "log s(x) = -sp(-x)",
         r"\log\sigma(x) = -\operatorname{sp}(-x)", 2.0**24),
        (split, "factor the larger of 1 and exp(a) out", "factor the larger of $1$ and $e^{a}$ out", 2.9)], PROVED)
    gradient = chain("sigmoid_cross_entropy", ("x",), (LOGIT, TARGET), [
        (BCE, "", "", None), (sub(make("sigmoid", x), z), "differentiate the definition by x", "", 2.0**30),
        (node("where", (node("ge", (x, ZERO)), div(sub(sub(ONE, z), mul(z, DECAY)), add(ONE, DECAY)),
                        div(sub(mul(sub(ONE, z), DECAY), z), add(ONE, DECAY)))), "by the sign of x", "", 2.4)],
        ENCLOSED)
    rows = (Argument("x", "input", EXTENDED, "class"), Argument("y", "label", INDEX))
    sparse = chain("sparse", ("x",), rows, [
        (neg(make("log", div(make("exp", node("at", (X, y))), SUM_EXP))), "", "", None),
        (sub(div(make("exp", X), SUM_EXP), node("onehot", (y,))), "differentiate the definition by x", "", 2.0**24),
        (node("where", (node("eq", (POSITION, y)), neg(div(REST, add(ONE, REST))),
                        div(node("exp_diff", (X, PEAK)), add(ONE, REST)))), "split by the label", "", 2.5)], PROVED)
    return loss, gradient, sparse, long_one()


def long_one() -> Derivation:
    parts = [mul(div(power(sub(make("sigmoid", mul(const(i), x)), z), TWO), add(ONE, make("exp", mul(const(i), x)))),
                 make("log", add(const(i), power(make("sigmoid", x), const(i))))) for i in range(2, 9)]
    big = functools.reduce(add, parts)
    return chain("long_one", ("x", "z"), (LOGIT, TARGET), [
        (BCE, "", "", None), (big, "differentiate", "", 1e9), (mul(big, div(big, add(ONE, big))), "a step", "", 12.3)],
        PROVED)


def test_text_is_aligned_and_says_all() -> None:
    said = derivation_text(samples()[0])
    lines = [line for line in said.splitlines() if " at x = " in line and "worst found" not in line]
    assert len(lines) == 3 and len({line.index(" = ") for line in lines}) == 1
    assert "-z log s(x) - (1-z) log(1 - s(x))" in lines[0] and "inf" in lines[0]
    assert "log s(x) = -sp(-x)" in lines[1] and "2^24" in lines[1]
    assert len({line.index("at x = 0.71") for line in lines}) == 1
    assert "every step proved (case split x > 0, x < 0); enclosed at 200 points each" in said
    assert "from end to end: enclosed at 20,000 points" in said
    assert str(derivation_rich(samples()[0])) == said


@pytest.mark.parametrize("width", [80, 110])
def test_text_keeps_to_its_width(width: int) -> None:
    for sample in samples():
        assert not [line for line in derivation_text(sample, width).splitlines() if len(line) > width]


def test_a_broken_formula_loses_nothing() -> None:
    formula = text(long_one().steps[-1].after)
    broken = break_formula(formula, 50)
    assert len(broken) > 3 and max(map(len, broken)) <= 50
    assert "".join("".join(broken).split()) == "".join(formula.split())


def test_unproved_steps_are_not_called_proved() -> None:
    assert "no step proved" in derivation_text(samples()[1])
    assert "proved" not in words.evidence_words(ENCLOSED)
    assert words.evidence_words(()) == "no evidence"


def test_a_gradient_starts_from_the_loss() -> None:
    said = derivation_latex(samples()[1])
    assert "L &= -z" in said and r"\frac{\partial L}{\partial x} &= \sigma(x) - z" in said
    assert r"\frac{\partial L}{\partial x_k} &=" in derivation_latex(samples()[2])
    assert r"\frac{\partial^2 L}{\partial x\, \partial z}" in derivation_latex(samples()[3])


def test_reasons_stand_beside_the_lines() -> None:
    said = derivation_latex(samples()[0])
    assert r"\tag*{\footnotesize $\log\sigma(x) = -\operatorname{sp}(-x)$}" in said
    assert "factor the larger of $1$ and $e^{a}$ out" in said


def test_long_formulas_are_named_apart_and_nothing_is_lost() -> None:
    setter = setter_for(long_one())
    last = long_one().steps[-1].after
    assert setter.names and all(w <= LONGEST * 1.5 for w in (setter.width(t) / 3 for t in (last, *setter.names)))
    for term in setter.names:  # each name is defined by names that come before it
        inner = [t for t in walk(term) if t in others(setter.names, term)]
        assert all(list(setter.names).index(t) < list(setter.names).index(term) for t in inner)
    assert long_one().to_text().count("where ") >= len(setter.names) - 2


def test_a_line_that_reads_as_the_one_above_is_not_repeated() -> None:
    product = mul(z, make("max", x, ZERO))
    d = chain("guarded", (), (LOGIT, TARGET), [(product, "", "", 1.0), (node("absorb", product.args), "why", "", 1.0)],
              PROVED)
    assert " = the same" in derivation_text(d) and r"= \text{the same}" in derivation_latex(d)
    regrouped = chain("regrouped", (), (LOGIT, TARGET), [
        (node("add", (node("add", (x, z)), t)), "", "", 1.0), (node("add", (x, node("add", (z, t)))), "why", "", 1.0)],
        PROVED)
    assert " = x + (z + t)" in derivation_text(regrouped)


@pytest.mark.parametrize(("where", "short"), [
    ("x = -3.40282347e+38, z = 0", "x = -3.403e38, z = 0"), ("z = 0.99999994", "z = 0.99999994"),
    ("C = 1000", "C = 1000"), ("x1 = 0.0750925243", "x1 = 0.07509"),
])
def test_points_are_shortened_but_not_to_what_they_are_not(where: str, short: str) -> None:
    assert shortened(where) == short


def test_pages_do_not_depend_on_the_hash_seed() -> None:
    code = ("from lossmith.derivations import identities\n"
            "from lossmith.derivations.typeset.markdown import unit_markdown\n"
            "print(unit_markdown(identities.checked()).encode())")
    pages = {subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                            capture_output=True, text=True, timeout=60).stdout for seed in ("1", "2")}
    assert len(pages) == 1


@pytest.mark.parametrize(("script", "says"), [("prove_an_identity.py", "refuted: softplus_misremembered, line 2"),
                                              ("print_a_derivation.py", "dL/dx"),
                                              ("five_hard_ones.py", "log1pmx")])
def test_the_examples_run(script: str, says: str, tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "examples" / script
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and says in done.stdout, done.stderr


def test_rows_name_their_peak() -> None:
    said = derivation_latex(samples()[2])
    assert r"m &= \max_{k} x_k" in said and r"r &= \sum_{k \ne k^*} e^{x_k - m}" in said


def test_markdown_fences_its_mathematics() -> None:
    said = unit_markdown(samples()[:2])
    assert said.startswith("# Title of sigmoid\\_cross\\_entropy")
    fences = re.findall(r"```math\n(.*?)\n```", said, re.S)
    outside = re.sub(r"```.*?```|\$`.*?`\$", "", said, flags=re.S)
    assert len(fences) >= 2 and "\\frac" not in outside
    for fact in ("evidence: proved", "worst error before: 2^24 ulp", "holds if: 0 \\<= z", "at\\_infinity: the limit"):
        assert fact in derivation_markdown(samples()[0])


def test_notebook_latex_is_one_display() -> None:
    said = notebook_latex(samples()[0])
    assert said.startswith("$$") and said.endswith("$$") and "$$" not in said[2:-2]
    assert samples()[0]._repr_latex_() == said


def test_json_is_json() -> None:
    data = json.loads(json.dumps(derivation_json(samples()[0]), allow_nan=False))
    assert data["steps"][0]["error_before"]["ulp"] == "inf"
    assert data["form"]["expression"] and data["steps"][1]["after"]["latex"]


def test_html_is_self_contained_and_well_formed() -> None:
    page = derivation_html(samples())
    assert not re.search(r"https?:|<script|<link|src=", page)
    for found in re.findall(r"<math.*?</math>", page):
        ElementTree.fromstring(found.replace("&nbsp;", " "))
    assert page.count("<section>") == 4


def test_html_escapes_text() -> None:
    bad = chain("n", (), (LOGIT,), [(x, "", "", None), (neg(x), "<script>alert(1)</script>", "", None)], PROVED)
    assert "<script" not in derivation_html(bad) and "<script" not in derivation_markdown(bad).replace("\\<", "")


def test_all_formats_take_identities_too() -> None:
    checked = identities.check(identities.load("sparse_is_onehot"), 4)
    for said in (derivation_text(checked), derivation_latex(checked), derivation_markdown(checked),
                 derivation_html(checked), notebook_latex(checked), json.dumps(derivation_json(checked))):
        assert "logarithm of a quotient" in said


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pdflatex_sets_every_page_without_a_complaint(tmp_path: Path) -> None:
    checked = [identities.check(identities.load(name), 4) for name in identities.names()]
    every = chain("every_operation", (), (), [(term, "", "", None) for term in one_of_each()], PROVED)
    pages = {"samples": document(samples()), "identities": unit_latex(checked), "all": document([every])}
    for name, page in pages.items():
        assert re.findall(r"\\usepackage.*", page) == [r"\usepackage{amsmath}"]
        (tmp_path / f"{name}.tex").write_text(page, encoding="ascii")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
        assert done.returncode == 0, done.stdout[-2000:]
        if name != "all":
            assert not re.findall(r"^Overfull .*", done.stdout, re.M)


def split_up() -> Derivation:
    """log1p(exp(x)) in three pieces of which two are rewritten, then a step on the whole."""
    whole = make("log", add(ONE, make("exp", x)))
    low, high = node("lt", (x, neg(ONE))), node("lt", (x, ONE))
    near, far = make("log1p", make("exp", x)), add(x, make("log1p", make("exp", neg(x))))

    def pieces(a: Term, b: Term, c: Term) -> Term:
        return node("where", (low, a, node("where", (high, b, c))))

    lines = [whole, pieces(whole, whole, whole), pieces(near, whole, whole), pieces(near, whole, far)]
    made = chain("split", (), (LOGIT,), [(t, "because", "because", 3.0) for t in lines], PROVED)
    steps = (replaced(made.steps[0], rule="split"), *made.steps[1:])
    return replaced(made, steps=steps)


def test_regimes_are_told_case_by_case() -> None:
    said = [" ".join(line.split()) for line in derivation_text(split_up()).splitlines()]
    first, last, joined = said.index("for x < -1"), said.index("for x >= 1"), said.index("together")
    assert "= log1p(exp(x)) because" in said[first + 1] and last == first + 2
    assert "= x + log1p(exp(-x)) because" in said[last + 1] and joined == last + 2
    assert said[joined + 1].startswith("= where(x < -1, log1p(exp(x)),")
    assert not any("where" in line for line in said[:joined])


def test_cases_stand_in_every_format() -> None:
    tex = derivation_latex(split_up())
    assert r"\intertext{for $x < -1$:}" in tex and r"\intertext{together:}" in tex
    assert r"\\" + "\n\\intertext" not in tex
    page = derivation_markdown(split_up())
    assert r"&\text{for $x < -1$:}" in page and "Step 1: split" in page and "Step 3" in page
    assert "together" in derivation_html(split_up())


def test_pieces_that_a_rule_made_are_told_apart_from_the_second_step_on() -> None:
    made = split_up()
    ruled = replaced(made, steps=(replaced(made.steps[0], rule="by-sign", before=x), *made.steps[1:]))
    said = derivation_text(ruled)
    assert "for x < -1" in said and "together" in said and said.count("= where") == 2
    one = derivation_text(replaced(ruled, steps=ruled.steps[:2]))
    assert "for x < -1" not in one and "together" not in one
