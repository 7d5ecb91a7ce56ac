"""Names of sites where there is little room."""

from __future__ import annotations

import re

from gaussprobe.reports import text

MOST_NAME = 46  # characters beside a figure


def fold(name: str, width: int, indent: int = 0) -> list[str]:
    """A site's name in lines, broken after a separator where that can be.

    Args:
        name: the name.
        width: characters on the first line.
        indent: how many fewer there are on the others.

    Returns:
        Lines that joined give the name again.

    Raises:
        ValueError: if a line has no room for a character.
    """
    if width - indent < 1:
        raise ValueError(f"width must exceed indent, got width={width} and indent={indent}")
    lines = [""]
    for part in re.findall(r"[^.:_+/]*[.:_+/]|[^.:_+/]+", name):
        rest = part
        room = width if len(lines) == 1 else width - indent
        if lines[-1] and len(lines[-1]) + len(rest) > room and len(rest) <= width - indent:
            lines.append("")
        while len(lines[-1]) + len(rest) > (room := width if len(lines) == 1 else width - indent):
            cut = room - len(lines[-1])
            lines[-1], rest = lines[-1] + rest[:cut], rest[cut:]
            lines.append("")
        lines[-1] += rest
    return lines


def shortened(name: str, most: int = MOST_NAME) -> str:
    """A name of at most so many characters, its middle left out."""
    name = text.plain(name)
    if len(name) <= most:
        return name
    kept = max(most - 1, 2)
    return f"{name[: kept // 2]}…{name[-(kept - kept // 2) :]}"
