"""Program files that tests share: small networks, compiled by TorchScript and torch.export, and altered."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn


def save_script(module: nn.Module, path: Path, example: torch.Tensor | None = None) -> Path:
    """Save a module as TorchScript: traced with an example, else compiled from its source."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript's deprecation, and of tracing
        made = torch.jit.script(module) if example is None else torch.jit.trace(module, example)
        torch.jit.save(made, path)
    return path


def save_export(
    module: nn.Module, path: Path, *inputs: torch.Tensor, dynamic: bool = True, decomposed: bool = False
) -> Path:
    """Save a module with torch.export, with any batch size or only that of the inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = tuple({0: torch.export.Dim.AUTO} for _ in inputs) if dynamic else None
        program = torch.export.export(module, inputs, dynamic_shapes=shapes)
        torch.export.save(program.run_decompositions({}) if decomposed else program, path)
    return path


def altered(
    source: Path,
    target: Path,
    change: Callable[[str, bytes], bytes | None],
    added: Mapping[str, bytes] | None = None,
) -> Path:
    """A copy of a zip archive whose members went through `change` (None drops one), with members added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for info in old.infolist():
            data = change(info.filename.partition("/")[2], old.read(info))
            if data is not None:
                new.writestr(info.filename, data)
        for name, data in (added or {}).items():
            new.writestr(f"{root}/{name}", data)
    return target
