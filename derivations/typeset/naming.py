"""Names for parts of formulas: the peak of a row, and parts without which a line would be too long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lossmith.derivations.terms import Term, node, walk

Names = Mapping[Term, str]
Width = Callable[[Term, Names], float]
LETTERS = "ABDEFGHJKMNPQRSTUVWXYZ"
SMALLEST = 8.0  # a part narrower than this is not worth a name


def used_names(terms: Iterable[Term]) -> set[str]:
    """The names of the inputs that occur."""
    return {str(t.value) for t in walk(*terms) if t.op in ("var", "row", "label")}


def others(names: Names, term: Term) -> Names:
    """The names, without the one of `term` itself: with these `term` is written out."""
    return {t: s for t, s in names.items() if t is not term}


def peak_names(terms: Sequence[Term]) -> dict[Term, str]:
    """m for each row maximum and r for the sum below it, numbered where there are several."""
    found = [t for t in walk(*terms) if t.op in ("peak", "rest") and any(a.sort == "row" for a in t.args)]
    used = used_names(terms)
    rows = list(dict.fromkeys(t.args for t in found))
    names: dict[Term, str] = {}
    for place, args in enumerate(rows, 1):
        mark = str(place) if len(rows) > 1 else ""
        names[node("peak", args)] = _free("m", mark, used)
        rest = node("rest", args)
        if rest in found:
            names[rest] = _free("r", mark, used)
    return names


def _free(letter: str, mark: str, used: set[str]) -> str:
    while letter + mark in used:
        mark += "0" if mark else "1"
    return letter + mark


def name_parts(terms: Sequence[Term], width: Width, limit: float, most: int = 12) -> dict[Term, str]:
    """Names for parts of `terms` such that each line, and the definition of each name, fits `limit`.

    Shared parts are named first, the widest saving first; at most `most` names beside those of the
    peaks. What is then still too long must be broken by other means.
    """
    names = peak_names(terms)
    for letter in [c for c in LETTERS if c not in used_names(terms)][:most]:
        lines = dict.fromkeys([*terms, *names])
        wide = [t for t in lines if width(t, others(names, t)) > limit]
        part = _best_part(wide, names, width, limit) if wide else None
        if part is None:
            break
        names[part] = letter
    return {t: names[t] for t in walk(*names) if t in names}


def _best_part(wide: list[Term], names: Names, width: Width, limit: float) -> Term | None:
    """The part whose naming saves most; where no part is repeated, the widest that fits a line."""
    uses = _uses(wide, names)
    best: tuple[float, Term] | None = None
    for part in sorted(uses, key=lambda t: t.key):
        own = width(part, names)
        if SMALLEST <= own <= 0.8 * limit:
            saved = uses[part] * (own - 2) - own if uses[part] > 1 else own / 1e6
            if best is None or saved > best[0]:
                best = saved, part
    return best[1] if best else None


def _uses(wide: list[Term], names: Names) -> dict[Term, int]:
    """How often each part is written out in the wide lines, what has a name being written by it."""
    counts: dict[Term, int] = {}
    for top in wide:
        here: dict[Term, int] = {top: 1}
        for t in reversed(walk(top)):
            if t in here and (t is top or t not in names):
                for a in t.args:
                    here[a] = here.get(a, 0) + here[t]
        for t, n in here.items():
            if t is not top and t not in names and t.args and t.sort != "truth" and t.op not in ("neg", "onehot"):
                counts[t] = counts.get(t, 0) + n
    return counts


def used_in(terms: Iterable[Term], names: Names) -> dict[Term, str]:
    """Those of the names that a reader of `terms` meets, in the definitions of names too."""
    met: set[Term] = set()
    ahead = [(t, True) for t in terms]
    seen: set[tuple[int, bool]] = set()
    while ahead:
        t, top = ahead.pop()
        if (t.id, top) in seen:
            continue
        seen.add((t.id, top))
        if t in names and t.op == "rest":
            ahead.append((node("peak", t.args), False))
        if t in names and not top:
            met.add(t)
            ahead.append((t, True))
            continue
        ahead += [(a, False) for a in t.args]
    return {t: s for t, s in names.items() if t in met}
