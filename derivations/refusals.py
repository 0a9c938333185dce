"""What is wrong with a formula that cannot be read: codes, limits, and the error that shows the place."""

from __future__ import annotations

from collections.abc import Mapping

MAX_LENGTH = 8000
MAX_NODES = 1000
MAX_SIZE = 4000  # operations once every named function is written out
MAX_DEPTH = 100  # of brackets and functions
MAX_STACK = 300  # of operations, a long sum counting as it is added up
MAX_DIGITS = 60
MAX_EXPONENT = 1000
LARGEST = 2**1024  # a constant from here on is infinite in every format

CODES: Mapping[str, str] = {
    "E101": "a character that has no place in a formula; formulas are written in ASCII",
    "E102": "text that is not a formula: a bracket is open, or an operator or operand is missing",
    "E103": "something that Python knows and a formula does not: an attribute, a string, a keyword argument",
    "E104": "a function that there is not",
    "E105": "a name that was not declared with a domain",
    "E106": "a function with the wrong number of arguments",
    "E107": "a number that cannot be read exactly",
    "E108": f"a formula beyond the limits: {MAX_LENGTH} characters, {MAX_NODES} operations, {MAX_DEPTH} deep",
    "E109": f"a constant exponent beyond {MAX_EXPONENT}",
    "E110": "a name that an argument cannot have",
    "E111": "a comparison where a value is needed, or a value where a comparison is needed",
    "E112": "a row (one value per class) where a single value is needed, or the reverse",
    "E113": "a domain that cannot be read, or that holds no number",
    "E114": "a relation that cannot be read, or relations that no numbers satisfy",
    "E115": "a constant that is infinite or has no value",
    "E116": "a formula in which nothing varies, or that has no value anywhere in its domain",
}


class FormulaError(ValueError):
    """What is wrong with a formula, where, and what to type instead.

    `start` and `stop` mark the place in `text`; `hint` is one line or empty. As text it is the
    message, the formula, a caret line and the hint, each on a line of its own.
    """

    def __init__(self, code: str, message: str, text: str = "", start: int = 0, stop: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.text = code, message, text
        self.start, self.stop, self.hint = start, max(stop, start + 1), hint

    def __str__(self) -> str:
        lines = [f"{self.message} ({self.code})"]
        if self.text:
            shown, start, stop = _window(self.text, self.start, self.stop)
            shown = "".join(c if c.isprintable() else "?" for c in shown)
            lines += [f"    {shown}", f"    {' ' * start}{'^' * (stop - start)}"]
        if self.hint:
            lines.append(f"    {self.hint}")
        return "\n".join(lines)

    @property
    def line(self) -> str:
        """The same on one line, without the caret."""
        return f"{self.message} ({self.code})" + (f": {self.hint}" if self.hint else "")


def _window(text: str, start: int, stop: int, width: int = 100) -> tuple[str, int, int]:
    """The part of a long formula around the marked place, and where the mark falls in it."""
    if len(text) <= width:
        return text, start, min(stop, max(len(text), start + 1))
    left = max(0, min(start - width // 3, len(text) - width))
    shown = text[left:left + width]
    lead, tail = "..." if left else "", "..." if left + width < len(text) else ""
    return lead + shown + tail, start - left + len(lead), min(stop - left, width) + len(lead)


CHARACTERS: Mapping[str, str] = {
    "^": "write ** for a power", "×": "write *", "·": "write *", "÷": "write /",
    "−": "write - (this is another dash)", "–": "write - (this is another dash)", "²": "write **2",
    "³": "write **3", "σ": "write sigmoid(x)", "√": "write sqrt(x)", "∑": "write sum(...)", "Σ": "write sum(...)",
    "≤": "write <=", "≥": "write >=", "≠": "write !=", "π": "write pi", "∞": "infinity is not a number here",
    "{": "write ( and )", "}": "write ( and )", "\\": "write the formula as in Python, not in LaTeX",
    "%": "there is no remainder in a formula", ";": "a formula is one expression", "!": "write != for 'not equal'",
    "@": "write sum(a*b) or dot(a, b)", "Γ": "write gamma(x)", "ψ": "write digamma(x)", "Φ": "write ndtr(x)",
}
