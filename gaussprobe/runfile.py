"""How a run file that nobody vouches for is opened, also while it is being written.

A run is data, but an SQLite schema can hold programs: a view in place of a table, a generated column, a
trigger, a virtual table. Nothing is read from a file whose schema is not, letter for letter, one of
`gaussprobe.schema`, and nothing in it may be larger than a run can need. What is written is held to the same.

A finished run is one plain file and is read where it lies. One that is being written, or whose writer was
killed, is a file and a log beside it (`-wal`, or `-journal` on a network disk): SQLite puts both together
into a copy in memory, under a lock that lasts as long as the copying, and what is read is the copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gaussprobe import files, schema, writerlock
from gaussprobe.errors import StoreError

_MAGIC = b"SQLite format 3\0"
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_HEADER_SIZE = 100
_PAGE_SIZE = 4096  # of every file that this package made
_LEAF = 0x0D  # the type of a table's b-tree page that has no pages below
_BUSY_SECONDS = 10.0
_GROWTH = 2**24  # bytes by which a file may grow between looking and copying
# Steps of SQLite's machine: looking at the schema of a run takes 170, reading it from .02 a byte, where
# pictures are, to 1, where rows are empty.
_SCHEMA_STEPS = 2_000
_STEPS_PER_BYTE = 10
_LEAST_STEPS = 1_000_000
_STRIDE = 100


class _Budget:
    """A progress handler that stops SQLite when a file keeps it busier than any run can."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> int:
        self.left -= _STRIDE
        return int(self.left < 0)


def check_header(path: Path, *, oldest: int = min(schema.SCHEMAS)) -> None:
    """Say from the first 100 bytes whether this is a run that this version reads.

    Args:
        path: the file. One that this process is writing is known to be a run and left alone.
        oldest: the oldest schema that will do.

    Raises:
        StoreError: if it is not, or cannot be read.
    """
    if writerlock.is_ours(path):
        return
    name = files.printable(str(path))
    try:
        files.require_regular(path)
        header, size = _header(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"Cannot read {name}: {files.printable(files.why(error))}.\n"
            "Name a run written by `gaussprobe scan --out`."
        ) from error
    if not header:
        raise StoreError(
            f"{name} is empty, not a gaussprobe run.\nMake one with `gaussprobe scan MODEL --out RUN`."
        )
    application_id = int.from_bytes(header[68:72], "big")
    if not header.startswith(_MAGIC) or (
        len(header) == _HEADER_SIZE and application_id != schema.APPLICATION_ID
    ):
        raise StoreError(f"{name} is not a gaussprobe run.\nMake one with `gaussprobe scan MODEL --out RUN`.")
    # While it is written, the log beside it may hold what the header already counts.
    expected = 0 if _log_of(path, header) else _page_size(header) * int.from_bytes(header[28:32], "big")
    if len(header) < _HEADER_SIZE or size < expected:
        raise StoreError(
            f"{name} is cut short: {size:,} bytes.\nCopy it again, or run `gaussprobe scan` again."
        )
    if size > schema.MAX_FILE:
        raise StoreError(
            f"{name} is larger than a run can be: {size:,} bytes, more than {schema.MAX_FILE:,}.\n"
            "Scan fewer sites or steps at a time."
        )
    version = _version(header)
    if not oldest <= version <= schema.SCHEMA_VERSION:
        known = schema.SCHEMA_VERSION
        reads = f"{known}" if oldest == known else f"{oldest} to {known}"
        raise StoreError(
            f"{name} was written by another gaussprobe: schema {version}, this one reads {reads}.\n"
            "Upgrade gaussprobe, or make the run again."
        )


