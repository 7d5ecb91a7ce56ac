"""Single values of a run file: to what SQLite keeps bit for bit, and back with every check.

What comes from a file is repeated in a message only shortened and escaped.
"""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gaussprobe import files, schema

INT64 = 2**63
_MOST_DIGITS = 40  # of a seed
_QUOTED = 200  # characters of a file's content that an error message repeats

# What reading a damaged file, or writing what cannot be written, can raise.
BAD_CONTENT = (
    sqlite3.Error,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
)

_T = TypeVar("_T")


def number(value: float | None) -> float | str | None:
    """A double as SQLite keeps it; NaN, which SQLite would turn into NULL, as text."""
    if value is None:
        return None
    value = float(value)
    return "NaN" if math.isnan(value) else value


def text(value: str) -> str | bytes:
    """Text, or bytes where it holds a lone surrogate (a file name that is not UTF-8): SQLite text cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def name(value: str) -> str | bytes:
    """The name of a site, a test or a metric."""
    return text(as_name(value))


def packed(values: Sequence[float]) -> bytes:
    """Numbers in a blob: of single precision where none of them loses a bit by it, else of double."""
    if len(values) > schema.MAX_QUANTILES:
        raise ValueError(f"there are {len(values):,} quantiles, more than {schema.MAX_QUANTILES}")
    double = struct.pack(f"<{len(values)}d", *values)
    try:
        single = struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        return b"d" + double
    back = struct.unpack(f"<{len(values)}f", single)
    return b"f" + single if struct.pack(f"<{len(values)}d", *back) == double else b"d" + double


def as_packed(value: object) -> tuple[float, ...]:
    """The numbers of `packed`."""
    if not isinstance(value, bytes) or value[:1] not in (b"f", b"d"):
        raise TypeError(f"expected packed numbers, got {quoted(value)}")
    width = 4 if value[:1] == b"f" else 8
    count, rest = divmod(len(value) - 1, width)
    if rest or count > schema.MAX_QUANTILES:
        raise ValueError(f"{len(value):,} bytes are no list of at most {schema.MAX_QUANTILES} numbers")
    return struct.unpack(f"<{count}{value[:1].decode()}", value[1:])


def as_text(value: object) -> str:
    """Text of any length that a file may hold."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {quoted(value)}")
    return value


def as_name(value: object) -> str:
    """A name; each is kept once, however many rows repeat it."""
    found = as_text(value)
    if len(found) > schema.MAX_NAME:
        raise ValueError(f"a name has {len(found):,} characters, more than {schema.MAX_NAME:,}")
    return sys.intern(str(found))


def digits_of(value: str) -> str:
    """Digits that are not too many to be made a number of."""
    if len(value) > _MOST_DIGITS:
        raise ValueError(f"expected at most {_MOST_DIGITS} digits, got {len(value):,}")
    return value


def as_int(value: object) -> int:
    """An integer of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected an integer, got {quoted(value)}")
    if not -INT64 <= value < INT64:
        raise ValueError(f"expected an integer of 64 bits, got {quoted(value)}")
    return value


def as_count(value: object) -> int:
    """An integer that is not negative."""
    found = as_int(value)
    if found < 0:
        raise ValueError(f"expected a count, got {quoted(value)}")
    return found


def as_number(value: object) -> float:
    """A double, NaN from its text."""
    if value == "NaN":
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number, got {quoted(value)}")
    return float(value)


def optional(read: Callable[[object], _T], value: object) -> _T | None:
    """A value that may have been withheld."""
    return None if value is None else read(value)


def as_list(value: object, read: Callable[[object], _T]) -> list[_T]:
    """A JSON list, each item by `read`."""
    items = json.loads(as_text(value))
    if not isinstance(items, list):
        raise TypeError(f"expected a list, got {quoted(items)}")
    return [read(item) for item in items]


def one_of(value: object, allowed: tuple[Any, ...], what: str) -> Any:
    """The one of `allowed` that the value equals: that object, not another equal one."""
    for known in allowed:
        if value == known:
            return known
    raise ValueError(f"{what} {quoted(value)} is unknown")


def shorten(value: str, most: int = _QUOTED) -> str:
    """Text of at most so many characters."""
    return value if len(value) <= most else f"{value[:most]}..."


def quoted(value: object) -> str:
    """A value from the file as a message may repeat it."""
    return shorten(repr(value))


def detail(error: BaseException) -> str:
    """What an error says, in one short line of what prints: a file's own content may be in it."""
    if isinstance(error, OSError):
        said = files.why(error)
    else:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return shorten(files.printable(" ".join(said.split())), 2 * _QUOTED)
