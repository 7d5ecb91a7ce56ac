"""The rules for what a torch file may hold, and the symbolic reader they stand on."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe.models import judge, pickles, stock
from tests.models.conftest import pickled


def test_stock_classes_are_torch_modules() -> None:
    """Only classes that torch.nn itself defines are stock; lazy ones and a pretender are not."""

    class Pretender(nn.Module):
        pass

    Pretender.__module__ = "torch.nn.modules.linear"
    Pretender.__qualname__ = "Pretender"
    stock.stock_classes.cache_clear()
    found = stock.stock_classes()
    stock.stock_classes.cache_clear()
    assert found["torch.nn.modules.linear.Linear"] is nn.Linear
    assert {nn.Conv2d, nn.LSTM, nn.MultiheadAttention, nn.Transformer, nn.DataParallel} <= set(found.values())
    assert Pretender not in found.values()
    assert nn.LazyLinear not in found.values()


def test_names_mean_the_same_to_torch() -> None:
    """No allowed name is one that torch's reader renames: what is judged is what would be loaded."""
    names = set(stock.stock_classes()) | stock.TENSOR_MAKERS | stock.PLAIN_MAKERS | stock.PARAMETER_MAKERS
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert (module, attribute) not in torch._utils.NAME_MAPPING
        assert module not in torch._utils.IMPORT_MAPPING


@pytest.mark.parametrize("protocol", range(6))
def test_globals_are_named_in_every_protocol(protocol: int) -> None:
    """The functions a pickle names are found without importing them."""
    data = pickle.dumps([io.BytesIO, (io.StringIO, {"a": io.BytesIO})], protocol=protocol)
    names = pickles.named_globals(io.BytesIO(data))
    assert {name.rpartition(".")[2] for name in names} >= {"BytesIO", "StringIO"}


@pytest.mark.parametrize(
    "value", [None, True, 3, 2.5, "a", "", [1, [2]], (), (1,), (1, 2), (1, 2, 3, 4), {"a": {"b": []}}]
)
def test_plain_data_makes_nothing(value: Any) -> None:
    """Plain data is read as a tree that makes no object."""
    tree = pickles.read_tree(io.BytesIO(pickled(value)))
    assert tree.made == ()
    assert tree.globals == frozenset()
    judge.check_tree(tree)


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02", b"\x80\x02}", b"\x80\x02.", b"a.", b"\x80\x02K\x01}u.", b"t."]
)
def test_incomplete_pickles_are_malformed(data: bytes) -> None:
    """Bytes that are no complete pickle are called so."""
    with pytest.raises(pickles.MalformedPickleError):
        pickles.read_tree(io.BytesIO(data))


def test_huge_lengths_reserve_no_memory() -> None:
    """A string that claims four gigabytes is malformed, not read."""
    with pytest.raises(pickles.MalformedPickleError):
        pickles.read_tree(io.BytesIO(b"\x80\x02X\xff\xff\xff\xffabc."))


def test_loaded_module_is_checked_again() -> None:
    """The second look refuses custom classes, hooks, shadowed methods and missing state by name."""

    class Custom(nn.Module):
        pass

    hooked, shadowed, damaged = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    hooked._forward_hooks[0] = lambda *given: None
    shadowed.__dict__["forward"] = lambda x: x
    del damaged.__dict__["training"]
    for module, match in (
        (nn.Sequential(Custom()), r"0 \(Custom\) is not a torch.nn class"),
        (hooked, "carries a hook"),
        (shadowed, "'forward' replaced"),
        (damaged, "lacks training"),
    ):
        with pytest.raises(stock.UnsafeContentError, match=match):
            stock.check_module(module)
    stock.check_module(nn.Transformer(8, 2, 1, 1, 16, batch_first=True))
