"""What this machine can build and run: each tool, whether it is here, and what it is for."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Check:
    """One finding. `well`: it is here, and new enough. `remedy`: what to type to have it."""

    name: str
    well: bool
    found: str
    purpose: str
    required: bool
    remedy: str = ""


PACKAGES = (
    ("numpy", "2.0", "deriving, and the NumPy kernels", True),
    ("sympy", "1.14", "reading losses", True),
    ("python-flint", "0.6", "truth by ball arithmetic", True),
    ("jinja2", "3.1", "writing kernels", True),
    ("rich", "13", "printing derivations", True),
    ("torch", "2.4", "the PyTorch kernels", False),
    ("ml_dtypes", "0.4", "bfloat16 in NumPy", False),
)
TOOLS = (
    (("cc", "gcc", "clang"), "--version", "a C compiler", "the C kernels; in the tests, CUDA kernels on the CPU"),
    (("nvcc",), "--version", "nvcc", "compiling the CUDA kernels"),
    (("nvidia-smi",), "-L", "a GPU", "running the CUDA kernels"),
    (("pdflatex",), "--version", "pdflatex", "setting derivations as PDF"),
)


def examine() -> list[Check]:
    """Every check, in a fixed order. Imports none of the packages, and fails for none."""
    python = Check("Python", sys.version_info >= (3, 11), platform.python_version(), "everything", True,
                   "install Python 3.11 or newer")
    cores = Check("cores", True, str(os.cpu_count() or 1), "generating in parallel", False)
    return [python, *(_package(*p) for p in PACKAGES), *(_tool(*t) for t in TOOLS), _compiled(), cores, _cache()]


TRIAL = """
from lossmith.codegen import ahead, compiled, faces
sources = len(list(ahead.FOLDER.parent.glob("*.c")))
if faces.backend() == "pure":
    print("- off: LOSSMITH_BACKEND=pure")
elif not sources:
    print("- not generated: lossmith generate --target c")
elif faces.helpers() is None:
    print("-", faces.refusals["faces"])
else:
    built = len(list(ahead.FOLDER.glob("*.so")))
    print("+ used by lossmith.generated.np and .pt;", f"{sources} losses, {built} libraries built ahead")
"""


def _compiled() -> Check:
    """Whether the faces compute in C here, tried in a process of its own: building and loading may go wrong."""
    try:
        said = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, text=True, timeout=150, check=False)
        lines = (said.stdout or said.stderr).strip().splitlines()
    except (OSError, subprocess.TimeoutExpired) as problem:
        lines = [str(problem)]
    line = lines[-1] if lines else "the trial said nothing"
    return Check("kernels in C", line.startswith("+ "), line.removeprefix("+ ").removeprefix("- "),
                 "NumPy and PyTorch functions at the speed of C", False)


def _cache() -> Check:
    from lossmith.cache_command import summary
    from lossmith.derivations.private import Folder

    facts = Folder("derivations", 0).facts()
    return Check("a cache of derivations", not facts.refusal, summary(facts), "not deriving a formula twice", False)


def _package(name: str, least: str, purpose: str, required: bool) -> Check:
    remedy = f"pip install '{name}>={least}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", purpose, required, remedy)
    well = _numbers(version) >= _numbers(least)
    return Check(name, well, version if well else f"{version}, older than {least}", purpose, required, remedy)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")[:3]
    return tuple(int("".join(c for c in p if c.isdigit()) or 0) for p in parts)


def _tool(commands: tuple[str, ...], flag: str, name: str, purpose: str) -> Check:
    for command in commands:
        path = shutil.which(command)
        if path is None:
            continue
        try:
            said = subprocess.run([path, flag], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines = [line.strip() for line in said.stdout.splitlines() if line.strip()]
        if said.returncode == 0 and lines:
            release = next((line for line in lines if "release" in line), lines[0])
            return Check(name, True, release[:60], purpose, False)
    return Check(name, False, "not found", purpose, False,
                 "" if name == "a GPU" else f"install one of: {', '.join(commands)}")
