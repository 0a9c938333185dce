"""Room for terms that nest deeply: walks over them recurse, and Python stops them at a thousand frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

FRAMES = 8000  # of a thread's stack, some megabytes of it at most


@contextmanager
def deep() -> Iterator[None]:
    """More frames than Python gives by default, while it lasts; also a decorator."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
