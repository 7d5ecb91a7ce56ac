"""Programs from files, TorchScript and torch.export: opened, or refused in words that say what to do."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from gaussprobe.errors import ModelFileError
from gaussprobe.models.exported import read_exported
from gaussprobe.models.graphs import MalformedGraphError
from gaussprobe.models.members import DamagedArchiveError
from gaussprobe.models.sniff import FileKind
from gaussprobe.models.stock import UnsafeContentError
from gaussprobe.models.torchscript import DamagedProgramError, read_script

PROGRAMS = (FileKind.TORCHSCRIPT, FileKind.TORCH_EXPORT)
_INSTEAD = (
    "Give the Python model it came from, as pkg.mod:fn or with --factory pkg.mod:fn and its state_dict."
)

_NAMED = (
    "a TorchScript program: layers are named by the parameters they use, activations by the module that they "
    "most likely are"
)


def open_program(path: Path, name: str, kind: FileKind) -> tuple[nn.Module, tuple[str, ...]]:
    """The module of a file of TorchScript or torch.export, without having run anything from it.

    Args:
        path: the file.
        name: how messages name it.
        kind: `TORCHSCRIPT` or `TORCH_EXPORT`.

    Returns:
        The module, on the CPU, and notes on how it was opened.

    Raises:
        ModelFileError: if it is damaged, or calls or holds what is not on the allow-list.
    """
    try:
        if kind is FileKind.TORCHSCRIPT:
            return read_script(path), (_NAMED,)
        return read_exported(path), ()
    except UnsafeContentError as error:
        raise ModelFileError(f"{name}: refused: {error}.\n{_INSTEAD}") from error
    except (DamagedArchiveError, DamagedProgramError, MalformedGraphError, OSError) as error:
        raise ModelFileError(f"{name}: is {kind}, and not a whole one: {error}") from error
