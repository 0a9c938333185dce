"""Setting the terms of a chain in LaTeX: symbols, names of parts, long lines broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from lossmith.derivations.terms import Term
from lossmith.derivations.typeset.chain import Chain, Line, all_terms, lines_of
from lossmith.derivations.typeset.naming import Names, name_parts, others
from lossmith.derivations.typeset.notation import LatexStyle
from lossmith.derivations.typeset.writer import Writer

LONGEST = 64.0  # characters that fit a line beside no reason
ROWS = 3  # rows that one formula may take before its parts are named


@dataclass(frozen=True)
class Setter:
    """Writes the terms of one chain: the LaTeX of its symbols, and the names of its parts."""

    symbols: Mapping[str, str]
    names: Names

    def piece(self, term: Term, exact: bool = False) -> str:
        return Writer(LatexStyle(self.symbols), others(self.names, term), exact).whole(term).text

    def case(self, line: Line) -> str:
        """The heading above the lines of a case, as LaTeX text: `for $x < 1$ and $y > 0$:`."""
        if line.joins:
            return "together:"
        return "for " + " and ".join(f"${self.piece(c)}$" for c in line.case or ()) + ":"

    def name(self, term: Term) -> str:
        style = LatexStyle(self.symbols)
        return style.symbol(self.names[term], "k" if term.sort == "row" else "").text

    def rows(self, term: Term, longest: float = LONGEST, exact: bool = False) -> list[str]:
        """The term as one row, or broken before the signs of its outermost sum, or before a factor."""
        parts = self.addends(term, exact) if self.width(term) > longest else []
        if len(parts) < 2:
            return [self.piece(term, exact)]
        rows, room = [parts[0][0]], longest - parts[0][1]
        for text, width in parts[1:]:
            if width > room:
                rows.append(text)
                room = longest - width
            else:
                rows[-1] += " " + text
                room -= width
        return rows

    def width(self, term: Term) -> float:
        return line_width(term, others(self.names, term), self.symbols)

    def addends(self, term: Term, exact: bool) -> list[tuple[str, float]]:
        """The outermost sum in parts; each with its sign, and its width."""
        writer = Writer(LatexStyle(self.symbols), others(self.names, term), exact)
        flat: list[tuple[str, Term]] = []
        while term.op in ("add", "sub") and term not in writer.names:
            flat.append(("+" if term.op == "add" else "-", term.args[1]))
            term = term.args[0]
        out = [(writer.whole(term).as_term if flat else writer.whole(term).text, writer.whole(term).width)]
        for sign, part in reversed(flat):
            text = _as_addend(writer, sign, part)
            out.append((text, writer.whole(part).width + 3))
        return out


def _as_addend(writer: Writer, sign: str, part: Term) -> str:
    """`+ b` or `- (b + c)`: an addend as it is written after others."""
    zero = LatexStyle().number(Fraction(0), False)
    made = writer.style.sum(zero, sign, writer.whole(part), writer.exact)
    return made.as_term.removeprefix("0 ")


def line_width(term: Term, names: Names, symbols: Mapping[str, str] | None = None) -> float:
    """The width of a term on one line, in characters."""
    return Writer(LatexStyle(symbols), names).whole(term).width


def crowding(term: Term, names: Names) -> float:
    """How far a term is from fitting: the widest of its addends, or all of it over the rows it may take."""
    setter = Setter({}, names)
    widest = max(width for _, width in setter.addends(term, False))
    return max(widest, setter.width(term) / ROWS)


def setter_for(chain: Chain, longest: float = LONGEST) -> Setter:
    """The setter of a chain, with names for the parts without which lines would be too long."""
    return Setter(symbols_of(chain), name_parts(all_terms(chain), crowding, longest))


def symbols_of(chain: Chain) -> Mapping[str, str]:
    """The LaTeX that the author gave to names, if any."""
    found: Mapping[str, str] | None = getattr(chain, "symbols", None)
    return found or {}


def set_lines(chain: Chain, setter: Setter, longest: float = LONGEST) -> list[tuple[Line, list[str]]]:
    """Each line of a chain with its formula in rows. Where a step changes only the association, the
    line shows every association, so that it differs from the one above."""
    out: list[tuple[Line, list[str]]] = []
    previous: list[str] = []
    for line in lines_of(chain):
        rows = setter.rows(line.term, longest)
        if rows == previous:
            rows = setter.rows(line.term, longest, exact=True)
            rows = [r"\text{the same}"] if rows == previous else rows
        else:
            previous = rows
        out.append((line, rows))
    return out
