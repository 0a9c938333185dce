"""Set up and run, on a machine that has only Python, a C compiler and git.

    python3 run.py demo     derive, regenerate and check every loss; show a derivation and its accuracy
    python3 run.py test     run the tests; `test -m heavy` runs those that take minutes
    python3 run.py types    check the types

Each makes what it needs in .venv, once; afterwards `.venv/bin/lossmith` is the command line.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
LAYOUT = {"derivations": "derivations", "codegen": "codegen", "audit": "audit", "templates": "templates"}


def main() -> int:
    commands = {"demo": demo, "test": test, "types": types}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036  (what runs this file has not been chosen by pip)
        print("run.py: lossmith needs Python 3.11 or newer: python3.11 run.py ...", file=sys.stderr)
        return 2
    return commands[sys.argv[1]](sys.argv[2:])


def demo(_: list[str]) -> int:
    """The main job, from formulas to checked kernels."""
    install("")
    lossmith = str(BIN / "lossmith")
    dtypes = ("--dtype", "float16", "--dtype", "float32", "--dtype", "float64")
    failed = (
        step("Derive every loss, write its kernels, and say which differ from those that stand", lossmith, "generate")
        or step("Check one as every commit checks all", lossmith, "generate", "--check", "sigmoid_cross_entropy")
        or step("One derivation", lossmith, "derive", "sigmoid_cross_entropy")
        or step("Its gradient", lossmith, "derive", "sigmoid_cross_entropy", "--of", "gradient")
    )
    if not failed:  # a measurement: what it finds beyond the bound is printed, and is no failure of these steps
        step("How accurate the kernels are", lossmith, "audit", "sigmoid_cross_entropy", "--target", "np", *dtypes)
    return failed


def test(arguments: list[str]) -> int:
    """The tests, on every core; arguments go to pytest (`-m heavy`: those that take minutes)."""
    install("[test]")
    # One thread for each process: the processes already fill the cores.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return step("Tests", str(BIN / "python"), "-m", "pytest", "-n", "auto", *arguments, environment=environment)


def types(arguments: list[str]) -> int:
    """mypy finds packages by folder, and the folders here are mapped: show it the layout that is installed."""
    install("[test]")
    layout = ROOT / "build" / "types" / "lossmith"
    layout.mkdir(parents=True, exist_ok=True)
    for old in layout.iterdir():
        old.unlink()
    for path in (ROOT / "lossmith").iterdir():
        if path.is_file():
            (layout / path.name).symlink_to(path)
    for name, folder in LAYOUT.items():
        (layout / name).symlink_to(ROOT / folder, target_is_directory=True)
    environment = {**os.environ, "MYPYPATH": str(layout.parent)}
    return step("Types", str(BIN / "python"), "-m", "mypy", "-p", "lossmith", *arguments, environment=environment)


def install(extra: str) -> None:
    """.venv with lossmith and what the extra names, unless it is there and up to date."""
    wanted = (ROOT / "pyproject.toml").read_text(encoding="utf-8") + extra
    mark = VENV / f"installed{extra}"
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return
    if not (BIN / "python").exists() and step("Make .venv", sys.executable, "-m", "venv", str(VENV)):
        sys.exit("run.py: no virtual environment: on Debian, apt install python3-venv")
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if step(f"Install lossmith{extra} in .venv", *pip, "--editable", f"{ROOT}{extra}"):
        sys.exit("run.py: the packages could not be installed: see the message above")
    mark.write_text(wanted, encoding="utf-8")


def step(title: str, *command: str, environment: dict[str, str] | None = None) -> int:
    """Run one command, saying what it is for, what was typed and how long it took."""
    shown = shlex.join(c.removeprefix(f"{ROOT}{os.sep}") for c in command)
    print(f"\n== {title}\n$ {shown}", flush=True)
    start = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    print(f"-- {time.monotonic() - start:.1f} s" + (f", exit {status}" if status else ""), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
