"""A self-contained page for derivations: MathML, tables, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lossmith.derivations.derivation import Order
from lossmith.derivations.terms import Term, show
from lossmith.derivations.typeset import numbers, words
from lossmith.derivations.typeset.chain import Chain, Line, all_terms, lines_of, opens
from lossmith.derivations.typeset.mathml import MathmlStyle, mathml
from lossmith.derivations.typeset.naming import Names, others, used_in
from lossmith.derivations.typeset.setter import setter_for

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd; vertical-align: middle }
th { font-weight: 600; font-size: .85rem } td.why { color: #555; font-size: .9rem } td.left { text-align: right }
td.error { white-space: nowrap; font-variant-numeric: tabular-nums } math { font-size: 1.1rem }
math .cases mtd { text-align: left; padding: .15rem .6rem .15rem .2rem }
pre { overflow-x: auto; background: #f5f5f5; padding: .6rem }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } td, th { border-color: #444 }
td.why { color: #aaa } pre { background: #252525 } }
"""


def derivation_html(chains: Chain | Sequence[Chain]) -> str:
    """One derivation, or several, as a complete page."""
    several = list(chains) if isinstance(chains, Sequence) else [chains]
    title = several[0].title if several[0].order is not None else "Identities"
    body = "\n".join(section(chain) for chain in several)
    return (f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{escape(title)}</title>"
            f"<style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n")


def section(chain: Chain) -> str:
    """One derivation, to stand in a page."""
    names = setter_for(chain).names
    said = words.quantity_words(chain.order) if chain.order is not None else chain.title
    parts = [f"<section>\n<h2>{escape(said[:1].upper() + said[1:])}</h2>", _arguments(chain), _lines(chain, names),
             _notes(chain, names), _form(chain), _closing(chain)]
    return "\n".join(part for part in parts if part) + "\n</section>"


def _math(text: str) -> str:
    return f"<math>{text}</math>"


def _arguments(chain: Chain) -> str:
    style = MathmlStyle()
    said = [_math(style.symbol(a.name, "k" if a.axis == "class" else "").text) + " " + escape(words.domain_words(a))
            for a in chain.arguments]
    said += [_math(mathml(r)) for r in words.relations(chain)]
    said += [escape(f"{name}: {value}") for name, value in chain.policies]
    return f"<p>{', '.join(said)}.</p>" if said else ""


def _lines(chain: Chain, names: Names) -> str:
    rows: list[str] = []
    previous, lines = "", lines_of(chain)
    for place, line in enumerate(lines):
        if opens(lines, place):
            rows.append(f"<tr><td></td><td class='why' colspan='4'>{_case(line, names)}</td></tr>")
        formula = mathml(line.term, others(names, line.term))
        if formula == previous:
            formula = mathml(line.term, others(names, line.term), exact=True)
            formula = "<mtext>the same</mtext>" if formula == previous else formula
        else:
            previous = formula
        rows.append(_row(line, formula, chain))
    measured = any(line.error is not None for line in lines_of(chain))
    last = "<th>worst error</th>" if measured else ""
    head = f"<tr><th></th><th></th><th>because</th><th>evidence</th>{last}</tr>"
    return f"<div class='wide'><table>{head}\n" + "\n".join(rows) + "\n</table></div>"


def _case(line: Line, names: Names) -> str:
    """The heading above the lines of a case."""
    if line.joins:
        return "together"
    return "for " + " and ".join(_math(mathml(c, others(names, c))) for c in line.case or ())


def _row(line: Line, formula: str, chain: Chain) -> str:
    equals = "<mo>=</mo>" if line.equals else ""
    left = _math(_quantity(line.quantity, chain)) if line.quantity is not None else ""
    condition = line.step.condition if line.step else ""
    why = escape(line.reason) + (f" <i>({escape(condition)})</i>" if condition else "")
    evidence = escape(words.evidence_words(line.step.evidence)) if line.step else ""
    error = "" if line.error is None else f"<td class='error'>{_error(line)}</td>"
    return (f"<tr><td class='left'>{left}</td><td><math displaystyle='true'>{equals}{formula}</math></td>"
            f"<td class='why'>{why}</td><td class='why'>{evidence}</td>{error}</tr>")


def _error(line: Line) -> str:
    assert line.error is not None
    figure = numbers.ulps(line.error.ulp)
    said = f"2<sup>{figure[2:]}</sup>" if figure.startswith("2^") else figure
    return f"{said} ulp" + (f"<br>at {escape(numbers.shortened(line.error.where))}" if line.error.where else "")


def _quantity(order: Order | None, chain: Chain) -> str:
    if not order:
        return "<mi>L</mi>"
    style = MathmlStyle()
    named = [style.symbol(n, "k" if words.is_row(n, chain.arguments) else "").text for n in order]
    if len(order) == 1:
        return f"<mfrac><mrow><mi>∂</mi><mi>L</mi></mrow><mrow><mi>∂</mi>{named[0]}</mrow></mfrac>"
    if order[1] == "tangent":
        return f"<msub><mrow><mo>(</mo><mi>H</mi><mi>v</mi><mo>)</mo></mrow>{named[0]}</msub>"
    below = (f"<mi>∂</mi><msup><mrow>{named[0]}</mrow><mn>2</mn></msup>" if order[0] == order[1]
             else f"<mi>∂</mi>{named[0]}<mi>∂</mi>{named[1]}")
    return f"<mfrac><mrow><msup><mi>∂</mi><mn>2</mn></msup><mi>L</mi></mrow><mrow>{below}</mrow></mfrac>"


def _notes(chain: Chain, names: Names) -> str:
    used = used_in(all_terms(chain), names)
    said = [_definition(term, name, names) for term, name in used.items()]
    said += [escape(plain) for plain, _ in words.conventions([*all_terms(chain), *used])]
    return "<ul>" + "".join(f"<li>{item}</li>" for item in said) + "</ul>" if said else ""


def _definition(term: Term, name: str, names: Names) -> str:
    left = MathmlStyle().symbol(name, "k" if term.sort == "row" else "").text
    return f"<math displaystyle='true'>{left}<mo>=</mo>{mathml(term, others(names, term))}</math>"


def _form(chain: Chain) -> str:
    if chain.form is None:
        return ""
    error = words.error_words(chain.form.error)
    return f"<pre>{escape(show(chain.form.term))}</pre>" + (f"<p>Worst error: {escape(error)}.</p>" if error else "")


def _closing(chain: Chain) -> str:
    said = [escape(s[:1].upper() + s[1:]) + "." for s in words.summary(chain)]
    references = "".join(f"<li>{escape(r)}</li>" for r in chain.references) if not chain.order else ""
    return f"<p>{' '.join(said)}</p>" + (f"<ul>{references}</ul>" if references else "")
