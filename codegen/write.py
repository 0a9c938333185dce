"""Atomic writing: a file is written whole or not at all, and nothing is written outside its root.

Every file is first written and synced beside its target, under a name that a later run knows as
its own; only when all of them are complete are they renamed into place. A run that died leaves
files with that name, which the next run sweeps: the lock on them died with it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

try:
    import fcntl
except ImportError:  # not on Windows: there no run sweeps, since it could not tell a dead one
    fcntl = None  # type: ignore[assignment]

PREFIX, SUFFIX = ".lossmith-", ".partial"


class WriteError(OSError):
    """A place that cannot be written to; one line that says which, and what to do."""


def write_all(root: Path, files: Mapping[str, str]) -> list[str]:
    """Write each `files[path]` under `root`; the paths whose content changed, in order.

    Paths are relative, with `/`. A file that already holds its text is left alone. Raises
    WriteError when a directory cannot be written to or a path leads out of `root`; then no file
    has changed, unless a rename itself failed half-way through.
    """
    targets = {path: _inside(root, path) for path in files}
    sweep(dict.fromkeys(t.parent for t in targets.values()))
    changed = [path for path, target in targets.items() if not _holds(target, files[path])]
    staged: list[tuple[str, Path, int]] = []
    try:
        for path in changed:
            staged.append((path, *_stage(targets[path], files[path])))
        for path, temporary, _ in staged:
            _rename(temporary, targets[path])
    finally:
        for _, temporary, handle in staged:
            os.close(handle)
            temporary.unlink(missing_ok=True)
    for parent in dict.fromkeys(targets[path].parent for path in changed):
        _sync_directory(parent)
    return changed


def sweep(directories: Iterable[Path]) -> list[Path]:
    """Remove what runs that died have left in some directories; what was removed."""
    removed: list[Path] = []
    if fcntl is None:
        return removed
    for directory in directories:
        for orphan in sorted(directory.glob(f"{PREFIX}*{SUFFIX}")):
            with suppress(OSError):
                handle = os.open(orphan, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its run lives
                    orphan.unlink()
                    removed.append(orphan)
                finally:
                    os.close(handle)
    return removed


def _inside(root: Path, path: str) -> Path:
    """The place of `path` under `root`, its directory made. Symbolic links may not lead out."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or not pure.parts:
        raise WriteError(f"'{path}' is not a path inside {root}")
    parent = root.joinpath(*pure.parts[:-1])
    if not parent.resolve().is_relative_to(root.resolve()):
        raise WriteError(f"{parent} is a link that leads out of {root}: remove it")
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise WriteError(f"cannot write to {parent}: it is not a directory") from None
    except OSError as error:
        raise WriteError(f"cannot make {parent}: {_reason(error)}; name another place with -o") from None
    target = parent / pure.name
    if target.is_dir() and not target.is_symlink():
        raise WriteError(f"cannot write {target}: it is a directory")
    return target


def _holds(target: Path, text: str) -> bool:
    if target.is_symlink():
        return False
    try:
        return target.read_bytes() == text.encode("utf-8")
    except OSError:
        return False


def _stage(target: Path, text: str) -> tuple[Path, int]:
    """The text, complete and synced, in a locked temporary beside `target`."""
    temporary, handle = _locked_temporary(target)
    try:
        _write(handle, text.encode("utf-8"))
        os.fchmod(handle, 0o666 & ~_umask())
        os.fsync(handle)
    except OSError as error:
        _discard(temporary, handle)
        raise WriteError(f"cannot write {target}: {_reason(error)}") from None
    except BaseException:
        _discard(temporary, handle)
        raise
    return temporary, handle


def _locked_temporary(target: Path) -> tuple[Path, int]:
    """An empty file beside `target` that no sweep takes for an orphan.

    Between its making and its lock, the sweep of another run may remove it: then another is made.
    """
    while True:
        try:
            handle, name = tempfile.mkstemp(SUFFIX, PREFIX, target.parent)
        except OSError as error:
            raise WriteError(f"cannot write to {target.parent}: {_reason(error)}; name another place with -o") from None
        if fcntl is None:
            return Path(name), handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            swept = os.fstat(handle).st_nlink == 0
        except OSError as error:
            _discard(Path(name), handle)
            raise WriteError(f"cannot lock a file in {target.parent}: {_reason(error)}") from None
        if not swept:
            return Path(name), handle
        os.close(handle)


def _discard(temporary: Path, handle: int) -> None:
    os.close(handle)
    temporary.unlink(missing_ok=True)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data):]


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.replace(target)
    except OSError as error:
        raise WriteError(f"cannot replace {target}: {_reason(error)}") from None


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # not every file system can
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
