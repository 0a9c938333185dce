"""Words for temporaries: a name that says what the value is, from the structure of its term alone."""

from __future__ import annotations

import keyword
from collections.abc import Iterable

from lossmith.derivations.terms import COUNT, Term, is_const, name_of, number

LONGEST = 28
_WORDS = {
    "add": "total", "sub": "difference", "mul": "product", "div": "ratio", "neg": "minus", "pow": "power",
    "max": "larger", "min": "smaller", "absorb": "product", "where": "choice", "exp_diff": "decay", "precise": "value",
    "wide": "value",
}
_JOINED = {"add": "plus", "sub": "minus", "mul": "times", "div": "over", "absorb": "times", "max": "or", "min": "and"}


def describe(term: Term) -> str:
    """A phrase for the term, as `one_minus_z` or `log_p`, or an empty string where it would be too long."""
    if term.op in ("var", "row", "label"):
        return name_of(term)
    if term.op == "const":
        value = number(term)
        words = {0: "zero", 1: "one", 2: "two"}
        return words.get(int(value), str(value)) if value.denominator == 1 and value >= 0 else ""
    if term is COUNT:
        return "count"
    parts = [describe(a) for a in term.args]
    if term.op == "exp" and term.args[0].op == "neg":
        # exp(-a), a >= 0 in every rule that makes one
        return "decay" if term.args[0].args[0].op == "abs" else _join("exp_minus", describe(term.args[0].args[0]))
    if term.op == "neg":
        return _join("minus", parts[0])
    if term.op in ("max", "min") and is_const(term.args[1], 0):
        return _join("positive_part" if term.op == "max" else "negative_part", parts[0])
    if term.op in _JOINED:
        return _join(parts[0], _JOINED[term.op], parts[1])
    if term.op == "pow" and is_const(term.args[1], 2):
        return _join(parts[0], "squared")
    if len(term.args) == 1:
        return _join(term.op, parts[0])
    return ""


def _join(*words: str) -> str:
    text = "_".join(words)
    return text if all(words) and len(text) <= LONGEST else ""


class Names:
    """Hands out names, each once; words come first, then words with a number."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = {t.lower() for t in taken}

    def fresh(self, term: Term) -> str:
        """A new name for the value of `term`."""
        word = describe(term) or _WORDS.get(term.op, term.op)
        if not word.isidentifier() or keyword.iskeyword(word):
            word = "value"
        # A bare function name would hide the function in the printed source.
        if word == term.op or word in _RESERVED:
            word += "_value"
        name, count = word, 1
        while name.lower() in self.taken:
            count += 1
            name = f"{word}_{count}"
        self.taken.add(name.lower())
        return name


_RESERVED = frozenset({"loss", "gradient", "hessian", "out", "axis", "dim", "tier", "wrt", "one", "zero", "two"})
