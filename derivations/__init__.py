"""The mathematics: losses, calculus, rules, the search for stable forms, proofs.

The words with which a loss is written are exported here, and loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    **dict.fromkeys(
        ("Sum", "class_index", "class_label", "classes", "logit", "logits", "parameter", "probabilities", "probability",
         "target", "targets"), "lossmith.derivations.declaring"),
    **dict.fromkeys(("Loss", "Variant", "Reference", "Argument"), "lossmith.derivations.loss"),
    **dict.fromkeys(("interval", "finite", "REAL", "EXTENDED", "POSITIVE", "NONNEGATIVE", "PROBABILITY", "SIMPLEX"),
                    "lossmith.derivations.domains"),
    **dict.fromkeys(("sigmoid", "softplus", "logaddexp", "xlogy", "clip", "clip_through"),
                    "lossmith.derivations.functions"),
    **dict.fromkeys(("exp", "log", "sqrt", "tanh", "Abs", "Max", "Min", "Rational"), "sympy"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"lossmith.derivations has no '{name}'")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
