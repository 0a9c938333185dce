"""Identities between losses: derivations too, each line proved and enclosed.

`names()`, `load(name)`, `check(identity)`; one file per identity, which defines IDENTITY.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossmith.derivations.identities.identity import CheckedIdentity, Identity

_MODULES = (
    "printed_chain", "two_classes", "entropy_and_divergence", "sparse_is_onehot", "absolute_divergence",
    "product_model", "product_model_divergence",
)


@cache
def _all() -> dict[str, Identity]:
    found = [importlib.import_module(f"{__name__}.{module}").IDENTITY for module in _MODULES]
    by_name = {identity.name: identity for identity in found}
    if len(by_name) != len(found):
        raise TypeError("two identities have one name")
    return by_name


def names() -> tuple[str, ...]:
    """The names of all identities, in the order in which a page shows them."""
    return tuple(_all())


def load(name: str) -> Identity:
    """The identity of that name. Raises KeyError with the names that there are."""
    try:
        return _all()[name]
    except KeyError:
        raise KeyError(f"there is no identity '{name}'; there are {', '.join(names())}") from None


def checked() -> tuple[CheckedIdentity, ...]:
    """All identities with their evidence, in the order of `names()`: what the pages are set from."""
    return tuple(check(load(name)) for name in names())


def check(identity: Identity, points: int | None = None) -> CheckedIdentity:
    """The identity with its evidence. Raises Refuted (with a counterexample) or Unproved."""
    from lossmith.derivations.identities import checking

    return checking.check(identity) if points is None else checking.check(identity, points)