@contextlib.contextmanager
def opened(path: Path, *, written: bool) -> Iterator[tuple[sqlite3.Connection, int]]:
    """A run file opened for reading only, once its schema and its pages are known to be sound.

    Args:
        path: a file whose header is that of a run.
        written: whether somebody is writing it.

    Yields:
        The connection, and the version of the schema.

    Raises:
        ValueError: if the file holds another schema, is damaged, or keeps SQLite too busy.
        sqlite3.Error: if SQLite cannot read it.
    """
    look, budget = _Budget(_SCHEMA_STEPS), _Budget(0)
    try:
        with contextlib.closing(_connected(path, written)) as connection:
            connection.row_factory = sqlite3.Row
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, schema.MAX_VALUE)
            connection.execute("PRAGMA trusted_schema = OFF")
            # The schema first: even a check of the pages evaluates what a foreign one says. SQLite parses it
            # before the first statement, and a file has room for millions of tables.
            connection.set_progress_handler(look, _STRIDE)
            longest = max(len(text) for text in schema.SCHEMAS.values())
            usual = connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, longest)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in schema.SCHEMAS or schema.entries(connection) != schema.expected(version):
                raise ValueError("it holds other tables or views than a run has")
            connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, usual)
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            budget.left = _LEAST_STEPS + _STEPS_PER_BYTE * _PAGE_SIZE * pages
            connection.set_progress_handler(budget, _STRIDE)
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise ValueError(state)
            yield connection, version
    except sqlite3.OperationalError as error:
        if look.left < 0:
            raise ValueError("it holds other tables or views than a run has") from error
        if budget.left < 0:
            raise ValueError("reading it takes more work than a run can need") from error
        raise


def _connected(path: Path, written: bool) -> sqlite3.Connection:
    """The file where it lies if it is finished, else a copy in memory of it and its log."""
    path = Path(os.path.realpath(path))
    if writerlock.is_ours(path):
        return _copied(path, size=path.stat().st_size)
    header, size = _header(path)
    log = _log_of(path, header)
    if log is None and not written:
        _check_first_page(path)
        # Nothing writes here, so that SQLite needs no lock and no file beside it.
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    # A page of a run is in the file or in the log: the copy cannot be larger than both, whatever they say.
    if log is not None:
        size += log.lstat().st_size
        if not stat.S_ISREG(log.lstat().st_mode) or size > 2 * schema.MAX_FILE:
            raise ValueError(f"what lies beside it as {files.printable(log.name)} is no log of a run")
    if _page_size(header) != _PAGE_SIZE:
        raise ValueError(f"its pages have {_page_size(header):,} bytes")
    try:
        return _copied(path, size=size)
    except sqlite3.OperationalError:
        if log is None or written:
            raise
    # Its writer is gone, and here SQLite cannot mend it: in a folder that is read-only, or after a kill in
    # the middle of a transaction with a rollback journal.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "run")
        shutil.copyfile(path, copy)
        shutil.copyfile(log, copy.with_name(f"run{log.name[len(path.name) :]}"))
        # SQLite deletes the file that a journal names as its superior; a run's journal names none.
        if _ends_with_superior(log):
            raise ValueError("its journal names another file")
        return _copied(copy, size=size, mode="rw")


def _copied(path: Path, *, size: int, mode: str = "ro") -> sqlite3.Connection:
    """A copy in memory of a file and its log, as of one moment."""
    until = time.monotonic() + _BUSY_SECONDS

    def give_up(*_progress: int) -> None:
        if time.monotonic() > until:
            raise sqlite3.OperationalError("it is locked by another process")

    copy = sqlite3.connect(":memory:")
    try:
        copy.execute(f"PRAGMA max_page_count = {(size + _GROWTH) // _PAGE_SIZE}")
        uri = f"{path.as_uri()}?mode={mode}"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as source:
            source.backup(copy, progress=give_up, sleep=0.02)
    except BaseException:
        copy.close()
        raise
    return copy


def _header(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        return file.read(_HEADER_SIZE), os.fstat(file.fileno()).st_size


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    return 65536 if size == 1 else size


def _version(header: bytes) -> int:
    return int.from_bytes(header[60:64], "big")


def _log_of(path: Path, header: bytes) -> Path | None:
    """The log that belongs to the file by its header: another one is left of an older run."""
    path = Path(os.path.realpath(path))
    log = path.with_name(path.name + ("-wal" if header[18:20] == b"\2\2" else "-journal"))
    return log if os.path.lexists(log) and log.lstat().st_size else None


def _ends_with_superior(log: Path) -> bool:
    return log.name.endswith("-journal") and log.read_bytes().endswith(_JOURNAL_MAGIC)


def _check_first_page(path: Path) -> None:
    """Refuse a schema of another size before SQLite parses it."""
    with path.open("rb") as file:
        start = file.read(_HEADER_SIZE + 5)
    expected = len(schema.expected(_version(start))) if _version(start) in schema.SCHEMAS else -1
    if start[100:101] != bytes([_LEAF]) or int.from_bytes(start[103:105], "big") != expected:
        raise ValueError("it holds other tables or views than a run has")
