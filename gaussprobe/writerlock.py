"""Who writes a run: a lock beside the file, held for as long as the run is being written.

The lock is an empty file that SQLite holds locked, so that it works wherever SQLite itself does, on network
file systems too, and is gone with the process that held it, however that ended. SQLite's locks on the run
itself last for a transaction only.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

from gaussprobe import files
from gaussprobe.errors import StoreError

_SUFFIX = "-lock"

# The runs that this process writes.
_ours: set[str] = set()


class WriterLock:
    """The right to write one run, from construction to `release`.

    Args:
        path: the run; it need not be there yet, its folder must.

    Raises:
        StoreError: if another writer has it, in this process or any other, or no lock can be had there.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))
        self._file = _beside(self._path)
        self._process = os.getpid()
        try:
            self._connection = _locked(self._file)
        except (OSError, ValueError, sqlite3.Error) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise StoreError(
                    f"{_shown(path)} is being written by another `watch`.\n"
                    "Wait until it has ended, or name another file."
                ) from error
            raise StoreError(
                f"Cannot write {_shown(path)}: no lock beside it ({files.printable(str(error))}).\n"
                f"Choose a folder that can be written; {_shown(self._file)} must be free."
            ) from error

    def claim(self) -> None:
        """From here on SQLite has the run open in this process: see `is_ours`."""
        _ours.add(str(self._path))

    def release(self) -> None:
        """Give the lock back and remove its file; again is harmless, in a forked child nothing happens."""
        if self._process != os.getpid():
            return
        self._process = -1
        _ours.discard(str(self._path))
        with contextlib.suppress(OSError):  # before it is given back: nobody else's can be removed then
            self._file.unlink()
        self._connection.close()


def is_ours(path: str | Path) -> bool:
    """Whether this process is writing that run.

    Such a file must not be opened but by SQLite: closing it drops the locks that SQLite holds on it (POSIX
    gives them up with the first descriptor that the process closes).
    """
    return os.path.realpath(path) in _ours


def is_held(path: str | Path) -> bool:
    """Whether a run is being written, as far as can be told: by a process that is alive."""
    file = _beside(Path(os.path.realpath(path)))
    try:
        _require_empty(file)
        uri = f"{file.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    except (OSError, ValueError, sqlite3.Error):
        return False
    return False


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _SUFFIX)


def _require_empty(file: Path) -> None:
    """Refuse what is no lock: SQLite is to read nothing there."""
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        raise ValueError(f"{file.name} is something else")


def _locked(file: Path) -> sqlite3.Connection:
    with contextlib.suppress(FileNotFoundError):
        _require_empty(file)
    while True:
        connection = sqlite3.connect(file, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")  # no file beside the lock's own
            connection.execute("BEGIN EXCLUSIVE")
            if file.exists():  # else its last holder removed it after it was opened here
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()


def _shown(path: Path) -> str:
    return files.printable(str(path))
