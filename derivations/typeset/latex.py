"""LaTeX of a derivation: a body that amsmath alone can set, a document, a notebook's cell, a unit's page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lossmith.derivations.derivation import Measurement, Order
from lossmith.derivations.typeset import numbers, words
from lossmith.derivations.typeset.chain import Chain, Line, all_terms, opens
from lossmith.derivations.typeset.naming import used_in
from lossmith.derivations.typeset.notation import LatexStyle, escape, latex
from lossmith.derivations.typeset.setter import LONGEST, Setter, set_lines, setter_for, symbols_of

NOTEBOOK = 90.0  # characters of a line in a notebook
PREAMBLE = r"""\documentclass[11pt]{article}
\usepackage{amsmath}
\setlength{\textwidth}{170mm}
\setlength{\oddsidemargin}{-5mm}
\setlength{\topmargin}{-15mm}
\setlength{\textheight}{240mm}
\setlength{\parindent}{0pt}
\allowdisplaybreaks
"""
TABLE = r"""\medskip
\begin{footnotesize}
\begin{tabular}{@{}r@{\ \ }*{3}{p{33mm}}p{46mm}@{}}
step & rule & holds if & worst error after & evidence \\[0.5ex] \hline \rule{0pt}{2.4ex}%
"""


def quantity(order: Order | None, chain: Chain) -> str:
    """The left side of a line: `L`, `\\frac{\\partial L}{\\partial x_k}`; empty where a line goes on."""
    if order is None:
        return ""
    if not order:
        return "L"
    style = LatexStyle(symbols_of(chain))
    named = [style.symbol(n, "k" if words.is_row(n, chain.arguments) else "").text for n in order]
    if len(order) == 1:
        return rf"\frac{{\partial L}}{{\partial {named[0]}}}"
    if order[1] == "tangent":
        return rf"(H v)_{{{named[0]}}}"
    if order[0] == order[1]:
        return rf"\frac{{\partial^2 L}}{{\partial {named[0]}^2}}"
    return rf"\frac{{\partial^2 L}}{{\partial {named[0]}\, \partial {named[1]}}}"


def reason(line: Line) -> str:
    """The reason of a line as LaTeX text. It may have been given as mathematics, or as text with dollars."""
    given = line.reason_latex.strip()
    if not given:
        return escape(line.reason)
    only_text = re.fullmatch(r"\\text\{([^{}]*)\}", given)
    if only_text or "$" in given:
        return only_text.group(1) if only_text else given
    formula = any(c in given for c in "\\^_") or not re.search(r"[A-Za-z]{3}", given)
    return f"${given}$" if formula else escape(given)


def aligned_rows(line: Line, formula: list[str], chain: Chain) -> list[str]:
    """The rows of one line in an alignment: left side, formula; no reason and no line end."""
    equals = "= " if line.equals else r"\phantom{=\ } "
    return [f"{quantity(line.quantity, chain)} &{equals}{formula[0]}", *(rf"&\quad {row}" for row in formula[1:])]


def case_row(lines: Sequence[Line], place: int, setter: Setter) -> list[str]:
    """A heading within an alignment above the first line of a case, where \\intertext is not known."""
    return [rf"&\text{{{setter.case(lines[place])}}}"] if opens(lines, place) else []


def _tag(line: Line, width: float) -> str:
    """The reason at the right margin, in a narrow block where it would meet the formula."""
    said = reason(line)
    if not said:
        return ""
    if len(line.reason) > 40 or (len(line.reason) > 30 and len(line.reason) + width > LONGEST):
        said = rf"\parbox{{52mm}}{{\raggedleft {said}}}"
    return rf" \tag*{{\footnotesize {said}}}"


def derivation_latex(chain: Chain) -> str:
    """A derivation as the body of a document: heading, arguments, `align*` with the reasons to the
    right, what the names stand for, and how each step is known to be true."""
    setter = setter_for(chain)
    rows: list[str] = []
    lines = set_lines(chain, setter)
    for place, (line, formula) in enumerate(lines):
        first, *more = aligned_rows(line, formula, chain)
        if opens([one for one, _ in lines], place):
            first = rf"\intertext{{{setter.case(line)}}}" + "\n" + first
        rows += [first, *more]
        rows[-1] += _tag(line, setter.width(line.term))
    of = f": {words.quantity_words(chain.order)}" if chain.order is not None else ""
    parts = [rf"\subsection*{{{escape(chain.title + of)}}}", _arguments(chain), _align(rows), _where(chain, setter),
             _conventions(chain, setter), _steps(chain), _closing(chain)]
    return "\n".join(part for part in parts if part) + "\n"


def _align(rows: list[str]) -> str:
    body = " \\\\\n".join(rows).replace(" \\\\\n\\intertext", "\n\\intertext")
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _arguments(chain: Chain) -> str:
    style = LatexStyle(symbols_of(chain))
    said = [
        f"${style.symbol(a.name, 'k' if a.axis == 'class' else '').text}$ {domain(words.domain_words(a))}"
        + (f" ({escape(a.meaning)})" if a.meaning and a.meaning not in words.domain_words(a) else "")
        for a in chain.arguments
    ]
    said += [f"${latex(r, symbols=symbols_of(chain))}$" for r in words.relations(chain)]
    return f"{', '.join(said)}." if said else ""


def domain(said: str) -> str:
    """The words of a domain as LaTeX text: sets and numbers as mathematics."""
    head, _, rest = said.partition(" ")
    if head not in ("in", "="):
        return escape(said)
    body = rest.replace("{", r"\lbrace ").replace("}", r"\rbrace").replace("inf", r"\infty ")
    return rf"$\in {body}$" if head == "in" else f"$= {body}$"


def _where(chain: Chain, setter: Setter) -> str:
    rows = []
    for term in used_in(all_terms(chain), setter.names):
        first, *more = setter.rows(term)
        rows += [f"{setter.name(term)} &= {first}", *(rf"&\quad {row}" for row in more)]
    return "where\n" + _align(rows) if rows else ""


def _conventions(chain: Chain, setter: Setter) -> str:
    said = [tex for _, tex in words.conventions([*all_terms(chain), *setter.names])]
    return f"Here {'; '.join(said)}.\n" if said else ""


def _steps(chain: Chain) -> str:
    """A table: each step's rule, its side condition, the error after it and its evidence."""
    if not chain.steps or chain.order is None:
        return ""
    rows = [
        f"{number} & {escape(s.rule)} & {escape(s.condition) or '--'} & {error(s.error_after)} & "
        + escape(words.evidence_words(s.evidence))
        for number, s in enumerate(chain.steps, 1)
    ]
    ragged = [row.replace(" & ", r" & \raggedright ") for row in rows]
    return TABLE + " \\tabularnewline\n".join(ragged) + "\n\\end{tabular}\n\\end{footnotesize}\n\\medskip\n"


