"""Formulas from text: what is read is what was written, and everything else is refused in plain words."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lossmith.derivations import parser
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.parser import FormulaError, parse_condition, parse_term
from lossmith.derivations.terms import Term, show, walk

from lossmith import formula

SCALARS = parser.arguments({"x": "extended", "z": "[0,1]"})
ROWS = parser.arguments({"x[k]": "extended", "t": "simplex", "y": "index", "c": "real"})


def refusal(text: str, known: object = None) -> FormulaError:
    with pytest.raises(FormulaError) as caught:
        parse_term(text, SCALARS if known is None else known)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(("text", "shown"), [
    ("-z*log(sigmoid(x)) - (1-z)*log(1-sigmoid(x))", "-z*log(sigmoid(x)) - (1 - z)*log(1 - sigmoid(x))"),
    ("z + x - x*z", "z + x - x*z"),
    ("x - (x - z)", "x - (x - z)"),
    ("max(x, 0, z)", "max(max(x, 0), z)"),
    ("where(0 < x < 1 and not z == 0, x, -x)", "where(and(and(0 < x, x < 1), not(z == 0)), x, -x)"),
    ("x**2", "x**2"),
    ("pi*x", "pi*x"),
])
def test_association_and_order_are_the_authors(text: str, shown: str) -> None:
    assert show(parse_term(text, SCALARS)) == shown


@pytest.mark.parametrize("text", [
    "-sum(t*log(softmax(x)))",
    "-sum(t[i]*log(exp(x[i])/sum(exp(x[j]), j)), i)",
    "-sum(t[k]*log(exp(x[k])/sum(exp(x))))",
])
def test_three_ways_to_write_one_row_loss(text: str) -> None:
    assert show(parse_term(text, ROWS)) == "-sum(t[k]*log(exp(x[k])/sum(exp(x[k]))))"


def test_rows_labels_and_counts() -> None:
    assert show(parse_term("logsumexp(x) - x[y]", ROWS)) == "lse(x[k]) - x[y]"
    assert show(parse_term("mean(x) + c", ROWS)) == "sum(x[k])/C + c"


@given(st.decimals(min_value=0, max_value=10**12, places=9))
def test_numbers_are_exact(value: object) -> None:
    text = format(value, "f")  # type: ignore[arg-type]
    term = parse_term(f"x + {text}", SCALARS)
    found = [t.value for t in walk(term) if t.op == "const"]
    assert found == ([] if Fraction(text) == 0 else [Fraction(text)])


def test_to_sympy_keeps_the_order_of_terms() -> None:
    symbols = parser.symbols({"x": "extended", "z": "[0,1]"})
    formula = parser.parse("x - x*z + log(1 + exp(-x))", symbols)
    assert [str(a) for a in formula.args[0].args] == ["x", "-x*z"]


# Each of these is a way in, or out, of a parser that trusts Python.
HOSTILE = [
    "__import__('os').system('true')", "().__class__", "x.__class__", "exec(x)", "eval(x)", "open(x)",
    "[x for x in z]", "lambda: x", "f'{x}'", "(y := x)", "log(x=1)", "log(*x)", "log(**x)", "x[0]", "x[z]",
    "x if z else 1", "x; z", "x\nimport os", "yield x", "await x", "...", "True", "None", "'x'", "{x}", "x @ z",
    "x // z", "x % z", "~x", "x << 2", "x is z", "x in z", "not x", "0x10", "1_0", "1j", "1e9999", "9**9**9",
    "((9**63)**63)**63", "x**1001", "1/0", "0**0", "(" * 300 + "x" + ")" * 300, "-" * 1900 + "x", "x+" * 999 + "x",
    "x" * 3000, "max(" * 150 + "x" + ",1)" * 150, "", "   ", "\u202ex", "x\0", "ｘ", "Σ(x)", "log(x, z, x)",
    "exp(x, z)", "log()", "log", "x z", "2x", "x(z)", "(x)(z)", "x = z", "x > z", "where(x, 1, 2)", "1 +",
    "sum(x)", "softmax(x)",
    "e**x", "unknown", "inf", "x*np.inf", "log(0)", "exp(10**6)", "gamma(-1)", "x.real",
    "np.random.rand(3)", "#", "x # z", "`x`", "$x", "x?",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_not_a_formula_is_refused_with_a_code(text: str) -> None:
    error = refusal(text)
    assert error.code in parser.CODES
    assert all(c.isprintable() or c == "\n" for c in str(error))
    assert len(str(error).splitlines()) <= 4
    assert "\n" not in error.line


@given(st.text(alphabet="xz01.+-*/()[]<>=! ,elogmaxsump_'\\\u03c3", max_size=60))
def test_nothing_but_a_term_or_a_refusal_comes_out(text: str) -> None:
    try:
        assert isinstance(parse_term(text, SCALARS), Term)
    except FormulaError as error:
        assert str(error)


def test_an_error_shows_where_and_what_to_type() -> None:
    assert str(refusal("-z*log(sigmiod(x)) - (1-z)*log(1-sigmoid(x))")) == (
        "unknown function 'sigmiod' (E104)\n"
        "    -z*log(sigmiod(x)) - (1-z)*log(1-sigmoid(x))\n"
        "           ^^^^^^^\n"
        "    did you mean 'sigmoid'?  `lossmith explain E104` lists what a formula may contain"
    )


@pytest.mark.parametrize(("text", "hint"), [
    ("x^2", "write ** for a power"),
    ("2x", "2*x"),
    ("x(1 - z)", "write x*(...)"),
    ("lnn(x)", "'ln'"),
    ("|x|", "abs(x)"),
    ("e**x", "exp(x)"),
    ("x.sum()", "sum(x), not x.sum()"),
    ("x*inf", "domain extended"),
    ("x if z > 0 else 1", "where(condition, a, b)"),
    ("x = 2", "=="),
    ("w + x", '--domain "w=real"'),
])
def test_the_hint_says_what_to_type(text: str, hint: str) -> None:
    assert hint in refusal(text).hint


def test_the_caret_stays_under_its_place_in_a_long_formula() -> None:
    text = "x + " * 60 + "foo(x)" + " + x" * 10
    _, shown, caret, _ = str(refusal(text)).splitlines()
    at = caret.index("^")
    assert shown[at:at + 3] == "foo" and caret.count("^") == 3


@pytest.mark.parametrize("name", ["lambda", "max", "log", "float", "threadIdx", "double2", "out", "x__y", "1x", "é",
                                  "match", "tangent_x", "__class__", "a" * 33])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(FormulaError, match="cannot be called"):
        parser.arguments({name: "real"})


def test_the_names_of_the_class_axis_are_letters_where_there_is_none() -> None:
    assert set(parser.arguments({"k": "real", "C": "real"})) == {"k", "C"}
    for name in ("k", "C"):
        with pytest.raises(FormulaError, match="beside rows"):
            parser.arguments({name: "real", "x[k]": "real"})


def test_roles_follow_from_the_table() -> None:
    made = parser.arguments({"x": "real", "y": "index", "t": "simplex", "g": "[0,inf)"}, parameters={"g": "2"})
    assert [(a.name, a.role, a.axis) for a in made.values()] == [
        ("x", "input", "none"), ("y", "label", "none"), ("t", "target", "class"), ("g", "parameter", "none")]
    assert made["g"].default == "2" and not made["g"].differentiable
    assert made["x"].domain == parse_domain("real")


def test_a_bad_domain_names_its_argument() -> None:
    with pytest.raises(FormulaError, match="the domain of 'x'"):
        parser.arguments({"x": "reals"})


def test_conditions() -> None:
    assert show(parse_condition("x > z", SCALARS)) == "x > z"
    with pytest.raises(FormulaError):
        parse_condition("x + z", SCALARS)


def test_every_code_is_explained_and_used() -> None:
    where = Path(parser.__file__).parent
    files = [*(where / f for f in ("parser.py", "declarations.py", "refusals.py")), Path(formula.__file__)]
    source = "".join(f.read_text(encoding="utf-8") for f in files)
    for code in parser.CODES:
        assert code in parser.explain(code)
        assert source.count(f'"{code}"') > 1, f"nothing raises {code}"


def test_reading_a_term_needs_no_sympy() -> None:
    script = "import sys; import lossmith.derivations.parser; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
