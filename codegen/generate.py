"""The whole chain: losses to files. Writes them, or with `check` says which are stale and why."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossmith.codegen import provenance, whole
from lossmith.codegen.provenance import Status
from lossmith.codegen.rendered import Rendered
from lossmith.codegen.write import WriteError, write_all
from lossmith.derivations import catalogue

TARGETS = ("np", "pt", "c", "cu")
FOLDERS = (*TARGETS, "md", "tex")
Progress = Callable[[str], None]


class GenerateError(ValueError):
    """A request that cannot be met, in one line."""


@dataclass(frozen=True)
class Task:
    """One unit to generate: by name from the catalogue, or from a user's file."""

    unit: str
    targets: tuple[str, ...]
    file: str | None = None


@dataclass(frozen=True)
class Result:
    """What a run did. `written` and `unchanged` are paths under the output directory; `findings`
    is what `check` found stale, each with its reason and what to type."""

    units: tuple[str, ...]
    written: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    findings: tuple[Status, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def fresh(self) -> bool:
        return not self.findings


def generate(names: Iterable[str] | None = None, targets: Sequence[str] = TARGETS, out: str | Path = "generated",
             check: bool = False, jobs: int = 1, progress: Progress | None = None) -> Result:
    """Derive, lower, print and write the kernels of some losses.

    names: losses, units (`kl_divergence_from_logits`), or files (FILE.py, FILE.toml); None: the
    whole catalogue. targets: of `np`, `pt`, `c`, `cu`. jobs: processes; with more than one, a script
    that calls this must guard its main module, as multiprocessing asks. Raises UnknownLoss,
    LossFileError, GenerateError, WriteError. All files are complete before the first is replaced.
    """
    wrong = [t for t in targets if t not in TARGETS]
    if wrong:
        raise GenerateError(f"there is no target '{wrong[0]}': the targets are {', '.join(TARGETS)}")
    tasks = plan(names, tuple(t for t in TARGETS if t in targets))
    files: dict[str, str] = {}
    owners: dict[str, str] = {}
    for task, made in zip(tasks, _run(tasks, jobs, progress)):
        for path, text in made.items():
            if files.setdefault(path, text) != text:
                raise GenerateError(f"{owners[path]} and {task.unit} both write {path}, and differ")
            owners.setdefault(path, task.unit)
    everything = names is None
    if everything:
        files |= whole.files(targets)
    root = Path(out)
    units = tuple(t.unit for t in tasks)
    if check:
        findings = [s for path, text in files.items() if not (s := _status(root, path, text)).fresh]
        findings += leftovers(root, files, targets) if everything else []
        return Result(units, findings=tuple(findings), texts=files)
    if not everything:
        files |= whole.missing_packages(root, targets)
    for path, text in files.items():
        if (found := _status(root, path, text)).kind in ("not written by lossmith", "not readable"):
            raise GenerateError(f"{found.path} is {found.kind}: move it away, or name another place with -o")
    written = write_all(root, files)
    return Result(units, tuple(written), tuple(p for p in files if p not in set(written)), texts=files)


def plan(names: Iterable[str] | None, targets: tuple[str, ...]) -> list[Task]:
    """The units that a request means, in order. Raises UnknownLoss, LossFileError."""
    if names is None:
        return [Task(u, targets) for u in catalogue.unit_names()]
    tasks: dict[tuple[str | None, str], Task] = {}
    for name in names:
        file = str(Path(name)) if name.endswith((".py", ".toml")) else None
        found = [u.name for u in catalogue.load_file(file)] if file else catalogue.resolve([name])
        for unit in found:
            tasks.setdefault((file, unit), Task(unit, targets, file))
    return list(tasks.values())


def _run(tasks: list[Task], jobs: int, progress: Progress | None) -> list[dict[str, str]]:
    """The files of each task, in the order of the tasks whatever order they end in."""
    done: list[dict[str, str]] = []
    if jobs <= 1 or len(tasks) <= 1:
        for task in tasks:
            if progress:
                progress(task.unit)
            done.append(build(task))
        return done
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), context, _follow, (os.getpid(),))
    try:
        futures = [pool.submit(_build_elsewhere, task) for task in tasks]
        for task, future in zip(tasks, futures):
            if progress:
                progress(task.unit)
            done.append(future.result())
    except BrokenProcessPool:
        raise GenerateError("a worker died, perhaps for lack of memory: try again with --jobs 1") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return done


