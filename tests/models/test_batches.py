"""The rule that says how a model is called with a batch."""

from __future__ import annotations

import functools
from collections import UserDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.errors import DataError
from gaussprobe.models import call_arguments, first_tensor
from gaussprobe.models.batches import as_tensors, unwrapped

X = torch.ones(3, 2)
Y = torch.zeros(3)


class Two(nn.Module):
    def forward(self, x: Any, mask: Any = None) -> Any:
        return x


class Any_(nn.Module):  # noqa: N801
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args


class KeywordOnly(nn.Module):
    def forward(self, x: Any, *, scale: Any) -> Any:
        return x


class Named(nn.Module):
    def forward(self, ids: Any, labels: Any = None) -> Any:
        return ids


class Decorated(nn.Module):
    @staticmethod
    def _log(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    def __init__(self) -> None:
        super().__init__()
        self.forward = self._log(self.forward)

    def forward(self, x: Any) -> Any:
        return x


def given(module: nn.Module, batch: Any) -> tuple[int, list[str], bool]:
    """Number of positional arguments, keywords, and whether there was a note."""
    args, kwargs, note = call_arguments(module, batch)
    return len(args), sorted(kwargs), note is not None


@pytest.mark.parametrize(
    ("module", "batch", "expected"),
    [
        (nn.Identity(), X, (1, [], False)),
        (nn.Identity(), X.numpy(), (1, [], False)),
        (nn.Identity(), [X], (1, [], False)),
        (nn.Identity(), (X, Y), (1, [], True)),
        (nn.Sequential(nn.Linear(2, 2)), [X, Y], (1, [], True)),
        (Two(), (X, Y), (2, [], True)),
        (Two(), (X, X, Y), (2, [], True)),
        (Two(), {"x": X}, (0, ["x"], False)),
        (Two(), {"x": X, "mask": Y}, (0, ["mask", "x"], False)),
        (Two(), {"x": X, "label": Y}, (0, ["x"], True)),
        (Two(), UserDict(x=X), (0, ["x"], False)),
        (Named(), {"ids": X, "labels": Y}, (0, ["ids", "labels"], False)),
        (Any_(), (X, Y), (2, [], False)),
        (Any_(), {"a": X, "y": Y}, (0, ["a", "y"], False)),
        (KeywordOnly(), {"x": X, "scale": Y}, (0, ["scale", "x"], False)),
        (Decorated(), (X, Y), (1, [], True)),
        (nn.DataParallel(Two()), (X, X, Y), (2, [], True)),
        (torch.compile(Two(), backend="eager"), (X, X, Y), (2, [], True)),
    ],
)
def test_rule(module: nn.Module, batch: Any, expected: tuple[int, list[str], bool]) -> None:
    """A batch becomes the arguments that the rule in the module's documentation says."""
    assert given(module, batch) == expected


@pytest.mark.parametrize(
    ("module", "batch", "match"),
    [
        (nn.Identity(), (X, X, Y), r"3 elements, but the model takes forward\(input\)"),
        (nn.Identity(), (), "empty tuple"),
        (nn.Identity(), {}, "empty dict"),
        (nn.Identity(), "abc", "'str'"),
        (nn.Identity(), None, "'NoneType'"),
        (Two(), {"z": X}, r"does not take \(z\).*forward\(x, mask=\.\.\)"),
        (Two(), {"mask": X}, "leaves x without"),
        (Two(), {"y": X}, "leaves x without"),
        (KeywordOnly(), X, "leaves scale without"),
        (nn.Bilinear(2, 2, 1), X, "leaves input2 without"),
        (nn.Identity(), np.array(["a"]), "holds no numbers"),
    ],
)
def test_batches_that_do_not_fit_are_named(module: nn.Module, batch: Any, match: str) -> None:
    """A batch that cannot be the arguments of forward is an error that shows what forward takes."""
    with pytest.raises(DataError, match=match):
        call_arguments(module, batch)


def test_first_tensor_of_nested_batches() -> None:
    """The first tensor leaf is found in nested containers; without one it is an error."""
    assert first_tensor({"a": [(X,), Y]}) is X
    for batch, match in (({"a": 1}, "no tensor"), (torch.tensor(3.0), "single number")):
        with pytest.raises(DataError, match=match):
            first_tensor(batch)


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3))[:, ::-1],
        np.ones(3, dtype=">f4"),
        np.broadcast_to(np.float32(2), (4,)),
        np.ones(2, dtype=np.longdouble),
        np.ones(2, dtype=np.uint16),
    ],
)
def test_any_numeric_array_becomes_a_tensor(array: np.ndarray[Any, Any]) -> None:
    """Reversed, byte-swapped, read-only and extended arrays keep their numbers."""
    assert np.array_equal(as_tensors(array).numpy(), array)


def test_wrappers_are_looked_through() -> None:
    """DataParallel around torch.compile around a model is that model."""
    inner = Two()
    assert unwrapped(nn.DataParallel(torch.compile(inner, backend="eager"))) is inner
