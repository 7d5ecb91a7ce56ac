"""Damage and malice: altered copies of a file, each decided by the state of one random generator."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PNG = b"\x89PNG\r\n\x1a\n"
_SQLITE = b"SQLite format 3\0"
_NUMBERS = (0, -1, 1, 2, 255, 65_537, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64, -(2**63), 10**30)
_BYTES = (
    b"\0",
    b"\xff" * 8,
    b"\n",
    b"\x80\x02",
    b"\x1b[31m",
    b"PK\x03\x04",
    b"../../",
    b"NaN",
    b"1e999",
    b"\xed\xa0\x80",
)
_VALUES: tuple[Any, ...] = (
    *_NUMBERS,
    None,
    True,
    False,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 5_000,
    "\x1b[31mred\x07\n",
    "../../outside",
    "org/kernel",
    "(a+)+$",
    [],
    {},
    [[]],
    {"auto_map": {"AutoModel": "own.Own"}},
    {"": 1},
)


def mutate(path: Path, random_: random.Random) -> str:
    """Alter a file in place.

    Args:
        path: the file.
        random_: decides how.

    Returns:
        What was done.
    """
    data = path.read_bytes()
    choices: list[tuple[str, Callable[[bytes, random.Random], bytes]]] = [
        ("truncated", _truncated),
        ("bits flipped", _flipped),
        ("spliced", _spliced),
    ]
    inside = _inside(data, path)
    if inside is not None:
        # Where checksums or a syntax keep damage outside, most of the cases go inside.
        choices += [inside] * 4
    title, change = random_.choice(choices)
    path.write_bytes(change(data, random_))
    return title


def _inside(data: bytes, path: Path) -> tuple[str, Callable[[bytes, random.Random], bytes]] | None:
    if zipfile.is_zipfile(io.BytesIO(data)):
        return "member altered", _member
    if path.suffix == ".json":
        return "value altered", _json
    if data.startswith(_PNG):
        return "chunk altered", _png
    if data.startswith(_SQLITE):
        return "cell altered", _cell
    if path.suffix == ".safetensors":
        return "header altered", _header
    if data.startswith(b"\x93NUMPY"):
        return "header altered", _numpy_header
    if path.suffix in (".txt", ".csv"):
        return "line altered", _line
    return None


# -- whatever the format


def _truncated(data: bytes, random_: random.Random) -> bytes:
    # Half of the cuts are near an end, where the directories and headers are.
    near = random_.randrange(min(len(data), 64))
    return data[: random_.choice((random_.randrange(len(data)), near, len(data) - near))]


def _flipped(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 8, 64))):
        changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def _spliced(data: bytes, random_: random.Random) -> bytes:
    """A piece doubled, moved, dropped, or replaced by odd bytes."""
    start, stop, to = (random_.randrange(len(data) + 1) for _ in range(3))
    start, stop = min(start, stop), min(max(start, stop), start + 4_096)
    piece = random_.choice((data[start:stop], b"", random_.choice(_BYTES), bytes(random_.randrange(64))))
    if random_.random() < 0.5:
        return data[:start] + piece + data[stop:]
    return data[:to] + piece + data[to:]


# -- inside of a format, with its checksums and lengths made to fit


def _any(data: bytes, random_: random.Random) -> bytes:
    if not data:
        return random_.choice(_BYTES)
    return random_.choice((_flipped, _flipped, _truncated, _spliced))(data, random_)


def _member(data: bytes, random_: random.Random) -> bytes:
    """A zip archive with one member altered, dropped, doubled, renamed or exchanged, checksums mended."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = [(info, old.read(info)) for info in old.infolist() if not info.is_dir()]
    # Small members with a structure are worth more than weights and notes of versions.
    worth = [3 if info.filename.endswith((".pkl", ".py", ".json", ".npy")) else 1 for info, _ in members]
    which = random_.choices(range(len(members)), worth)[0]
    how = random_.choice(("altered",) * 6 + ("dropped", "doubled", "renamed", "exchanged"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for number, (info, content) in enumerate(members):
            name = info.filename
            if number == which:
                if how == "dropped":
                    continue
                if how == "altered" and name.endswith(".json") and random_.random() < 0.7:
                    content = _json(content, random_)
                elif how == "altered" and name.endswith(".py"):
                    content = random_.choice((_any, _line))(content, random_)
                elif how == "altered":
                    content = _any(content, random_)
                elif how == "exchanged":
                    content = random_.choice(members)[1]
                elif how == "renamed":
                    name = random_.choice(("../" + name, "/" + name, name.upper(), "x", name + "\x1b[31m"))
            new.writestr(name, content, compress_type=info.compress_type)
            if number == which and how == "doubled":
                new.writestr(f"{name}.{random_.randrange(9)}", content)
    return buffer.getvalue()


def _json(data: bytes, random_: random.Random) -> bytes:
    """A JSON document with one to three of its values replaced, dropped, exchanged or nested."""
    try:
        content = json.loads(data)
    except ValueError:
        return _any(data, random_)
    for _ in range(random_.choice((1, 1, 1, 2, 3))):
        places = list(_places(content))
        if not places:
            break
        parent, key = random_.choice(places)
        how = random_.randrange(8)
        if how == 0:
            del parent[key]
        elif how == 1:
            other, other_key = random_.choice(places)
            parent[key] = json.loads(json.dumps(other[other_key]))
        elif how == 2:
            for _ in range(random_.choice((1, 5, 60, 900))):
                parent[key] = [parent[key]]
        elif how == 3 and isinstance(parent[key], int | float):
            parent[key] = parent[key] * random_.choice((0, -1, 2, 1_000, 10**9))
        else:
            parent[key] = random_.choice(_VALUES)
    return json.dumps(content).encode()


def _places(node: Any) -> Any:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(pairs):
        yield node, key
        yield from _places(value)


def _header(data: bytes, random_: random.Random) -> bytes:
    """A safetensors file whose JSON header was altered and its length mended, or is wrong."""
    (length,) = struct.unpack("<Q", data[:8])
    header = _json(data[8 : 8 + length], random_)
    claimed = len(header) if random_.random() < 0.9 else random_.choice((0, 1, 2**32, 2**63, len(header) - 1))
    return struct.pack("<Q", claimed) + header + data[8 + length :]


def _numpy_header(data: bytes, random_: random.Random) -> bytes:
    (length,) = struct.unpack("<H", data[8:10])
    header = data[10 : 10 + length].decode("latin-1")
    swap = random_.choice(
        (
            ("<f4", random_.choice(("|O", "<f8", ">f2", "<c16", "|S4", "<U9", "|V8", "<M8[s]", "?", "|b1"))),
            (
                "48, 6",
                random_.choice(("48, 7", "-48, -6", "2**9,", f"{10**12}, 6", "0, 6", "288,", "48, 6, 1, 1")),
            ),
            ("False", "True"),
            ("{", "{" * 200),
            ("'shape'", "'shope'"),
            ("(48", "(" * 300 + "48"),
        )
    )
    header = header.replace(*swap)
    return data[:8] + struct.pack("<H", len(header)) + header.encode("latin-1") + data[10 + length :]


def _png(data: bytes, random_: random.Random) -> bytes:
    """A PNG image with one chunk altered and its checksum mended."""
    chunks, at = [], len(_PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    which = random_.randrange(len(chunks))
    out = _PNG
    for number, (kind, content) in enumerate(chunks):
        if number == which:
            if kind == b"IDAT" and random_.random() < 0.5:
                content = zlib.compress(_any(zlib.decompress(content), random_))
            elif kind == b"IHDR" and random_.random() < 0.5:
                sides = (random_.choice((0, 1, 12, 70_000, 2**31 - 1)) for _ in range(2))
                content = struct.pack(">II", *sides) + content[8:]
            else:
                content = _any(content, random_)
        out += (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )
    return out


def _cell(data: bytes, random_: random.Random) -> bytes:
    """A stored run with one value of one table replaced, or a table dropped, emptied or renamed."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        name = random_.choice(names)
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
        column = random_.choice(columns)
        value = random_.choice(
            [v for v in _VALUES if v is None or isinstance(v, str | float) or -(2**63) <= _int(v) < 2**63]
        )
        value = value if value is None or isinstance(value, str | float | int) else json.dumps(value)
        how = random_.randrange(10)
        commands: list[tuple[str, tuple[Any, ...]]] = [
            (f'DROP TABLE "{name}"', ()),
            (f'DELETE FROM "{name}"', ()),
            (f'ALTER TABLE "{name}" RENAME COLUMN "{column}" TO "odd"', ()),
        ]
        statement, parameters = (
            commands[how]
            if how < len(commands)
            else (f'UPDATE "{name}" SET "{column}" = ? WHERE rowid % 3 = {random_.randrange(3)}', (value,))
        )
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement, parameters)
        connection.commit()
        return bytes(connection.serialize())
    except sqlite3.Error:
        return _any(data, random_)
    finally:
        connection.close()


def _int(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _line(data: bytes, random_: random.Random) -> bytes:
    """Text with a line made odd, very long, doubled or dropped."""
    lines = data.split(b"\n")
    which = random_.randrange(len(lines))
    line = lines[which]
    words = line.split(b",") if b"," in line else line.split()
    odd = (
        b"",
        line * random_.choice((2, 50, 2_000)),
        b"\xff\xfe" + line,
        "\u202e\x1b[2J\u0000 \U0001f600".encode() + line,
        b'"' + line,
        b",".join(reversed(words)),
        line + b"\r",
        b"a" * 100_000,
        b"9" * 5_000,
        b"-inf,nan,1e400,0x1f,1_0, ",
        random_.choice(_BYTES) + line,
    )
    lines[which] = random_.choice(odd)
    return b"\n".join(lines)
