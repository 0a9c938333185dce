"""Every generated .cu compiled by nvcc, warnings as errors: registers and spills of each kernel; a dated record.

    python bench/registers.py                                  every unit, sm_80, sm_90 and sm_100
    python bench/registers.py sigmoid_cross_entropy --arch sm_90
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from lossmith.codegen import nvcc

HERE = Path(__file__).resolve().parent
GENERATED = HERE.parent / "generated" / "cu"
Line = tuple[str, str, str, int, int, int]  # unit, architecture, kernel, registers, spilled bytes, shared bytes


def compiled(job: tuple[Path, str], folder: Path) -> list[Line]:
    """One file for one architecture."""
    source, architecture = job
    made = nvcc.compile_file(source, folder / f"{source.stem}_{architecture}.o", architecture)
    return [(source.stem, architecture, r.kernel, r.registers, r.spill_bytes, r.shared_bytes) for r in made]


def table(lines: list[Line]) -> Iterator[str]:
    """Markdown: per unit, the registers of each kernel on each architecture, and what spills."""
    architectures = sorted({line[1] for line in lines}, key=lambda a: int(a[3:]))
    yield "| kernel | " + " | ".join(f"{a}: registers, spilled bytes" for a in architectures) + " |"
    yield "|---|" + "---|" * len(architectures)
    found = {(line[2], line[1]): f"{line[3]}, {line[4]}" for line in lines}
    for kernel in sorted({line[2] for line in lines}):
        yield f"| {kernel} | " + " | ".join(found.get((kernel, a), "-") for a in architectures) + " |"


def main(arguments: list[str]) -> int:
    """Compile, print, keep. Exit 1 where nvcc refuses a file or a kernel spills, 2 where there is no nvcc."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("units", nargs="*")
    parser.add_argument("--arch", action="append", choices=nvcc.ARCHITECTURES)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument("--no-record", action="store_true")
    given = parser.parse_args(arguments)
    program = nvcc.compiler()
    if program is None:
        print("nvcc is not at hand: put it on the path, or name it in NVCC", file=sys.stderr)
        return 2
    sources = [p for p in sorted(GENERATED.glob("*.cu")) if not given.units or p.stem in given.units]
    jobs = list(product(sources, given.arch or nvcc.ARCHITECTURES))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        try:
            lines = [line for found in pool.map(lambda job: compiled(job, Path(folder)), jobs) for line in found]
        except nvcc.NvccError as problem:
            print(problem, file=sys.stderr)
            return 1
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[-2]
    spills = sum(line[4] for line in lines)
    text = "\n".join([
        f"# Registers and spills, {given.date}", "",
        f"`{shlex.join(['python', 'bench/registers.py', *arguments])}`, {version.strip()}.", "",
        f"{len(jobs)} compilations, warnings as errors: none failed. {len(lines)} kernels; "
        f"most registers {max(line[3] for line in lines)}; spilled bytes {spills}.", "", *table(lines), ""])
    print(text)
    if not given.no_record:
        target = HERE / "records" / f"{given.date}-registers.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return 1 if spills else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
