"""Errors as a user reads them: what is wrong, where, and what to type. Never a traceback."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

EXIT_WELL, EXIT_FINDING, EXIT_USAGE = 0, 1, 2


class UsageError(ValueError):
    """A request that cannot be met; its text is the one line to print."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the near one, or all that there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"


def message(error: BaseException) -> str:
    """What to print for an error of ours, or of the system; an unforeseen one says how to see more."""
    from lossmith.codegen.generate import GenerateError
    from lossmith.codegen.write import WriteError
    from lossmith.derivations.catalogue import LossFileError, UnknownLoss
    from lossmith.derivations.domains import DomainError
    from lossmith.derivations.parser import FormulaError

    if isinstance(error, (UsageError, FormulaError, UnknownLoss, LossFileError, DomainError, GenerateError,
                          WriteError)):
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
