"""Reading arrays from files: NumPy, CSV and torch; nothing in them is executed."""

from __future__ import annotations

import ast
import csv
import math
import struct
import zipfile
import zlib
from array import array
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.errors import DataError
from gaussprobe.models.archive import DamagedFileError, read_torch
from gaussprobe.models.sniff import FileKind
from gaussprobe.models.stock import UnknownGlobalsError, UnsafeContentError

Array = npt.NDArray[Any]
_DELIMITERS = (",", ";", "\t")
_MAX_HEADER = 10_000
_BOMB_BYTES = 2**30
_BOMB_RATIO = 100


def read_npy(path: Path, source: str) -> Array:
    """The array of an `.npy` file.

    Raises:
        DataError: if it is damaged, truncated, or holds something other than numbers.
    """
    with path.open("rb") as file:
        return _read_array(file, path.stat().st_size, source)


def read_npz(path: Path, source: str) -> dict[str, Array]:
    """The arrays of an `.npz` file by name.

    Raises:
        DataError: as `read_npy`, or if unpacking it would take absurdly more than its size.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            declared = sum(member.file_size for member in members)
            if declared > max(_BOMB_BYTES, _BOMB_RATIO * size):
                raise DataError(
                    f"{source}: claims to unpack to {declared:,} bytes from {size:,}: save it again"
                )
            arrays = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                content = archive.read(member)
                arrays[name] = _read_array(BytesIO(content), len(content), f"{source}: {_printable(name)}")
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


def _read_array(file: BinaryIO, size: int, source: str) -> Array:
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
        raise DataError(f"{source}: holds {dtype}, not numbers: save a numeric array")
    start = file.tell()
    if not whole or not isinstance(fortran, bool) or math.prod(shape) * dtype.itemsize > size - start:
        raise DataError(damaged)
    count = math.prod(shape)
    values = np.frombuffer(file.read(count * dtype.itemsize), dtype=dtype, count=count)
    return values.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="), order="C")


def read_csv(path: Path, source: str) -> tuple[Array, list[str] | None]:
    """The numbers of a CSV file, and its header.

    The delimiter is whichever of comma, semicolon and tab the first line has most of. A first line with a
    cell that is no number is a header. An empty cell is NaN.

    Returns:
        `(rows, columns)` float64, and the names of the columns or None.

    Raises:
        DataError: naming the row and column of a cell that is no number, or a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(_DELIMITERS, key=first.count)
            file.seek(0)
            return _parse(csv.reader(file, delimiter=delimiter), source)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: is not a CSV file of numbers") from error


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
                title = f" ({_printable(names[column])})" if names else ""
                raise DataError(
                    f"{source}: row {rows.line_num}, column {column + 1}{title}: "
                    f"{_printable(cell)!r} is not a number"
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


def read_pt(path: Path, kind: FileKind, source: str) -> Any:
    """Tensors from a torch file.

    Raises:
        DataError: if it is damaged, or holds more than tensors in plain containers.
    """
    try:
        content = read_torch(path, kind)
    except UnknownGlobalsError as error:
        names = ", ".join(map(_printable, error.names[:3]))
        raise DataError(
            f"{source}: holds {names}, not plain tensors: save a tensor, or a dict or tuple of them"
        ) from error
    except UnsafeContentError as error:
        raise DataError(f"{source}: refused: {error}; save a tensor, or a dict or tuple of them") from error
    except (DamagedFileError, OSError) as error:
        raise DataError(f"{source}: is not a whole torch.save file: {error}") from error
    if isinstance(content, torch.nn.Module):
        raise DataError(f"{source}: holds a model ({type(content).__name__}), not inputs")
    return content


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:60]
