"""Integers of a file stay integers, or become floats, as the model's forward takes them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.errors import DataError
from gaussprobe.models import call_arguments, first_tensor, from_python, infer, open_data
from gaussprobe.models.batches import leaves
from tests.models.test_layers import Positioned

Saved = Callable[..., Path]


class HeadFirst(nn.Module):
    """Ids, in a model whose Embedding is not registered first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)
        self.tokens = nn.Embedding(50, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(ids))


class Mixed(nn.Module):
    """Numbers and ids side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 8)
        self.numbers = nn.Linear(3, 8)

    def forward(self, numbers: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.numbers(numbers) + self.tokens(ids)


class Pixels(nn.Module):
    """Images, in a model that looks positions up."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(4, 8)
        self.layer = nn.Linear(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.positions(torch.arange(4, device=x.device))


class Table(nn.Module):
    """A layer of the user's own that adds positions, registered before the Embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = Adding()
        self.tokens = nn.Embedding(50, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.positions(self.tokens(ids))


class Adding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, 21, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table


def ran(module: nn.Module, inputs: Any) -> Any:
    """The first batch, after the model has run on it."""
    batch = next(iter(inputs.batches))
    args, kwargs, _ = call_arguments(module, batch)
    with torch.no_grad():
        module(*args, **kwargs)
    return batch


@pytest.mark.parametrize("module", [Positioned(), HeadFirst(), Table()])
@pytest.mark.parametrize("kind", ["int64", "uint8", "float32"])
def test_ids_stay_integers(saved: Saved, folder: Path, module: nn.Module, kind: str) -> None:
    """Ids in a file reach an Embedding as integers, wherever it is registered."""
    length = 21 if isinstance(module, Table) else 12
    ids = np.arange(3 * length).reshape(3, length) % 50
    np.save(folder / "x.npy", ids.astype(kind))
    for path in (folder / "x.npy", saved(torch.from_numpy(ids.astype(kind)))):
        batch = ran(module, open_data(path, module=module))
        assert first_tensor(batch).dtype == torch.int64


def test_each_tensor_is_decided_by_itself(saved: Saved) -> None:
    """Of two integer inputs, the one a Linear takes becomes float and the other stays; the target is free."""
    numbers, ids = torch.arange(12).reshape(4, 3), torch.arange(4)
    module = Mixed()
    for content in ((numbers, ids), (numbers, ids, ids), {"numbers": numbers, "ids": ids, "label": ids}):
        inputs = open_data(saved(content), module=module)
        first, second = list(leaves(ran(module, inputs)))[:2]
        assert (first.dtype, second.dtype) == (torch.float32, torch.int64)
        assert any("integers (int64) were cast to float32" in note for note in inputs.notes)


def test_images_of_a_model_with_positions_become_floats(folder: Path) -> None:
    """Bytes of images are cast for a model whose only Embedding holds positions, and that is noted."""
    np.save(folder / "x.npy", np.ones((5, 4, 6), dtype=np.uint8))
    inputs = open_data(folder / "x.npy", module=Pixels())
    assert first_tensor(ran(Pixels(), inputs)).dtype == torch.float32
    assert any("uint8" in note for note in inputs.notes)


def test_arrays_of_live_batches_are_decided_with_the_whole_batch() -> None:
    """Arrays from Python are cast as those of a file are, tensors beside them are left alone, once noted."""
    module = Mixed()
    numbers, ids = np.arange(12).reshape(4, 3), torch.arange(4, dtype=torch.int32)
    for value in ([(numbers, ids)] * 3, (numbers, ids)):
        inputs = from_python(value, module=module)
        first, second = leaves(ran(module, inputs))
        assert (first.dtype, second.dtype) == (torch.float32, torch.int32)
        assert len([note for note in inputs.notes if "cast" in note]) == 1


def test_trial_leaves_no_trace(saved: Saved) -> None:
    """Deciding runs the model on two examples, and leaves flags, numbers and random state as they were."""
    module = nn.Sequential(HeadFirst(), nn.Dropout(), nn.BatchNorm1d(4)).train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    random = torch.get_rng_state()
    open_data(saved(torch.ones(6, 4, dtype=torch.int64)), module=module)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(child.training for child in module.modules())
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in state.items())


def test_data_that_pass_neither_way_follow_the_first_layer(saved: Saved) -> None:
    """Where no trial passes, the usual rule holds."""
    path = saved(torch.full((3, 4), 99))
    assert first_tensor(next(iter(open_data(path, module=HeadFirst()).batches))).dtype == torch.float32
    assert first_tensor(next(iter(open_data(path, module=Positioned()).batches))).dtype == torch.int64


@pytest.mark.parametrize(("module", "length"), [(Positioned(), 12), (HeadFirst(), 128), (Table(), 21)])
def test_made_up_ids_reach_the_embedding(module: nn.Module, length: int) -> None:
    """Positions that a model owns itself do not hide its Embedding, and tell the length of a sequence."""
    if isinstance(module, HeadFirst):
        module = nn.Sequential(module.tokens, module.head)
    batch = ran(module, infer(module, seed=0, n=4))
    assert batch.shape == (4, length)
    assert batch.dtype == torch.int64


def test_lazy_layers_with_data_and_without(folder: Path, saved: Saved) -> None:
    """A lazy layer takes its shape from data; made-up inputs are refused, wherever it is."""
    module = nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(2))
    with pytest.raises(DataError, match=r"1 \(LazyLinear\) takes its shape from its first input"):
        infer(module, seed=0)
    assert nn.parameter.is_lazy(module[1].weight)
    ran(module, open_data(saved(torch.ones(5, 3)), module=module))
    assert module[1].weight.shape == (2, 3)


def test_model_that_exits_in_a_trial_does_not_end_the_process() -> None:
    """A forward pass that calls sys.exit() does not fit, like one that raises."""

    class Exits(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            sys.exit()

    with pytest.raises(DataError, match=r"none of .* fits"):
        infer(Exits(3, 3), seed=0)
