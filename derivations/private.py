"""A private folder of files that may be lost: closed to others, written whole, never trusted unread.

The folder is opened once and what is done in it goes through that handle, so nobody can put another
in its place between the look and the use. Where it cannot be private there is none: nothing is kept.
`LOSSMITH_CACHE` names the folder that holds them all; with `LOSSMITH_NO_CACHE=1` nothing is kept.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

VARIABLE, OFF = "LOSSMITH_CACHE", "LOSSMITH_NO_CACHE"
PARTIAL = ".partial-"
ABANDONED = 3600.0  # seconds after which what a run left half-written is taken away
LARGEST = 64 << 20  # bytes that an entry may have


@dataclass(frozen=True)
class Facts:
    """What a folder holds. `refusal` says in words why it is not used, and is empty where it is."""

    path: str
    entries: int
    size: int
    refusal: str = ""


def base() -> Path | None:
    """The folder of all that lossmith keeps; None where nothing is to be kept."""
    named = os.environ.get(VARIABLE, "").strip()
    if os.environ.get(OFF, "") not in ("", "0") or not hasattr(os, "getuid"):
        return None
    if named:
        return Path(named).expanduser().absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "lossmith"
    except RuntimeError:  # no home
        return None


class Folder:
    """One kind of entries, in a folder of its own under `base()`."""

    def __init__(self, kind: str, most: int) -> None:
        self.kind, self.most = kind, most

    def path(self) -> Path | None:
        above = base()
        return None if above is None else above / self.kind

    def read(self, name: str) -> bytes | None:
        """An entry; None where there is none, or none that can be trusted to be the user's own."""
        with suppress(OSError), self._opened() as folder:
            if folder is None:
                return None
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(handle, "rb") as file:
                facts = os.fstat(handle)
                if stat.S_ISREG(facts.st_mode) and _own(facts) and not facts.st_mode & 0o022 \
                        and facts.st_size <= LARGEST:
                    return file.read(LARGEST)
        return None

    def write(self, name: str, data: bytes) -> bool:
        """Keep an entry, whole or not at all, whoever else writes the same; whether it was kept."""
        if len(data) > LARGEST:
            return False
        with suppress(OSError), self._opened(make=True) as folder:
            if folder is None:
                return False
            self._make_room(folder)
            partial = f"{PARTIAL}{os.getpid()}-{secrets.token_hex(6)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(partial, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(partial, dir_fd=folder)
                raise
            return True
        return False

    def remove(self, name: str) -> None:
        """Drop an entry that turned out to be no good."""
        with suppress(OSError), self._opened() as folder:
            if folder is not None:
                os.unlink(name, dir_fd=folder)

    def clear(self) -> int:
        """Remove every file in the folder; how many there were. Folders in it are left alone."""
        removed = 0
        with suppress(OSError), self._opened() as folder:
            for name in _names(folder) if folder is not None else ():
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)
                    removed += not name.startswith(PARTIAL)
        return removed

    def facts(self) -> Facts:
        """Where the folder is, how much it holds, and why it is not used where it is not."""
        path = self.path()
        if path is None:
            return Facts("", 0, 0, f"off ({OFF})" if os.environ.get(OFF) else "off: there is no home for it")
        try:
            with self._opened() as folder:
                if folder is None:
                    return Facts(str(path), 0, 0, _refusal(path))
                sizes = [found.st_size for _, found in _files(folder)]
                return Facts(str(path), len(sizes), sum(sizes))
        except OSError:
            return Facts(str(path), 0, 0, _refusal(path))

    @contextmanager
    def _opened(self, make: bool = False) -> Iterator[int | None]:
        """The folder's handle; None where the folder is not private. Raises OSError where it cannot be opened."""
        path = self.path()
        if path is None:
            yield None
            return
        if make:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            facts = os.fstat(handle)
            yield handle if _own(facts) and not facts.st_mode & 0o077 else None
        finally:
            os.close(handle)

    def _make_room(self, folder: int) -> None:
        """Take away what dead runs left, and the oldest entries where there are too many."""
        now, found = time.time(), _files(folder, partial=True)
        entries = sorted((facts.st_mtime, name) for name, facts in found if not name.startswith(PARTIAL))
        old = [name for name, facts in found if name.startswith(PARTIAL) and now - facts.st_mtime > ABANDONED]
        for name in [*old, *(name for _, name in entries[: max(0, len(entries) + 1 - self.most)])]:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)


def _own(facts: os.stat_result) -> bool:
    return facts.st_uid == os.getuid()


def _names(folder: int) -> list[str]:
    return sorted(os.listdir(folder))


def _files(folder: int, partial: bool = False) -> list[tuple[str, os.stat_result]]:
    found = []
    for name in _names(folder):
        with suppress(OSError):
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(facts.st_mode) and (partial or not name.startswith(PARTIAL)):
                found.append((name, facts))
    return found


def _refusal(path: Path) -> str:
    """Why a folder is not used, in words, with what to do."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return ""  # it is made with the first entry
    except OSError as error:
        return f"not used: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISDIR(facts.st_mode):
        return "not used: it is not a directory, remove it"
    if not _own(facts):
        return f"not used: it belongs to another user, set {VARIABLE} to a folder of your own"
    if facts.st_mode & 0o077:
        return f"not used: it is open to other users, type: chmod 700 {path}"
    return "not used: it cannot be read"
