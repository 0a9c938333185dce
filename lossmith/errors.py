"""Errors as a user reads them: what is wrong, where, and what to type. Never a traceback."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

EXIT_WELL, EXIT_FINDING, EXIT_USAGE = 0, 1, 2


# Errors that say all there is to say. By name: to import them all would take longer than to print one.
SAID = frozenset({
    ("lossmith.codegen.generate", "GenerateError"), ("lossmith.codegen.write", "WriteError"),
    ("lossmith.derivations.catalogue", "LossFileError"), ("lossmith.derivations.catalogue", "UnknownLoss"),
    ("lossmith.derivations.domains", "DomainError"), ("lossmith.derivations.refusals", "FormulaError"),
    ("lossmith.derivations.relations", "ContradictionError"), ("lossmith.derivations.partial", "CalculusProblem"),
    ("lossmith.derivations.surface", "NoSurface"), ("lossmith.derivations.importer", "ImportProblem"),
})


class UsageError(ValueError):
    """A request that cannot be met; its text is the one line to print."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the near one, or all that there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"


def message(error: BaseException) -> str:
    """What to print for an error of ours, or of the system; an unforeseen one says how to see more."""
    if isinstance(error, UsageError) or any((c.__module__, c.__name__) in SAID for c in type(error).__mro__):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("lossmith"):
        package = {"flint": "python-flint", "torch": "'lossmith[torch]'"}.get(error.name, error.name)
        return f"the package {error.name} is not installed: pip install {package}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    if isinstance(error, MemoryError):
        return "out of memory: ask for less at once, or --jobs 1"
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" + ("" if wants_traceback() else " (LOSSMITH_TRACEBACK=1 shows where)")


def wants_traceback() -> bool:
    """Whether the developer asked to see where an unforeseen error came from."""
    return os.environ.get("LOSSMITH_TRACEBACK", "") not in ("", "0")