def _follow(parent: int) -> None:
    """A worker ends with the run that started it, however that ends, and says nothing of its own."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=watch, daemon=True).start()


def _build_elsewhere(task: Task) -> dict[str, str]:
    """The same as `build`, with every error in a form that crosses between processes."""
    try:
        return build(task)
    except GenerateError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:400]
        raise GenerateError(f"{task.unit}: {type(error).__name__}: {text}") from error


def build(task: Task) -> dict[str, str]:
    """The files of one unit: path under the output directory to text. Writes nothing."""
    from lossmith.codegen import lower

    unit = _load(task)
    derivations = lower.derivations(unit)
    bundle = lower.bundle(unit)
    if task.file is not None:
        source = Path(task.file).name
        origin = dataclasses.replace(bundle.origin, source=source, command=f"lossmith generate {source}")
        bundle = dataclasses.replace(bundle, origin=origin)
    files: dict[str, str] = {}
    for target in task.targets:
        printer = importlib.import_module(f"lossmith.codegen.targets.{target}")
        try:
            made = printer.render(bundle)
        except ValueError as problem:
            if target == "c" and len(task.targets) > 1:  # what C has no function for the other targets still have
                continue
            raise GenerateError(f"{task.unit}: {problem}") from problem
        for rendered in made:
            files[rendered.path] = _stamped(rendered, bundle.origin, target)
    for folder, comment, text in _pages(derivations):
        files[f"{folder}/{unit.name}.{folder}"] = provenance.stamp_derivation(
            text, comment, bundle.origin, provenance.template_hash(folder))
    return files


def _stamped(rendered: Rendered, origin: Any, target: str) -> str:
    return provenance.stamp(rendered, origin, provenance.template_hash(target))


def _load(task: Task) -> Any:
    if task.file is None:
        return catalogue.load(task.unit)
    return next(u for u in _units_of_file(task.file) if u.name == task.unit)


@functools.cache
def _units_of_file(path: str) -> tuple[Any, ...]:
    return tuple(catalogue.load_file(path))


def _pages(derivations: Sequence[Any]) -> list[tuple[str, str, str]]:
    """The derivations of a unit, to read: folder, how it writes a comment, text."""
    from lossmith.derivations.typeset.latex import unit_latex
    from lossmith.derivations.typeset.markdown import unit_markdown

    return [("md", "<!--", unit_markdown(derivations)), ("tex", "%", unit_latex(derivations))]


def _status(root: Path, path: str, text: str) -> Status:
    shown = (root / path).as_posix()
    if path == whole.MANIFEST or path.endswith("__init__.py"):
        found = provenance.status(root / path, text, shown)
        return found if found.fresh else Status(shown, found.kind, whole.COMMAND)
    return provenance.status(root / path, text, shown)


def leftovers(root: Path, files: Mapping[str, str], targets: Sequence[str]) -> list[Status]:
    """Files with our header that no loss makes any more."""
    found: list[Status] = []
    for folder in [f for f in FOLDERS if f in targets or f not in TARGETS]:
        for path in sorted((root / folder).glob("*")):
            name = path.relative_to(root).as_posix()
            if name in files or not path.is_file() or path.name.startswith((".", "__")):
                continue
            try:
                ours = provenance.read(path.read_text(encoding="utf-8")) is not None
            except (OSError, UnicodeDecodeError):
                continue
            if ours:
                found.append(Status(path.as_posix(), "no loss makes it", f"rm {path.as_posix()}"))
    return found


__all__ = ["FOLDERS", "TARGETS", "GenerateError", "Result", "Task", "WriteError", "build", "generate", "plan"]