def error(measured: Measurement | None) -> str:
    """A measured error as LaTeX text; a dash where none was measured."""
    if measured is None:
        return "--"
    figure = numbers.ulps(measured.ulp)
    said = f"$2^{{{figure[2:]}}}$" if figure.startswith("2^") else r"$\infty$" if figure == "inf" else figure
    return f"{said} ulp at {escape(numbers.shortened(measured.where))}" if measured.where else f"{said} ulp"


def _closing(chain: Chain) -> str:
    said = [escape(s[:1].upper() + s[1:]) + "." for s in words.summary(chain)]
    return " ".join(said) + "\n" if said else ""


def notebook_latex(chain: Chain) -> str:
    """A derivation for a notebook: one display that MathJax sets, the reasons in a column to the right."""
    setter = setter_for(chain, NOTEBOOK)
    rows: list[str] = []
    lines = set_lines(chain, setter, NOTEBOOK)
    for place, (line, formula) in enumerate(lines):
        rows += case_row([one for one, _ in lines], place, setter)
        rows += aligned_rows(line, formula, chain)
        rows[-1] += rf" && \text{{{reason(line)}}}" if reason(line) else ""
    rows += [rf"{setter.name(term)} &:= {setter.piece(term)}" for term in used_in(all_terms(chain), setter.names)]
    return "$$\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}$$"


def unit_latex(chains: Sequence[Chain]) -> str:
    """All derivations of one unit, or all identities, as one document."""
    return document(chains)


def document(chains: Sequence[Chain]) -> str:
    """A complete document that pdflatex sets with amsmath alone."""
    body = "\n".join(derivation_latex(chain) for chain in chains)
    return f"{PREAMBLE}\\begin{{document}}\n{body}\\end{{document}}\n"
