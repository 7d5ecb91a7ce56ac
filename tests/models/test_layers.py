"""The layer a model begins with, and data that surely do not fit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.errors import DataError
from gaussprobe.models import open_data
from gaussprobe.models.layers import certain_first, first_parametric, uninitialised

Saved = Callable[..., Path]


class Positioned(nn.Module):
    """A token model that owns a table of positions itself."""

    def __init__(self) -> None:
        super().__init__()
        self.pos = nn.Parameter(torch.zeros(1, 12, 8))
        self.tokens = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(ids) + self.pos[:, : ids.shape[1]])


class Owner(nn.Module):
    """A module with parameters of its own and a child without any."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 3))
        self.act = nn.ReLU()


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (Positioned(), "Embedding"),
        (Owner(), "Owner"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), "Linear"),
        (nn.TransformerEncoderLayer(8, 2, 16), "MultiheadAttention"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3, bias=False)), "ParametrizedLinear"),
    ],
)
def test_first_layer_has_no_children_or_is_known(module: nn.Module, kind: str) -> None:
    """A root that owns a parameter is not the first layer; a layer with parametrizations is."""
    assert type(first_parametric(module)).__name__ == kind


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3))
    module[0].register_forward_pre_hook(lambda module, given: None)
    return module


class Doubling(nn.Linear):
    """A Linear whose input is changed before it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.cat([input, input], -1))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Linear(3, 3), ""),
        (nn.Sequential(nn.Linear(3, 3)), "0"),
        (nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1))), "0.0"),
        (nn.DataParallel(nn.Sequential(nn.Linear(3, 3))), "0"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), None),
        (nn.Sequential(Doubling(6, 3)), None),
        (nn.ModuleList([nn.Linear(3, 3)]), None),
        (nn.Sequential(), None),
        (hooked(), None),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), None),
    ],
    ids=range(10),
)
def test_certainty(module: nn.Module, name: str | None) -> None:
    """The input surely reaches a layer only at the head of nn.Sequential, without hooks or subclasses."""
    found = certain_first(module)
    assert (found and found[0]) == name


@pytest.mark.parametrize(
    ("module", "shape", "match"),
    [
        (
            nn.Sequential(nn.Linear(20, 2)),
            (30, 19),
            r"x.npy has shape \(30, 19\).*0 \(Linear\), takes 20 feat",
        ),
        (nn.Linear(20, 2), (30, 5, 19), r"the first layer, Linear, takes 20 features"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), (9, 8, 8, 3), r"channels-last: transpose to \(N, 3, H, W\)"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), (9, 4, 8, 8), r"takes 3 channels, \(N, 3, H, W\)"),
        (nn.Sequential(nn.Conv2d(1, 4, 1)), (9, 8, 8), r"1 channels: reshape to \(N, 1, H, W\)"),
        (nn.Sequential(nn.Conv1d(2, 4, 1)), (9,), r"takes \(N, 2, L\)"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_running(
    folder: Path, module: nn.Module, shape: tuple[int, ...], match: str
) -> None:
    """A data set that cannot pass the first layer is refused with both shapes and the usual mistake."""
    np.save(folder / "x.npy", np.zeros(shape, dtype=np.float32))
    with pytest.raises(DataError, match=match) as caught:
        open_data(folder / "x.npy", module=module)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Linear(20, 2)), (30, 7, 20)),
        (nn.Sequential(nn.Flatten(), nn.Linear(20, 2)), (30, 4, 5)),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), (9, 3, 8, 3)),
        (nn.Sequential(nn.Conv2d(9, 4, 1)), (9, 8, 8)),
        (nn.Sequential(nn.Linear(9, 2)), (9,)),
        (Doubling(6, 2), (9, 3)),
    ],
)
def test_data_that_could_fit_are_not_refused(folder: Path, module: nn.Module, shape: tuple[int, ...]) -> None:
    """What runs is not refused, batches that torch takes as one example included."""
    np.save(folder / "x.npy", np.zeros(shape, dtype=np.float32))
    for batch in open_data(folder / "x.npy", module=module).batches:
        module(batch)


TABLE = "a,b,quality\n0.5,1,3\n1.5,2.5,4\n"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            TABLE,
            r"the table has 3 columns \(last: 'quality'\), the first layer, 0 \(Linear\), takes 2: remove",
        ),
        ("a,kind,b\n0.5,1,.5\n1.5,2,.5\n", r"\(the only whole numbers: 'kind'\)"),
        ("0.5,1.5,1\n1,2.5,3\n", r"\(last: column 3\)"),
    ],
)
def test_unnamed_target_column_is_named(folder: Path, text: str, match: str) -> None:
    """A table with one column too many is refused, naming the column that is likely the target."""
    path = folder / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        open_data(path, module=nn.Sequential(nn.Linear(2, 2)))


def test_unnamed_target_column_is_noted_where_nothing_is_certain(folder: Path) -> None:
    """For a model whose input might be changed first, the same is a note."""
    path = folder / "x.csv"
    path.write_text(TABLE)
    module = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    assert any("last: 'quality'" in note for note in open_data(path, module=module).notes)


def test_lazy_layers_are_named() -> None:
    """A layer that has seen no input yet is found by name; one that has is like any other."""
    module = nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(2))
    assert uninitialised(module) == "1 (LazyLinear)"
    module(torch.ones(1, 3))
    assert uninitialised(module) is None
