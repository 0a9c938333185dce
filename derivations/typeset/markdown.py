"""Markdown of a derivation, as a code host renders it: mathematics in `math` fences, steps in full."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lossmith.derivations.derivation import Step
from lossmith.derivations.terms import show
from lossmith.derivations.typeset import numbers, words
from lossmith.derivations.typeset.chain import Chain, Line, all_terms, lines_of, step_lines
from lossmith.derivations.typeset.latex import aligned_rows, case_row, quantity, reason
from lossmith.derivations.typeset.naming import used_in
from lossmith.derivations.typeset.notation import LatexStyle, latex
from lossmith.derivations.typeset.setter import Setter, set_lines, setter_for, symbols_of

LONGEST = 80.0
SPECIAL = frozenset("\\`*_{}[]<>#|~$&")
WIDEST_CHANGE = 160.0  # a changed part that is wider is shown by the lines before and after alone


def escape(text: str) -> str:
    """Plain text as Markdown text; nothing in it can be read as markup."""
    return "".join("\\" + c if c in SPECIAL else " " if c in "\r\n\t" else c for c in text)


def display(rows: Iterable[str]) -> str:
    """Mathematics on lines of its own. A fence, so that Markdown touches none of it."""
    lines = list(rows)
    body = lines[0].replace("&", "", 1).strip() if len(lines) == 1 else (
        "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"
    )
    return f"```math\n{body}\n```\n"


def inline(mathematics: str) -> str:
    """Mathematics within a sentence, fenced likewise."""
    return f"$`{mathematics}`$"


def mixed(latex_text: str) -> str:
    """LaTeX text with mathematics between dollars, as Markdown."""
    parts = latex_text.split("$")
    return "".join(inline(part) if i % 2 else escape(part) for i, part in enumerate(parts) if part)


def derivation_markdown(chain: Chain, level: int = 2) -> str:
    """A derivation: arguments, every line with its reason, each step with what changed, why, on what
    condition, by what evidence and to what error; the stable form. `level`: of its heading."""
    setter = setter_for(chain, LONGEST)
    mark = "#" * level
    parts = [f"{mark} {heading(chain)}\n", _arguments(chain), _policies(chain), _whole(chain, setter),
             _where(chain, setter), _conventions(chain, setter), *_steps(chain, setter, mark + "#"),
             _form(chain, mark + "#"), _evidence(chain), _references(chain)]
    return "\n".join(part for part in parts if part)


def heading(chain: Chain) -> str:
    """The heading of one chain: what it derives."""
    if chain.order is None:
        return escape(chain.title)
    said = words.quantity_words(chain.order)
    return escape(said[:1].upper() + said[1:])


def _arguments(chain: Chain) -> str:
    if not chain.arguments:
        return ""
    style = LatexStyle(symbols_of(chain))
    rows = [
        f"| {inline(style.symbol(a.name, 'k' if a.axis == 'class' else '').text)} | {escape(a.meaning or a.role)} "
        f"| {escape(words.domain_words(a))} |"
        for a in chain.arguments
    ]
    given = [inline(latex(r, symbols=symbols_of(chain))) for r in words.relations(chain)]
    where = f"\nWhere {', '.join(given)}.\n" if given else ""
    return "| argument | meaning | domain |\n|---|---|---|\n" + "\n".join(rows) + "\n" + where


def _policies(chain: Chain) -> str:
    said = [f"{escape(name)}: {escape(value)}" for name, value in chain.policies]
    return f"Policies: {'; '.join(said)}.\n" if said else ""


def _whole(chain: Chain, setter: Setter) -> str:
    """All lines at a glance."""
    rows: list[str] = []
    lines = set_lines(chain, setter, LONGEST)
    for place, (line, formula) in enumerate(lines):
        rows += case_row([one for one, _ in lines], place, setter)
        rows += aligned_rows(line, formula, chain)
        if line.reason:
            rows[-1] += rf" && \text{{{reason(line)}}}"
    return display(rows)


def _where(chain: Chain, setter: Setter) -> str:
    rows = [f"{setter.name(t)} &= {setter.piece(t)}" for t in used_in(all_terms(chain), setter.names)]
    return "where\n\n" + display(rows) if rows else ""


def _conventions(chain: Chain, setter: Setter) -> str:
    said = [mixed(tex) for _, tex in words.conventions([*all_terms(chain), *setter.names])]
    return f"Here {'; '.join(said)}.\n" if said else ""


def _steps(chain: Chain, setter: Setter, mark: str) -> Iterable[str]:
    if chain.order is None:
        rows = [f"| {n + 1} | {_reason(line)} | {escape(words.evidence_words(line.step.evidence))} |"
                for n, line in enumerate(lines_of(chain)) if line.step is not None]
        yield "| line | equals the one above, because | evidence |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        return
    for line in step_lines(chain):
        if line.step is not None:
            yield _step(line, line.step, chain, setter, mark)


def _step(line: Line, step: Step, chain: Chain, setter: Setter, mark: str) -> str:
    said = [f"{mark} Step {line.number}: {escape(step.rule)}\n", f"Why: {_reason(line)}.\n" if step.reason else ""]
    changed = _changed(step, chain, setter)
    if changed:
        said.append(changed)
    facts = [("holds if", escape(step.condition)), ("evidence", escape(words.evidence_words(step.evidence))),
             ("worst error before", escape(words.error_words(step.error_before))),
             ("worst error after", escape(words.error_words(step.error_after)))]
    said.append("\n".join(f"- {name}: {fact}" for name, fact in facts if fact) + "\n")
    return "\n".join(part for part in said if part)


def _reason(line: Line) -> str:
    """The reason as Markdown text; where it was given as mathematics, in words and as mathematics."""
    given = reason(line)
    if "$" not in given or not line.reason_latex:
        return escape(line.reason)
    whole = given.count("$") == 2 and given.startswith("$") and given.endswith("$")
    return f"{escape(line.reason)}: {mixed(given)}" if whole else mixed(given)


def _changed(step: Step, chain: Chain, setter: Setter) -> str:
    """The part that a step changed, where it is not the whole and can be read."""
    if step.rule == "differentiate" or step.source is step.before:
        return ""
    if step.source.sort == "truth" or max(setter.width(step.source), setter.width(step.result)) > WIDEST_CHANGE:
        return ""
    rows = [*setter.rows(step.result, LONGEST)]
    left = setter.piece(step.source)
    unnamed = _unexplained(step, chain, setter)
    return "" if unnamed else display([f"{left} &= {rows[0]}", *(rf"&\quad {r}" for r in rows[1:])])


def _unexplained(step: Step, chain: Chain, setter: Setter) -> bool:
    """Whether the changed part would mention a name that the page does not explain."""
    explained = used_in(all_terms(chain), setter.names)
    return any(t not in explained for t in used_in([step.source, step.result], setter.names))


def _form(chain: Chain, mark: str) -> str:
    """The stable form as it is computed: every association shown, as text that can be copied."""
    form = chain.form
    if form is None:
        return ""
    said = {"stable": "Stable form", "improved": "Best form found", "unchanged": "Form"}[form.verdict]
    code = f"```text\n{show(form.term)}\n```\n"
    accuracy = ""
    if form.error is not None:
        tried = f", the worst of {words.points(form.error.points)}" if form.error.points else ""
        accuracy = f"Accuracy: {escape(words.error_words(form.error))}{tried}.\n"
    return f"{mark} {said}\n\n{code}\n{accuracy}".rstrip() + "\n"


def _evidence(chain: Chain) -> str:
    return " ".join(escape(s[:1].upper() + s[1:]) + "." for s in words.summary(chain)) + "\n"


def _references(chain: Chain) -> str:
    if chain.order:  # the page of a unit gives them once, with the loss
        return ""
    return "".join(f"- {escape(r)}\n" for r in chain.references)


def unit_markdown(chains: Sequence[Chain]) -> str:
    """The page of one unit (its loss, gradients, second derivatives), or of all identities."""
    first = chains[0]
    title = escape(first.title) if first.order is not None else "Identities"
    out = [f"# {title}\n", _contents(chains) if len(chains) > 1 else ""]
    out += [derivation_markdown(chain) for chain in chains]
    return "\n".join(part for part in out if part)


def _contents(chains: Sequence[Chain]) -> str:
    if chains[0].order is None:
        rows = [f"| `{chain.name}` | {heading(chain)} | {len(chain.steps) + 1} |" for chain in chains]
        return "| identity | says | lines |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    rows = []
    for chain in chains:
        form = chain.form
        reached = numbers.ulps(form.error.ulp) + f" ulp ({form.error.dtype})" if form and form.error else ""
        left = inline(quantity(chain.order, chain))
        rows.append(f"| {left} | {heading(chain)} | {len(chain.steps)} | {escape(reached)} |")
    return "| | what | steps | worst error |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
