"""A tokenizer's file tried on lines of text, in a process of its own; run as a script, imports no gaussprobe.

A tokenizer is data that runs: its patterns may backtrack for ever, its replacements may blow a line up to
gigabytes, and its library then ends the process it is in. So it is tried where it can be stopped.

Arguments: the folder that holds the package tokenizers, the tokenizer's file. Lines come on stdin as one JSON
document. Ends with 0 when every line could be tokenised.
"""

from __future__ import annotations

import json
import sys

MAX_LINES = 1_000
MAX_CHARACTERS = 2**20
_MEMORY = 2**32


def chunks(lines: list[str]) -> list[list[str]]:
    """Lines in parts of bounded size, each of at least one line."""
    parts: list[list[str]] = []
    room = 0
    for line in lines:
        if not parts or room < len(line) or len(parts[-1]) == MAX_LINES:
            parts.append([])
            room = MAX_CHARACTERS
        parts[-1].append(line)
        room -= len(line)
    return parts


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if most < 0 else min(_MEMORY, most), most))


def _main(packages: str, path: str) -> None:
    _limit()
    sys.path.append(packages)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for part in chunks(json.load(sys.stdin)):
        tokenizer.encode_batch(part)


if __name__ == "__main__":
    _main(*sys.argv[1:])
