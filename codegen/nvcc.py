"""nvcc on a generated .cu: compile it for an architecture, and say what each kernel takes of the machine.

Standard library only, so that a machine with a GPU needs nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
FLAGS = ("-std=c++17", "-O3", "-Xcompiler=-Wall", "-Werror=all-warnings")


class NvccError(RuntimeError):
    """nvcc is missing, or refused a file; one line says why."""


@dataclass(frozen=True)
class Resources:
    """What one kernel takes: registers a thread, bytes that spill to local memory, static shared memory."""

    kernel: str
    registers: int
    spill_bytes: int
    shared_bytes: int


def compiler() -> str | None:
    """$NVCC, else nvcc on the path, else where CUDA is usually installed, else None."""
    named = os.environ.get("NVCC")
    return shutil.which(named) if named else shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def compile_file(source: str | Path, output: str | Path, architecture: str,
                 flags: Sequence[str] = ()) -> tuple[Resources, ...]:
    """Compile a .cu file; the resources of its kernels, in the order of their names.

    flags: more flags, as ("-shared", "-Xcompiler=-fPIC") for a library; without `-shared` the
    output is an object file. Raises NvccError, with nvcc's first complaint.
    """
    program = compiler()
    if program is None:
        raise NvccError("nvcc is not at hand: put it on the path, or name it in NVCC")
    how = [] if "-shared" in flags else ["-c"]
    command = [program, *FLAGS, *flags, *how, f"-arch={architecture}", "--resource-usage", str(source)]
    command += ["-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode:
        complaints = [line for line in said.splitlines() if "error" in line or "warning" in line]
        raise NvccError((complaints or said.splitlines() or ["nvcc failed and said nothing"])[0])
    return resources(said)


_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


def resources(log: str) -> tuple[Resources, ...]:
    """What ptxas says of each kernel, from nvcc's output under --resource-usage."""
    found: list[Resources] = []
    kernel, spill = "", 0
    for line in log.splitlines():
        entry, spilled, used, shared = (p.search(line) for p in (_ENTRY, _SPILL, _USED, _SHARED))
        if entry:
            kernel, spill = entry[1], 0
        if spilled:
            spill = int(spilled[1]) + int(spilled[2])
        if used:
            found.append(Resources(readable(kernel), int(used[1]), spill, int(shared[1]) if shared else 0))
    return tuple(sorted(found, key=lambda r: r.kernel))


_ARITHMETIC = (("4PairIf", "accurate"), ("13__nv_bfloat16", "bf16"), ("6__half", "f16"), ("Edd", "f64"), ("Eff", "f32"))


def readable(mangled: str) -> str:
    """`unit entry precision` from a kernel's mangled name; the mangled name where it is not one of ours."""
    names = _names(mangled)
    unit = next((n for n in names if n.startswith("lossmith_")), None)
    entries = [n for n in names if n in ("Loss", "Gradient", "LossGradient", "GradientHessian")]
    precision = next((word for mark, word in _ARITHMETIC if mark in mangled), None)
    if not (unit and entries and precision):
        return mangled
    entry = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", entries[0]).lower()
    return f"{unit.removeprefix('lossmith_')} {entry} {precision}"


def _names(mangled: str) -> list[str]:
    """The names in a mangled name: each is written as its length and its letters."""
    names, at = [], 0
    while found := re.compile(r"\d+").search(mangled, at):
        end = found.end() + int(found[0])
        names.append(mangled[found.end():end])
        at = end if end <= len(mangled) else found.end()
    return names
