"""Reading arrays from files: NumPy, CSV and torch; nothing in them is executed."""

from __future__ import annotations

import ast
import csv
import math
import struct
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.errors import DataError
from gaussprobe.models.archive import DamagedFileError, read_torch
from gaussprobe.models.sniff import FileKind
from gaussprobe.models.stock import UnknownGlobalsError, UnsafeContentError
from gaussprobe.models.wording import listed, printable

Array = npt.NDArray[Any]
_DELIMITERS = (",", ";", "\t")
_MAX_HEADER = 10_000
_MAX_ROW = 2**26  # characters
_MAX_DIMS = 32
_MAX_SIDE = 2**40
_BOMB_BYTES = 2**26
_BOMB_RATIO = 200


def read_npy(path: Path, source: str) -> Array:
    """The array of an `.npy` file.

    Raises:
        DataError: if it is damaged, truncated, or holds something other than numbers.
    """
    with path.open("rb") as file:
        return _read_array(file, path.stat().st_size, source)


def read_npz(path: Path, source: str, *, width: int = 8) -> dict[str, Array]:
    """The arrays of an `.npz` file by name.

    Args:
        path: the file.
        source: how messages name it.
        width: bytes of a number after the cast to what the model takes.

    Raises:
        DataError: as `read_npy`, or if unpacked and cast it would take absurdly more than its size.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_unpacked(sum(member.file_size for member in members), size, source)
            arrays: dict[str, Array] = {}
            taken = 0
            for member in members:
                name = member.filename.removesuffix(".npy")
                title = f"{source}: {printable(name)}"
                with archive.open(member) as file:
                    arrays[name] = _read_array(
                        file,
                        member.file_size,
                        title,
                        allowed=lambda numbers: check_unpacked(taken + numbers * width, size, source),  # noqa: B023
                    )
                taken += arrays[name].size * width
            return arrays
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        struct.error,
        IndexError,
    ) as error:
        raise DataError(f"{source}: is truncated or damaged") from error


def check_unpacked(needed: int, size: int, source: str) -> None:
    """Refuse a file whose content would take absurdly more memory than the file takes room.

    Raises:
        DataError: if `needed` bytes are more than a floor and many times the `size` of the file.
    """
    if needed > max(_BOMB_BYTES, _BOMB_RATIO * size):
        raise DataError(
            f"{source}: claims to unpack to {needed:,} bytes from {size:,}: save it again, uncompressed"
        )


def _read_array(
    file: BinaryIO | IO[bytes], size: int, source: str, *, allowed: Callable[[int], None] | None = None
) -> Array:
    """One array in the .npy format; the header is judged before memory is asked for."""
    damaged = f"{source}: is truncated or damaged"
    prefix = file.read(8)
    if len(prefix) < 8 or prefix[:6] != b"\x93NUMPY":
        raise DataError(f"{source}: is not a NumPy array")
    width = "<H" if prefix[6] == 1 else "<I"
    raw = file.read(struct.calcsize(width))
    if len(raw) < struct.calcsize(width):
        raise DataError(damaged)
    (length,) = struct.unpack(width, raw)
    if length > _MAX_HEADER:
        raise DataError(f"{source}: has an absurd header ({length:,} bytes)")
    try:
        header = ast.literal_eval(file.read(length).decode("utf-8").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
        dtype = np.dtype(descr if isinstance(descr, str) else [tuple(each) for each in descr])
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    except (
        ValueError,
        SyntaxError,
        TypeError,
        KeyError,
        AttributeError,
        MemoryError,
        RecursionError,
    ) as error:
        raise DataError(damaged) from error
    if dtype.hasobject:
        raise DataError(f"{source}: holds Python objects, which only code could unpack: save a numeric array")
    if dtype.kind not in "biuf":
        raise DataError(f"{source}: holds {printable(str(dtype))}, not numbers: save a numeric array")
    if not whole or not isinstance(fortran, bool):
        raise DataError(damaged)
    if len(shape) > _MAX_DIMS:
        raise DataError(f"{source}: has {len(shape)} dimensions, more than {_MAX_DIMS}")
    count = math.prod(shape)
    if max(shape, default=0) > _MAX_SIDE or count * dtype.itemsize > size - file.tell():
        raise DataError(damaged)
    if allowed is not None:
        allowed(count)
    raw = file.read(count * dtype.itemsize)
    if len(raw) < count * dtype.itemsize:
        raise DataError(damaged)
    try:
        values = np.frombuffer(raw, dtype=dtype, count=count)
        return values.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="), order="C")
    except ValueError as error:  # sides whose product without the empty one is beyond what NumPy counts
        raise DataError(damaged) from error


def read_csv(path: Path, source: str) -> tuple[Array, list[str] | None]:
    """The numbers of a CSV file, and its header.

    The delimiter is whichever of comma, semicolon and tab the first line has most of. A first line with a
    cell that is no number is a header. An empty cell is NaN. Whoever calls it drops columns named as targets:
    y, label, labels, target, targets, in any case.

    Returns:
        `(rows, columns)` float64, and the names of the columns or None.

    Raises:
        DataError: naming the row and column of a cell that is no number, or a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(_MAX_ROW)
            delimiter = max(_DELIMITERS, key=first.count)
            file.seek(0)
            return _parse(csv.reader(_rows(file, source), delimiter=delimiter), source)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: is not a CSV file of numbers") from error


