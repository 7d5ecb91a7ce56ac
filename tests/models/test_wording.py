"""Text from files and exceptions is printed in one short, plain line."""

from __future__ import annotations

import pytest

from gaussprobe.models.wording import first_line, listed, printable


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError(), "ValueError"),
        (SilentError(), "SilentError"),
        (ValueError("a\tb\x1b[31mc"), "ValueError: a b\\x1b[31mc"),
        (ValueError("x" * 500), "ValueError: " + "x" * 199 + "…"),
    ],
)
def test_first_line(error: BaseException, line: str) -> None:
    """An exception is its type and the first line of its message, even when it cannot tell it."""
    assert first_line(error) == line


def test_control_characters_are_escaped_and_length_is_bounded() -> None:
    """Nothing in a printed name moves the cursor, and no name is longer than asked for."""
    assert printable("a\x1b[2Jb\nc\ud800") == "a\\x1b[2Jb\\nc\\ud800"
    assert printable("ab", limit=2) == "ab"
    assert printable("abc", limit=2) == "a…"
    assert len(printable("\x00" * 1_000, limit=60)) == 60


def test_lists_are_cut() -> None:
    """A few names are shown and the others counted."""
    assert listed("abc") == "a, b, c"
    assert listed("abcdef", shown=2) == "a, b and 4 more"
