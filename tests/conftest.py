"""What every test shares: Hypothesis draws the same examples in every run, and has no deadline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("steady")
os.environ.setdefault("LOSSMITH_NO_CACHE", "1")  # a test asks the search, not what an earlier run found
os.environ.setdefault("LOSSMITH_BACKEND", "pure")  # the modules as they are written; C has tests of its own

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """Runs `lossmith ...` in a process of its own, from outside the checkout."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "lossmith", *arguments], capture_output=True, text=True,
                              cwd=tmp_path, env={**os.environ, **environment}, timeout=300, check=False)

    return run
