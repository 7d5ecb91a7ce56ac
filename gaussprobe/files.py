"""Writing a file whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from gaussprobe.errors import StoreError


def check_replaceable(path: str | Path) -> None:
    """Refuse a path that `replace_file` would refuse, without writing anything.

    Args:
        path: where something is to be written.

    Raises:
        StoreError: if it is a folder or a device, its folder is missing, or permission is.
    """
    try:
        _target(path)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error


def replace_file(path: str | Path, content: bytes) -> None:
    """Put `content` at `path` whole or not at all: a temporary file in the same folder, then a rename.

    Args:
        path: where to; its folder must exist. A symbolic link is followed, an older file's mode is kept.
        content: the bytes.

    Raises:
        StoreError: if it cannot be written; whatever was at `path` is then untouched.
    """
    try:
        target, mode = _target(path)
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error


def require_regular(path: Path) -> None:
    """Refuse a folder, and a device or pipe: replacing /dev/null would break more than a report.

    Raises:
        OSError: if something is there that is not a regular file, or cannot be looked at.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def why(error: OSError | ValueError) -> str:
    """What the system said, without the path, which stands in our message already."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def printable(text: str) -> str:
    """Text in one line that cannot steer a terminal: what does not print is written as an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _target(path: str | Path) -> tuple[Path, int | None]:
    """The file behind `path` and its mode, None where there is none yet."""
    target = Path(os.path.realpath(path))
    try:
        require_regular(target)
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {target.parent}") from None
        mode = None
    else:
        mode = stat.S_IMODE(target.stat().st_mode)
        _require_permission(target, os.W_OK)
    _require_permission(target.parent, os.W_OK | os.X_OK)
    return target, mode


def _require_permission(path: Path, wanted: int) -> None:
    if not os.access(path, wanted):
        raise PermissionError(errno.EACCES, "Permission denied")


def _refusal(path: str | Path, error: OSError | ValueError) -> StoreError:
    """The refusal in two lines; a ValueError is a NUL in the name."""
    return StoreError(f"Cannot write {printable(str(path))}: {printable(why(error))}.\n{_advice(error)}")


def _advice(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "Make its folder first, or choose another name."
    if isinstance(error, IsADirectoryError):
        return "Name a file in that folder."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "Free some space, or choose another disk."
    return "Choose a name that can be written."
