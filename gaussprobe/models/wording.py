"""Text from files and exceptions, made safe to print: one line, no control characters, a bounded length."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 200


def printable(text: str, *, limit: int = 60) -> str:
    """`text` with control characters escaped, cut to `limit` characters.

    Args:
        text: anything, such as a name from an untrusted file.
        limit: the most characters kept; a cut is marked with `…`.
    """
    start = text[: limit + 1]
    safe = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in start)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def listed(names: Iterable[object], *, shown: int = 4) -> str:
    """The first few names, safe to print, and how many more there are."""
    known = list(names)
    more = len(known) - shown
    first = ", ".join(printable(str(each), limit=60) for each in known[:shown])
    return f"{first} and {more} more" if more > 0 else first


def first_line(error: BaseException, *, limit: int = _MOST) -> str:
    """The first line of an exception's message with its type, short enough for one line of output."""
    name = printable(type(error).__name__)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (an exception of the user's own may fail to describe itself)
        return name
    lines = text[: 10 * _MOST].strip().splitlines()
    line = " ".join(lines[0].split()) if lines else ""
    return f"{name}: {printable(line, limit=limit)}" if line else name
