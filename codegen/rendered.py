"""What a target gives back: the path and the body of a file; its header is stamped on later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rendered:
    """One file to write. `path` is relative to the output directory, as `np/sigmoid_cross_entropy.py`.

    `body` holds everything below the header, with a final newline. `comment` says how the
    language writes a comment: `#` or `//`.
    """

    path: str
    body: str
    comment: Literal["#", "//"]
