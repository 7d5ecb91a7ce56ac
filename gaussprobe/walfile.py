"""How a run file is opened for being written step by step, and made one plain file again.

While it is written a run has a log beside it, so that readers and the writer do not wait for each other and a
transaction costs no waiting for the disk. The log's index is shared memory, which machines do not share: on a
network file system, and where there is no such memory, SQLite's rollback journal takes its place.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from pathlib import Path

from gaussprobe import schema

_BUSY_SECONDS = 1.0  # that a step may wait for a reader or another program
_CLOSE_SECONDS = 5.0  # that closing may wait for readers
_LOG_SIZE = 2**24  # bytes; a log that a long reader let grow is cut back to it

_NETWORK = re.compile(
    r"(nfs|nfs4|cifs|smb\w*|9p|afs|ceph|lustre|gpfs|beegfs|pvfs2|orangefs|glusterfs|ncpfs|fuse\..*|fuse)"
)
_MOUNTS = Path("/proc/self/mountinfo")


def connect(path: Path) -> sqlite3.Connection:
    """A run file opened for writing, with a log where that works and a rollback journal elsewhere.

    With the log a transaction survives the end of the process as soon as it is committed, and the file stays
    whole when the machine fails; the journal guarantees both against the machine's failing too.

    Args:
        path: a run of the newest schema that nobody else writes, without links in it.

    Raises:
        sqlite3.Error: if it cannot be opened or written.
    """
    if not is_on_network(path):
        connection = _plain(path)
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode == "wal":
                connection.execute("BEGIN IMMEDIATE")  # the shared memory is opened here
                connection.execute("ROLLBACK")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(f"PRAGMA journal_size_limit = {_LOG_SIZE}")
                return connection
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                connection.close()
                raise
        connection.close()
    connection = _plain(path)
    try:
        # The file may say by now that it has a log: alone with it SQLite undoes that without shared memory.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("PRAGMA user_version").fetchone()  # gives the lock back
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except BaseException:
        connection.close()
        raise
    return connection


def close(connection: sqlite3.Connection) -> bool:
    """Put the log into the file and close it.

    Returns:
        Whether the file is one plain file now; it is not while a reader holds on to it, or on a full disk.
    """
    until = time.monotonic() + _CLOSE_SECONDS
    plain = False
    try:
        while not plain:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
                plain = mode == "delete"
            except sqlite3.Error as error:
                if not _is_busy(error):
                    break
            if time.monotonic() > until:
                break
            if not plain:
                time.sleep(0.02)
    finally:
        connection.close()
    return plain


def is_on_network(path: Path) -> bool:
    """Whether a file lies on a network file system, as far as Linux can tell; elsewhere it is not asked."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    deepest, kind = "", ""
    for line in lines:
        place, _, source = line.partition(" - ")
        mount = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), place.split()[4])
        inside = f"{path}{os.sep}".startswith(f"{mount.rstrip(os.sep)}{os.sep}")
        if inside and len(mount) >= len(deepest):  # of two on one place the later one is seen
            deepest, kind = mount, source.split()[0]
    return _NETWORK.fullmatch(kind) is not None


def _plain(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, schema.MAX_VALUE)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
