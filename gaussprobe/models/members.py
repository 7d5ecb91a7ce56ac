"""The members of a zip archive that holds a program: read whole, checked against their checksums, bounded."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

from gaussprobe.models.wording import printable

_BOMB_BYTES = 2**26
_BOMB_RATIO = 200
_MAX_MEMBERS = 200_000


class DamagedArchiveError(Exception):
    """A zip archive is truncated or damaged, or claims to hold absurdly much; the message says how."""


def read_members(path: Path) -> dict[str, bytes]:
    """Every member of a zip archive, without the folder that torch puts around them.

    Args:
        path: the archive; what it unpacks to is bounded by its own size before anything is unpacked.

    Returns:
        Contents by name, such as `data.pkl`, in the archive's order; directories are left out.

    Raises:
        DamagedArchiveError: if a member is damaged, absurdly large, or there under two names that torch's own
            reader does not tell apart.
        OSError: if the file cannot be read.
    """
    members: dict[str, bytes] = {}
    seen: set[str] = set()
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            length = file.seek(0, os.SEEK_END)
            infos = archive.infolist()
            total = sum(info.file_size for info in infos)
            if len(infos) > _MAX_MEMBERS or total > max(_BOMB_BYTES, _BOMB_RATIO * length):
                raise DamagedArchiveError(f"it claims to unpack to {total:,} bytes from {length:,}")
            roots = {info.filename.partition("/")[0] for info in infos if "/" in info.filename}
            nested = len(roots) == 1 and all("/" in info.filename for info in infos)
            for info in infos:
                if info.flag_bits & 0x1:
                    raise DamagedArchiveError("its members are encrypted")
                name = info.filename.partition("/")[2] if nested else info.filename
                if name.lower() in seen:
                    raise DamagedArchiveError(f"it has two members named {printable(name)!r}")
                seen.add(name.lower())
                if info.is_dir():
                    continue
                members[name] = archive.read(info)
                if len(members[name]) != info.file_size:
                    raise DamagedArchiveError("a member is shorter than it claims")
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        struct.error,
        IndexError,
        MemoryError,
        OverflowError,
    ) as error:
        raise DamagedArchiveError("it is truncated or damaged") from error
    return members
