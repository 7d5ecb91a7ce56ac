"""Which dimension is which."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gaussprobe.capture.layout import LayoutMemory, function_unit_dim, module_unit_dim, read_axes


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Linear(4, 6), (5, 4), 1),
        (nn.Linear(4, 6), (5, 7, 4), 2),
        (nn.Linear(4, 6), (4,), 0),
        (nn.Conv1d(3, 6, 2), (5, 3, 9), 1),
        (nn.Conv2d(3, 6, 2), (5, 3, 9, 9), 1),
        (nn.Conv2d(3, 6, 2), (3, 9, 9), 0),
        (nn.Conv3d(3, 6, 2), (5, 3, 4, 4, 4), 1),
        (nn.BatchNorm1d(3), (5, 3, 9), 1),
        (nn.BatchNorm2d(3), (5, 3, 9, 9), 1),
        (nn.InstanceNorm1d(3), (3, 9), 0),
        (nn.GroupNorm(1, 3), (5, 3, 9), 1),
        (nn.LayerNorm(9), (5, 3, 9), 2),
        (nn.LayerNorm((3, 9)), (5, 3, 9), None),
        (nn.ReLU(), (5, 3), None),
    ],
)
def test_module_says_where_its_units_are(
    module: nn.Module, shape: tuple[int, ...], expected: int | None
) -> None:
    """Batched and unbatched outputs of stock layers have their unit dimension recognised."""
    assert module_unit_dim(module, module(torch.randn(shape))) == expected


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("linear", (), 3),
        ("conv2d", (), 1),
        ("conv_transpose1d", (), 2),
        ("batch_norm", (), 1),
        ("layer_norm", (None, (5,)), 3),
        ("layer_norm", (None, (4, 5)), None),
        ("matmul", (), 3),
    ],
)
def test_function_says_where_its_units_are(name: str, args: tuple[object, ...], expected: int | None) -> None:
    """Functional calls on a four-dimensional output have their unit dimension recognised."""
    assert function_unit_dim(name, torch.zeros(2, 3, 4, 5), args, {}) == expected


def test_memory_recalls_what_a_layer_of_that_shape_said() -> None:
    """A three-dimensional activation has units last unless a layer of its shape said otherwise."""
    memory = LayoutMemory()
    assert memory.recall((8, 16, 50)) == 2
    memory.learn((8, 16, 50), 1)
    assert memory.recall((8, 16, 50)) == 1
    assert memory.recall((8, 3, 4, 4)) == 1
    assert memory.recall((8, 3)) == 1


@pytest.mark.parametrize(
    ("shape", "unit_dim", "n", "seen", "examples"),
    [
        ((6, 4), 1, 6, (6, 4), "known"),
        ((6, 4, 3, 5), 1, 6, (6, 3, 5, 4), "known"),
        ((6, 7, 4), 2, 6, (6, 7, 4), "known"),
        ((4, 3, 5), 0, 1, (1, 3, 5, 4), "known"),
        ((6,), 0, 6, (6, 1), "known"),
        ((6,), 0, 1, (1, 6), "known"),
        ((7, 6, 4), 2, 6, (6, 7, 4), "known"),  # time first
        ((12, 4), 1, 6, (6, 2, 4), "read"),  # two rows for each example
        ((7, 4), 1, 6, (7, 4), "unknown"),
    ],
)
def test_axes_are_read_as_examples_positions_units(
    shape: tuple[int, ...], unit_dim: int, n: int, seen: tuple[int, ...], examples: str
) -> None:
    """A view (examples, positions..., units) without a copy, and a caveat where rows may be dependent."""
    x = torch.randn(shape)
    axes = read_axes(x.shape, unit_dim, n)
    view = axes.arrange(x)
    assert tuple(view.shape) == seen
    assert axes.grid == seen[1:-1]
    assert axes.examples == examples
    assert view.untyped_storage()._cdata == x.untyped_storage()._cdata
    assert (axes.caveat is None) == (examples == "known")


def test_sequence_first_inputs_have_their_examples_second() -> None:
    """With the batch along dimension 1, equal sizes of time and batch are told apart."""
    x = torch.randn(6, 6, 4)
    x[0, 5] = 7.0
    first, second = read_axes(x.shape, 2, 6).arrange(x), read_axes(x.shape, 2, 6, 1).arrange(x)
    assert torch.equal(first[0, 5], second[5, 0])
    assert read_axes((6, 4), 1, 6, 1).order == (0, 1)
    # Flattened to (time x batch, units): rows of one example are not each other's neighbours.
    flat = read_axes((36, 4), 1, 6, 1).arrange(x.flatten(0, 1))
    assert torch.equal(flat, second)
