"""A run that is being written: one transaction per recorded step, readable at any moment.

Whatever ends the process, the file keeps every step but the one in flight; whatever happens to the disk, the
training goes on.
"""

from __future__ import annotations

import os
import sqlite3
import warnings as python_warnings
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gaussprobe import cells, files, rows, runfile, schema, store, walfile
from gaussprobe.errors import GaussprobeWarning, StoreError
from gaussprobe.records import Event, Metric, SiteRecord
from gaussprobe.rows import Rows
from gaussprobe.types import CaptureRecord, LayerScore, Metadata, NotCaptured, Run
from gaussprobe.writerlock import WriterLock

_TABLES = ("scores", "tests", "series", "metrics", "events", "warnings")
_MOST_WAITING = 64  # steps that wait for a file that another program keeps locked
# The state is padded, so that a full disk does not keep it from being changed: nothing moves in the file.
_STATE_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The rows of one step, with their ids settled; None where those that are there stay."""

    step: int
    batch: dict[str, Rows]
    first: dict[str, int]
    capture: Rows | None
    not_captured: Rows | None


class Journal:
    """A run file being written; made by `Journal.open`, from one thread at a time.

    Attributes:
        path: the file, links followed.
        last_step: the last recorded step, None when there is none yet.
        resumed: the run that was there before, None for a new one and from the first `append` on.
        failed: why nothing is written any more, None while all is well.
    """

    def __init__(self, path: Path, lock: WriterLock) -> None:
        self.path = path
        self.last_step: int | None = None
        self.resumed: Run | None = None
        self.failed: str | None = None
        self._lock = lock
        self._identity = _identity(path)
        self._process = os.getpid()
        self._waiting: deque[_Step] = deque()
        self._next: dict[str, int] = {}
        connection = walfile.connect(path)
        lock.claim()
        self._connection: sqlite3.Connection | None = connection
        try:
            self._begin(connection)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def open(cls, path: str | Path, metadata: Metadata, *, resume: bool = False) -> Self:
        """Start a run, or go on with one.

        Args:
            path: the file; its folder must exist. A symbolic link is followed.
            metadata: where the run comes from; of a resumed run, that which was stored stays until `close`.
            resume: whether to append to the run that is there, if any.

        Returns:
            The journal; what was there before is under `last_step` and `resumed`.

        Raises:
            StoreError: if `path` cannot be written, holds anything but a run, holds a run without `resume`,
                one of another model, view or mode, or of an older schema, or is being written by another.
        """
        files.check_replaceable(path)
        target = Path(os.path.realpath(path))
        there = target.exists() and target.stat().st_size > 0
        if there:
            _require_run(target, resume)
        lock = WriterLock(target)
        try:
            if there:
                resumed = store.load_locked(target)
                _require_same(target, metadata, resumed.metadata)
                journal = cls(target, lock)
                journal.resumed, journal.last_step = resumed, _last_step(resumed)
            else:
                _create(target, metadata)
                try:
                    journal = cls(target, lock)
                except BaseException:
                    target.unlink()
                    raise
        except sqlite3.Error as error:
            lock.release()
            raise StoreError(
                f"Cannot write {files.printable(str(target))}: {_why(error)}.\n"
                "Choose a name that can be written, on a disk with free space."
            ) from error
        except BaseException:
            lock.release()
            raise
        return journal

    def append(
        self,
        *,
        step: int,
        scores: Sequence[LayerScore] = (),
        series: Iterable[SiteRecord] = (),
        metrics: Iterable[Metric] = (),
        events: Iterable[Event] = (),
        warnings: Iterable[str] = (),
        capture: Iterable[CaptureRecord] | None = None,
        not_captured: Iterable[NotCaptured] | None = None,
    ) -> None:
        """Write one recorded step, in one transaction; it is there for good when this returns.

        A failure of the disk or the file is no exception: one warning says so, `failed` says why, the run is
        marked incomplete and later calls do nothing. While another program keeps the file locked, steps wait
        in memory and are written with the next one.

        Args:
            step: after every step that is there.
            scores, series, metrics, events: of this step, in execution order.
            warnings: added to those that are there.
            capture, not_captured: in place of those that are there; None leaves them.

        Raises:
            ValueError: if `step` is not after the last one.
        """
        if self._connection is None or self.failed is not None or self._process != os.getpid():
            return
        if self.last_step is not None and step <= self.last_step:
            raise ValueError(f"step must be after the last recorded one, {self.last_step}, got {step}")
        self.last_step, self.resumed = step, None
        try:
            batch = store.step_rows(
                scores, series, metrics, events, warnings, first_score=self._next["scores"]
            )
            item = _Step(
                step=step,
                batch=batch,
                first=dict(self._next),
                capture=None if capture is None else rows.capture_rows(capture),
                not_captured=None if not_captured is None else rows.missed_rows(not_captured),
            )
        except cells.BAD_CONTENT as error:
            self._fail(step, cells.detail(error))
            return
        for table, content in batch.items():
            self._next[table] += len(content)
        self._waiting.append(item)
        self._write_waiting()

    def close(self, metadata: Metadata | None = None) -> None:
        """Write what waits, mark the run finished and make it one plain file; again is harmless.

        Args:
            metadata: in place of the stored one, when something of it is known only now.
        """
        if self._connection is None or self._process != os.getpid():
            return
        connection = self._connection
        try:
            if self.failed is None:
                self._write_waiting(most=0)
            if self.failed is None:
                self._finish(connection, metadata)
            elif self._is_there():
                self._mark()
        finally:
            self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Mark the run open: from here on the file is known to take what is written."""
        for table in _TABLES:
            last = connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0]  # noqa: S608  ours
            self._next[table] = 0 if last is None else int(last) + 1
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count = {schema.MAX_FILE // int(size)}")
        before = connection.execute("SELECT value FROM meta WHERE key = ?", (store.STATE,)).fetchone()
        connection.execute("BEGIN IMMEDIATE")
        state = "" if before is None else str(before[0]).rstrip()
        if state.startswith(store.INCOMPLETE):  # that steps are missing stays true
            store.insert(connection, "warnings", [(state,)], first=self._next["warnings"])
            self._next["warnings"] += 1
        _set_meta(connection, [(store.STATE, _padded(store.OPEN))])
        connection.execute("COMMIT")

    def _finish(self, connection: sqlite3.Connection, metadata: Metadata | None) -> None:
        try:
            content = [] if metadata is None else rows.meta_rows(metadata)
            connection.execute("BEGIN IMMEDIATE")
            _set_meta(connection, [*content, (store.STATE, store.FINISHED)])
            connection.execute("COMMIT")
        except cells.BAD_CONTENT as error:
            _roll_back(connection)
            self._fail(self.last_step, _why(error))

    def _write_waiting(self, most: int = _MOST_WAITING) -> None:
        """Write the steps that wait, each in its transaction; at most so many may go on waiting."""
        assert self._connection is not None
        while self._waiting:
            item = self._waiting[0]
            try:
                if not self._is_there():
                    raise FileNotFoundError(2, "the file was moved or deleted")
                self._write(self._connection, item)
            except cells.BAD_CONTENT as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and len(self._waiting) <= most:
                    return
                self._fail(item.step, _why(error))
                return

    def _write(self, connection: sqlite3.Connection, item: _Step) -> None:
        begun = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            begun = True
            for table, content in item.batch.items():
                store.insert(connection, table, content, first=item.first[table])
            for table, replaced in (("capture", item.capture), ("not_captured", item.not_captured)):
                if replaced is not None:
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608  table names are ours
                    store.insert(connection, table, replaced, first=0)
            connection.execute("COMMIT")
        except BaseException as error:
            # An interrupt from the keyboard arrives when SQLite returns: often with the step written.
            written = begun and not connection.in_transaction and not isinstance(error, sqlite3.Error)
            if written:
                self._waiting.popleft()
            _roll_back(connection)
            raise
        self._waiting.popleft()

    def _fail(self, step: int | None, reason: str) -> None:
        self.failed = f"writing failed{'' if step is None else f' at step {step}'}: {reason}"
        self._waiting.clear()
        if self._is_there():
            self._mark()
        python_warnings.warn(
            f"{files.printable(str(self.path))} is incomplete: {self.failed}; the training goes on",
            GaussprobeWarning,
            stacklevel=3,
        )

    def _mark(self) -> None:
        """Say in the file that it is incomplete, if anything can be written at all."""
        assert self._connection is not None
        state = [(store.STATE, _padded(f"{store.INCOMPLETE}{self.failed}"))]
        for statement in ("PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(RESTART)"):
            try:
                _set_meta(self._connection, state)
            except sqlite3.Error:
                _roll_back(self._connection)
                # What the log holds may fit into the file, which makes room in the log.
                _try(self._connection, statement)
            else:
                return

    def _is_there(self) -> bool:
        try:
            return _identity(self.path) == self._identity
        except OSError:
            return False

    def _leave(self) -> None:
        assert self._connection is not None
        connection, self._connection = self._connection, None
        try:
            walfile.close(connection)
        finally:
            self._lock.release()


def _require_run(target: Path, resume: bool) -> None:
    shown = files.printable(str(target))
    try:
        runfile.check_header(target, oldest=schema.SCHEMA_VERSION if resume else min(schema.SCHEMAS))
    except StoreError as error:
        first, _, _ = str(error).partition("\n")
        raise StoreError(f"{first}\nName another file; this one is left as it is.") from error
    if not resume:
        raise StoreError(
            f"{shown} holds a run already: left as it is.\n"
            "Go on with it with resume=True, name another file, or delete it first."
        )


def _require_same(target: Path, new: Metadata, old: Metadata) -> None:
    for key in ("model", "view", "mode"):
        if getattr(new, key) != getattr(old, key):
            was, now = (files.printable(cells.quoted(getattr(one, key))) for one in (old, new))
            raise StoreError(
                f"{files.printable(str(target))} cannot be resumed: its {key} is {was}, not {now}.\n"
                "Name another file."
            )


def _create(target: Path, metadata: Metadata) -> None:
    """An empty run, whole before its first step: whoever opens it finds a run."""
    for suffix in ("-wal", "-journal"):
        left = target.with_name(target.name + suffix)
        if os.path.lexists(left):
            raise StoreError(
                f"{files.printable(str(left))} is left of a run that is gone.\n"
                "Delete it, or name another file."
            )
    try:
        content = store.serialized(Run(metadata=metadata, scores=()), _padded(store.OPEN))
    except cells.BAD_CONTENT as error:
        raise StoreError(
            f"The run cannot be stored: {cells.detail(error)}.\n"
            f"Nothing was written to {files.printable(str(target))}."
        ) from error
    files.replace_file(target, content)


def _last_step(run: Run) -> int | None:
    ends = (records[-1].step for records in (run.scores, run.series, run.metrics, run.events) if records)
    return max(ends, default=None)


def _set_meta(connection: sqlite3.Connection, content: Rows) -> None:
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", content
    )


def _padded(state: str) -> str:
    return state[:_STATE_LENGTH].ljust(_STATE_LENGTH)


def _why(error: BaseException) -> str:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return "disk full"
    return cells.detail(error)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        _try(connection, "ROLLBACK")


def _try(connection: sqlite3.Connection, statement: str) -> None:
    try:
        connection.execute(statement)
    except sqlite3.Error:
        return


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
