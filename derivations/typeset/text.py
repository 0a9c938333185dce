"""Plain text and terminal rendering of a derivation: aligned columns of formula, reason, error."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lossmith.derivations.derivation import Order
from lossmith.derivations.terms import Term
from lossmith.derivations.typeset import numbers, words
from lossmith.derivations.typeset.chain import Chain, Line, all_terms, lines_of, opens
from lossmith.derivations.typeset.naming import Names, name_parts, others, used_in
from lossmith.derivations.typeset.text_notation import text

if TYPE_CHECKING:
    from rich.text import Text

Kind = Literal["head", "formula", "note", "blank"]
LONGEST = 4  # lines that one formula may take before its parts are named
LEAST_REASON = 24
SAME = "the same"  # in place of a line that reads as the one above, as a product that absorbs infinity does
LONGEST_PLACE = 24  # characters of where an error was found; other formats say all
NARROW = 60  # with less room than this, reasons stand below the formulas


@dataclass(frozen=True)
class _Row:
    """One line of output, in columns."""

    kind: Kind
    left: str = ""
    formula: str = ""
    reason: str = ""
    error: str = ""


def derivation_text(chain: Chain, width: int = 120) -> str:
    """A derivation (or a checked identity) as plain text, no line longer than `width` where that can be."""
    rows = list(_rows(chain, width))
    return "\n".join(_plain(row, _columns(rows)).rstrip() for row in rows) + "\n"


def derivation_rich(chain: Chain, width: int = 120) -> Text:
    """The same for a terminal with colours: a `rich.text.Text`."""
    from rich.text import Text

    rows = list(_rows(chain, width))
    columns = _columns(rows)
    out = Text()
    for row in rows:
        plain = _plain(row, columns)
        line = Text(plain.rstrip())
        if row.kind == "head":
            line.stylize("bold", 0, len(row.left))
            line.stylize("dim", len(row.left))
        elif row.kind == "note":
            line.stylize("dim")
        elif row.kind == "formula":
            start = 2 + columns[0] + columns[1]
            line.stylize("italic dim", start, start + columns[2])
            line.stylize("cyan", start + columns[2])
        out.append_text(line).append("\n")
    return out


def _plain(row: _Row, columns: tuple[int, int, int]) -> str:
    if row.kind in ("head", "note", "blank"):
        return row.left + row.formula
    left, formula, reason = columns
    return f"  {row.left:<{left}}{row.formula:<{formula}}{row.reason:<{reason}}{row.error}"


def _columns(rows: list[_Row]) -> tuple[int, int, int]:
    formulas = [r for r in rows if r.kind == "formula"]
    widest = [max((len(getattr(r, part)) for r in formulas), default=0) for part in ("left", "formula", "reason")]
    return widest[0] + 1, widest[1] + 3, widest[2] + 3 if widest[2] else 0


@dataclass(frozen=True)
class _Layout:
    """How wide the columns are. `stacked`: no room for reasons beside the formulas; they stand below."""

    formula: int
    reason: int
    stacked: bool


def _layout(chain: Chain, lines: Sequence[Line], names: Names, room: int) -> _Layout:
    if room < NARROW:
        return _Layout(room, room - 4, True)
    need = max(len(text(line.term, others(names, line.term))) for line in lines)
    longest = max(min(need, room - max(LEAST_REASON, room // 4)), room // 3)
    return _Layout(longest, max(room - longest, LEAST_REASON), False)


def _rows(chain: Chain, width: int) -> Iterator[_Row]:
    lines = lines_of(chain)
    errors = [_error(line) for line in lines]
    left = max(len(quantity(line.quantity, chain)) for line in lines) + 2
    room = width - left - 10 - max(map(len, errors))
    names = name_parts(all_terms(chain), lambda t, n: len(text(t, n)), max(0.6 * room * LONGEST, 120.0))
    layout = _layout(chain, lines, names, room)
    yield from _heading(chain, width)
    yield _Row("blank")
    previous = ""
    for place, (line, error) in enumerate(zip(lines, errors)):
        if opens(lines, place):
            yield _Row("note", "  " + case_text(line, names))
        formula = text(line.term, others(names, line.term))
        if formula == previous:
            formula = text(line.term, others(names, line.term), exact=True)
            formula = SAME if formula == previous else formula
        else:
            previous = formula
        yield from _formula(line, quantity(line.quantity, chain), formula, layout, error)
    yield _Row("blank")
    yield from _notes(chain, names, width)


def case_text(line: Line, names: Names) -> str:
    """The heading above the lines of a case: where they hold."""
    return "together" if line.joins else "for " + " and ".join(text(c, others(names, c)) for c in line.case or ())


def _heading(chain: Chain, width: int) -> Iterator[_Row]:
    said = _head(chain)
    if len(chain.name) + len(said) <= width:
        yield _Row("head", chain.name, said)
        return
    yield _Row("head", chain.name)
    for part in textwrap.wrap(said.strip(), width - 2):
        yield _Row("note", "  " + part)


def _head(chain: Chain) -> str:
    parts = [words.quantity_words(chain.order)] if chain.order else []
    parts += [f"{a.name}{'_k' if a.axis == 'class' else ''} {words.domain_words(a)}" for a in chain.arguments]
    parts += [text(relation) for relation in words.relations(chain)]
    dtypes = [m.dtype for m in chain.form.errors] if chain.form else []
    dtypes = dtypes or [line.error.dtype for line in lines_of(chain) if line.error is not None][:1]
    if dtypes:
        parts.append(f"worst {' and '.join(dtypes)} error in ulp")
    return "     " + ", ".join(parts) if parts else ""


def quantity(order: Order | None, chain: Chain) -> str:
    """The left side of a line in plain text: `L`, `dL/dx`, `d2L/dx_k dz`; empty where a line goes on."""
    if order is None:
        return ""
    named = [n + ("_k" if words.is_row(n, chain.arguments) else "") for n in order]
    if not order:
        return "L"
    if len(order) == 1:
        return f"dL/d{named[0]}"
    if order[1] == "tangent":
        return f"(H v)_{order[0]}"
    return f"d2L/d{named[0]}2" if order[0] == order[1] else f"d2L/d{named[0]} d{named[1]}"


def _error(line: Line) -> str:
    if line.error is None:
        return ""
    where = numbers.shortened(line.error.where, 3)
    if len(where) > LONGEST_PLACE:
        where = where[:LONGEST_PLACE].rpartition(", ")[0] or where[: LONGEST_PLACE - 3]
        where += ", .."
    where = f"  at {where}" if where else ""
    return f"{numbers.ulps(line.error.ulp):>5}{where}"


def _formula(line: Line, left: str, formula: str, layout: _Layout, error: str) -> Iterator[_Row]:
    """The rows of one line: the formula broken at its operators, the reason wrapped beside or below it."""
    broken = break_formula(formula, layout.formula)
    reason = textwrap.wrap(line.reason, layout.reason, break_on_hyphens=False) or [""]
    if layout.stacked and line.reason:
        broken += [f"  # {part}" for part in reason]
    beside = [] if layout.stacked else reason
    for i in range(max(len(broken), len(beside))):
        mark = " = " if i == 0 and line.equals else "   "
        part = mark + broken[i] if i < len(broken) else ""
        said = beside[i] if i < len(beside) else ""
        yield _Row("formula", left if i == 0 else "", part, said, error if i == 0 else "")


def break_formula(formula: str, longest: int) -> list[str]:
    """A formula in lines of at most `longest` characters, broken where brackets are shallowest."""
    out, indent = [], ""
    while len(indent + formula) > longest:
        cut = _cut(formula, longest - len(indent))
        if cut <= 0:
            break
        out.append(indent + formula[:cut].rstrip())
        formula, indent = formula[cut:].lstrip(), "    "
    return [*out, indent + formula]


def _cut(formula: str, room: int) -> int:
    """Where to break: before a sign or after a comma, where brackets are shallow and the line is full."""
    depth, best, place = 0, 99.0, 0
    for i, c in enumerate(formula[: room + 1]):
        depth += (c == "(") - (c == ")")
        if c != " " or i < 6:
            continue
        sign = formula[i : i + 3] in (" + ", " - ", " * ")
        rank = depth + (0.0 if sign else -0.6 if formula[i - 1] == "," else 4.0) + 1.5 * (1 - i / room)
        if rank <= best:
            best, place = rank, i
    return place


def _notes(chain: Chain, names: Names, width: int) -> Iterator[_Row]:
    """Below the columns: what the names stand for, conventions, evidence."""
    terms: list[Term] = all_terms(chain)
    used = used_in(terms, names)
    for term, name in used.items():
        index = "_k" if term.sort == "row" else ""
        for i, part in enumerate(break_formula(text(term, others(names, term)), width - 14)):
            yield _Row("note", f"  {'where ' if i == 0 else '      '}{(name + index + ' = ') if i == 0 else ''}{part}")
    said = [plain for plain, _ in words.conventions([*terms, *used])]
    yield from (_Row("note", "  " + part) for part in _packed(said, width - 2))
    for sentence in words.summary(chain):
        for part in textwrap.wrap(sentence, width - 2):
            yield _Row("note", "  " + part)


def _packed(items: list[str], width: int) -> list[str]:
    """Items joined by semicolons, none broken, as many to a line as there is room for."""
    out: list[str] = []
    for item in items:
        if out and len(out[-1]) + len(item) + 2 <= width:
            out[-1] += "; " + item
        else:
            out.append(item)
    return out