def _rows(file: IO[str], source: str) -> Iterator[str]:
    while line := file.readline(_MAX_ROW):
        if len(line) == _MAX_ROW:
            raise DataError(f"{source}: has a row of more than {_MAX_ROW:,} characters: is it a table?")
        yield line


def _parse(rows: Any, source: str) -> tuple[Array, list[str] | None]:
    names: list[str] | None = None
    values = array("d")
    width: int | None = None
    for row in rows:
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if width is None:
            width = len(row)
            if any(_number(cell) is None for cell in row):
                names = [cell.strip() for cell in row]
                continue
        if len(row) != width:
            raise DataError(f"{source}: row {rows.line_num} has {len(row)} cells where the first has {width}")
        for column, cell in enumerate(row):
            number = _number(cell)
            if number is None:
                title = f" ({printable(names[column])})" if names else ""
                raise DataError(
                    f"{source}: row {rows.line_num}, column {column + 1}{title}: "
                    f"{printable(cell)!r} is not a number"
                )
            values.append(number)
    if not values or width is None:
        raise DataError(f"{source}: holds no rows of numbers")
    return np.frombuffer(values, dtype=np.float64).reshape(-1, width).copy(), names


def _number(cell: str) -> float | None:
    text = cell.strip()
    if not text:
        return math.nan
    if "_" in text:  # float() reads 1_000, a CSV file does not mean it
        return None
    try:
        return float(text)
    except ValueError:
        return None


def read_pt(path: Path, kind: FileKind, source: str, *, width: int = 8) -> Any:
    """Tensors from a torch file.

    Args:
        path: the file.
        kind: `TORCH_ZIP` or `TORCH_LEGACY`.
        source: how messages name it.
        width: bytes of a number after the cast to what the model takes.

    Raises:
        DataError: if it is damaged, holds more than tensors in plain containers, or tensors that would take
            absurdly more memory than the file.
    """
    try:
        content = read_torch(path, kind)
    except UnknownGlobalsError as error:
        names = listed(error.names, shown=3)
        raise DataError(
            f"{source}: holds {names}, not plain tensors: save a tensor, or a dict or tuple of them"
        ) from error
    except UnsafeContentError as error:
        raise DataError(f"{source}: refused: {error}; save a tensor, or a dict or tuple of them") from error
    except (DamagedFileError, OSError) as error:
        raise DataError(f"{source}: is not a whole torch.save file: {error}") from error
    if isinstance(content, torch.nn.Module):
        raise DataError(f"{source}: holds a model ({type(content).__name__}), not inputs")
    # A view may repeat what is stored once.
    numbers = sum(tensor.numel() for tensor in _tensors(content))
    check_unpacked(numbers * width, path.stat().st_size, source)
    return content


def _tensors(content: Any) -> list[torch.Tensor]:
    parts = content.values() if isinstance(content, dict) else content
    parts = parts if isinstance(content, dict | list | tuple) else [content]
    return [part for part in parts if torch.is_tensor(part)]
