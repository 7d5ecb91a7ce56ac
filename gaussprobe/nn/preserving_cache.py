"""Tables of phi_theta that were built once: in memory, and as files in the user's cache folder.

A file is one line of JSON and numbers after it, nothing that is run. What is not exactly what was written
here, for this theta and by this version of the format, counts as missing: a cache saves time, and no more.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from gaussprobe.errors import StoreError
from gaussprobe.files import replace_file
from gaussprobe.nn import preserving_table
from gaussprobe.nn.preserving_law import Array
from gaussprobe.nn.preserving_table import COEFFICIENTS, TAIL_DEGREE, Kind, Table

# To be raised with every change of the law, the pieces or the layout of the file.
VERSION = 1

_ERRORS = ("interpolation_error", "tail_error", "law_error")
_HEAD = 1024


@functools.lru_cache(maxsize=64)
def table_of(theta: float, kind: Kind) -> Table:
    """The table of a theta and kind that were checked: from memory, the folder, or the law."""
    path = _path(theta, kind)
    found = None if path is None else _read(path, theta, kind)
    if found is None:
        found = preserving_table.build(theta, kind)
        if path is not None:
            _write(path, found)
    return found


def folder() -> Path | None:
    """Where files are kept: `GAUSSPROBE_CACHE`, or gaussprobe's folder in the platform's place for caches.

    Returns:
        It, None where there is no such place.
    """
    own = os.environ.get("GAUSSPROBE_CACHE")
    if own:
        return Path(own)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            given = Path(os.environ.get("XDG_CACHE_HOME") or "")
            base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    return base / "gaussprobe"


def _path(theta: float, kind: Kind) -> Path | None:
    where = folder()
    return None if where is None else where / f"phi-{kind}-{theta!r}-v{VERSION}.table"


def _head(theta: float, kind: Kind, numbers: bytes) -> bytes:
    """What a file of these numbers begins with."""
    digest = hashlib.sha256(numbers).hexdigest()
    head = {"gaussprobe": "phi", "version": VERSION, "theta": theta, "kind": kind, "sha256": digest}
    return json.dumps(head).encode() + b"\n"


def _read(path: Path, theta: float, kind: Kind) -> Table | None:
    """What the file holds; None where that is not a table of this theta and kind, whole."""
    count = len(_ERRORS) + TAIL_DEGREE + 2 + preserving_table.rows(kind) * COEFFICIENTS
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            content = file.read(_HEAD + 8 * count + 1)
    except (OSError, ValueError):
        return None
    head, numbers = content[: -8 * count], content[-8 * count :]
    if head != _head(theta, kind, numbers):
        return None
    values = np.frombuffer(numbers, dtype="<f8").astype(np.float64)
    return _table(values, theta, kind) if np.isfinite(values).all() else None


def _table(values: Array, theta: float, kind: Kind) -> Table:
    errors, tail, pieces = np.split(values, np.cumsum((len(_ERRORS), TAIL_DEGREE + 2)))
    named = dict(zip(_ERRORS, errors.tolist(), strict=True))
    return Table(theta=theta, kind=kind, pieces=pieces.reshape(-1, COEFFICIENTS), tail=tail, **named)


def _write(path: Path, table: Table) -> None:
    """Keep the table, if that can be: whole, under a name that is there or not."""
    errors = [getattr(table, name) for name in _ERRORS]
    numbers = np.concatenate((errors, table.tail, table.pieces.ravel())).astype("<f8").tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, _head(table.theta, table.kind, numbers) + numbers)
    except (OSError, ValueError, StoreError):
        return  # the next process builds it again
