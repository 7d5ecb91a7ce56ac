"""Small files made to crash, hang or fill the memory: each is refused in a line or two, and fast."""

from __future__ import annotations

import os
import time
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.errors import DataError, ModelFileError
from gaussprobe.models import archive, infer, open_data, open_model
from gaussprobe.models.sniff import FileKind
from tests.models.conftest import Calls, Hostile, pickled

Saved = Callable[..., Path]
LINEAR = nn.Linear(2, 2)
IDENTITY = b"ctorch.nn.modules.linear\nIdentity\n)\x81}"
# Sixty tuples, each of twice the one before: a walk that does not notice the sharing takes 2^60 steps.
SHARED = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
DEEP = b")" + b"\x85" * 300_000


def refused(path: Path, match: str, *, seconds: float = 60) -> None:
    """Open a file as a model and as data, expecting the same refusal of both, in one or two short lines."""
    for opening, error in (
        (lambda: open_model(path), ModelFileError),
        (lambda: open_data(path, module=LINEAR), DataError),
    ):
        began = time.perf_counter()
        with pytest.raises(error, match=match) as caught:
            opening()
        assert time.perf_counter() - began < seconds
        message = str(caught.value)
        assert message.count("\n") <= 1
        assert len(message) < 800
        assert message.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"}" + DEEP + b"Ns.", "key that is neither text nor a number"),
        (DEEP + b".", "nested absurdly deep"),
        (b"}" + SHARED + b"Ns.", "key that is neither text nor a number"),
        (SHARED + b".", "nested absurdly deep"),
        (IDENTITY + SHARED + b"Nsb.", "key that is neither text nor a number"),
        (IDENTITY + b"X\x01\x00\x00\x00a" + SHARED + b"sb.", "nested absurdly deep"),
        (IDENTITY + b"X\x0a\x00\x00\x00num_layers" + SHARED + b"sb.", "nested absurdly deep"),
        (b"c__builtin__\nset\n]" + SHARED + b"a\x85R.", "nested absurdly deep"),
        (b"ccollections\nCounter\n" + SHARED + b"\x85R.", "nested absurdly deep"),
        (b"]q\x01h\x01a.", "contains itself"),
        (b"}N.", "damaged"),
        (b"}\x8a\x09" + bytes(8) + b"\x01Ns.", "key that is neither text nor a number"),
        (b"](" + b"N" * 1_000_001 + b"e.", "more than a million"),
    ],
    ids=range(13),
)
def test_containers_that_never_end_are_refused(torch_zip: Saved, data: bytes, match: str) -> None:
    """Deep, shared and cyclic containers are refused as keys, attributes, arguments and by themselves."""
    refused(torch_zip(b"\x80\x02" + data), match)


@pytest.mark.parametrize(
    "records", [{"version": b"x"}, {"data.pkl\xb1": b""}, {".format_version": b"9" * 99}]
)
def test_odd_members_are_refused(folder: Path, torch_zip: Saved, records: dict[str, bytes]) -> None:
    """Members that torch's own reader stumbles over, with whatever exception, make the file a damaged one."""
    path = torch_zip(pickled({"w": 1}), {})
    with zipfile.ZipFile(path) as old:
        kept = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in (kept | records).items():
            new.writestr(f"archive/{name}", data)
    if next(iter(records)).startswith("data.pkl"):
        path.write_bytes(path.read_bytes().replace("\xb1".encode(), b"\xb1\xb1"))
    for opening in (lambda: open_model(path), lambda: open_data(path, module=LINEAR)):
        with pytest.raises((ModelFileError, DataError)) as caught:
            opening()
        assert str(caught.value).count("\n") <= 1


def test_preamble_of_a_legacy_file_is_judged(saved: Saved) -> None:
    """What lies before and after the object in a legacy file is held to the same rules."""
    path = saved({"w.weight": torch.ones(2)}, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    preamble = pickled(0x1950A86A20F9469CFC6C) + pickled(1001)
    assert content.startswith(preamble)
    after = content[len(preamble) :]
    _, _, rest = after.partition(b".")
    for crafted, match in (
        (b"\x80\x02}" + DEEP + b"Ns.", "key that is neither"),
        (b"\x80\x02" + SHARED + b".", "nested absurdly deep"),
        (pickled(nn.Identity()), "header holds more"),
    ):
        path.write_bytes(preamble + crafted + rest)
        refused(path, match)


def _expanded(numbers: int) -> torch.Tensor:
    return torch.ones(1, dtype=torch.uint8).expand(numbers)


@pytest.mark.parametrize(
    "value",
    [
        Calls(set, (_expanded(2**24),)),
        Calls(set, ([torch.ones(1)],)),
        Calls(set, ("many",)),
        Calls(OrderedDict, ([("a", 1)],)),
        Calls(OrderedDict, ({},)),
        Calls(Counter, ([1, 2],)),
        Calls(Counter, (_expanded(2**24),)),
        Calls(torch.Size, (_expanded(2**24),)),
        Calls(torch.Size, ((1,) * 65,)),
        Calls(torch.device, (3,)),
        Calls(torch.device, ("cpu", 0, 0)),
    ],
    ids=range(11),
)
def test_plain_containers_are_made_as_torch_save_makes_them(saved: Saved, value: Any) -> None:
    """Sets, sizes and their kin are made of plain data only; of tensors they would fill the memory."""
    refused(saved({"x": value}), "odd arguments")


def test_plain_containers_of_honest_files_open(saved: Saved) -> None:
    """What torch.save does write of them still loads."""
    content = {
        "epoch": 3,
        b"bytes": [{1, 2, "a"}, torch.Size((2, 3)), torch.device("cpu"), torch.device("cuda", 1)],
        1.5: Counter("abca"),
        None: OrderedDict(a=torch.ones(1)),
        "state_dict": LINEAR.state_dict(),
        "shared": [LINEAR.weight] * 50,
    }
    for zipped in (True, False):
        path = saved(content, _use_new_zipfile_serialization=zipped)
        kind = FileKind.TORCH_ZIP if zipped else FileKind.TORCH_LEGACY
        assert archive.read_torch(path, kind).keys() == content.keys()


def _with(module: nn.Module, **attributes: Any) -> nn.Module:
    module.__dict__.update(attributes)
    return module


def _owning(module: nn.Module, **parameters: Any) -> nn.Module:
    module._parameters.update(parameters)
    return module


def _lstm(**attributes: Any) -> nn.Module:
    return _with(nn.LSTM(8, 4, batch_first=True), **attributes)


def _encoder(**attributes: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    layer.self_attn.__dict__.update(attributes)
    return layer


def _no_attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    fake = _with(nn.Identity(), embed_dim=8, num_heads=0)
    layer._modules["self_attn"] = fake
    return layer


ONE = nn.Parameter(torch.ones(1))
NONE = nn.Parameter(torch.empty(0))


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (_lstm(hidden_size=0), "hidden_size is no positive"),
        (_lstm(hidden_size=2**20), "shape"),
        (_lstm(input_size=2.0), "input_size is no positive"),
        (_lstm(num_layers=0), "num_layers is no positive"),
        (_lstm(num_layers=9_999), "parameters are not those"),
        (_lstm(proj_size=4), "proj_size"),
        (_lstm(bidirectional=1), "bidirectional is no flag"),
        (_lstm(bidirectional=True), "parameters are not those"),
        (_lstm(bias=False), "parameters are not those"),
        (_lstm(mode="GRU"), "mode"),
        (_lstm(dropout=-1.0), "dropout"),
        (_lstm(_flat_weights=[ONE] * 4), "list of weights"),
        (_lstm(_flat_weights=[]), "list of weights"),
        (_owning(nn.LSTM(8, 4), weight_ih_l0=NONE), "weight_ih_l0 has shape"),
        (_owning(nn.LSTM(8, 64), weight_hh_l0=ONE), "weight_hh_l0 has shape"),
        (_owning(nn.GRU(8, 4), bias_ih_l0=nn.Parameter(torch.ones(12).double())), "dtype"),
        (_owning(nn.RNN(8, 4), bias_hh_l0=None), "parameters are not those"),
        (_with(nn.LSTMCell(8, 4), hidden_size=0), "hidden_size is no positive"),
        (_owning(nn.GRUCell(8, 4), weight_hh=ONE), "weight_hh has shape"),
        (_owning(nn.RNNCell(8, 4), bias_ih=None), "parameters are not those"),
        (_with(nn.MultiheadAttention(8, 2), num_heads=0), "num_heads is no positive"),
        (_with(nn.MultiheadAttention(8, 2), num_heads=3), "do not divide"),
        (_with(nn.MultiheadAttention(8, 2), kdim=4), "contradict"),
        (_owning(nn.MultiheadAttention(8, 2), in_proj_weight=ONE), "in_proj_weight has shape"),
        (_owning(nn.MultiheadAttention(8, 2), bias_k=ONE), "one of bias_k"),
        (_owning(nn.MultiheadAttention(8, 2).out_proj, weight=ONE), ""),
        (_encoder(num_heads=0), "num_heads is no positive"),
        (_no_attention(), "self_attn is no MultiheadAttention"),
        (_with(nn.Fold((4, 4), 2), padding=2**31), "absurd value"),
        (_with(nn.MaxPool1d(2), kernel_size=2**40), "absurd value"),
    ],
    ids=range(30),
)
def test_attributes_against_parameters_are_refused(saved: Saved, module: nn.Module, match: str) -> None:
    """Modules whose kernels would divide by zero or read beyond their weights are refused."""
    if not match:
        attention = nn.MultiheadAttention(8, 2)
        attention._modules["out_proj"] = module
        module, match = attention, "out_proj.weight has shape"
    for zipped in (True, False):
        path = saved({"model": nn.Sequential(nn.Linear(8, 8), module)}, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelFileError, match=match if zipped else "legacy format"):
            open_model(path)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
        lambda: nn.LSTM(3, 4, bias=False, dropout=0),
        lambda: nn.GRU(3, 4, 3, bidirectional=True, dropout=0.5),
        lambda: nn.RNN(3, 4, nonlinearity="relu").double(),
        lambda: nn.LSTMCell(3, 4, bias=False),
        lambda: nn.GRUCell(3, 4),
        lambda: nn.RNNCell(3, 4),
        lambda: nn.MultiheadAttention(8, 2, kdim=3, vdim=5, add_bias_kv=True),
        lambda: nn.MultiheadAttention(8, 2, bias=False, batch_first=True).half(),
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, bias=False),
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
    ],
)
def test_honest_recurrent_and_attention_layers_open(saved: Saved, build: Callable[[], nn.Module]) -> None:
    """Every way torch's constructors make these layers is accepted."""
    assert type(open_model(saved(build())).module) is type(build())


@pytest.mark.parametrize("hooks", [True, None, 3, [], {"a": 1}])
def test_hooks_are_empty_dicts(saved: Saved, hooks: Any) -> None:
    """A table of hooks that is no empty dict would make the first call fail, or run something."""
    for name in ("_forward_hooks", "_forward_pre_hooks"):
        with pytest.raises(ModelFileError, match=f"carries a hook .{name}"):
            open_model(saved(_with(nn.Linear(2, 2), **{name: hooks})))


def test_names_of_a_file_are_printed_short_and_plain(saved: Saved, torch_zip: Saved, folder: Path) -> None:
    """Control characters of a file's names are escaped, and megabytes of them cut."""
    bad = "\x1b[31m" + "x" * 1_000_000
    np.savez(folder / "x.npz", **{bad[:90] + "1": np.ones((2, 2)), bad[:90] + "2": np.ones((2, 2))})
    refused_names(saved({bad: torch.ones(2, 2), bad + "2": torch.ones(2, 2)}))
    name = bad.replace("\n", "").encode()
    refused_names(torch_zip(b"\x80\x02c" + name + b"\n" + name + b"\n."))
    refused_names(folder / "x.npz")
    path = saved(_with(nn.Linear(2, 2), **{bad: nn.functional.relu}))
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert len(str(caught.value)) < 800


def refused_names(path: Path) -> None:
    for opening in (lambda: open_model(path), lambda: open_data(path, module=LINEAR)):
        with pytest.raises((ModelFileError, DataError)) as caught:
            opening()
        message = str(caught.value)
        assert message.replace("\n", "").isprintable()
        assert len(message) < 800


def test_another_file_put_in_place_is_not_loaded(
    saved: Saved, folder: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was checked is the file that is loaded, whatever its path names by then."""
    path = saved(nn.Linear(2, 2))
    other = saved(Hostile(marker), name="other.pt")
    load = archive._load

    def swapped(file: Any) -> Any:
        os.replace(other, path)  # noqa: PTH105
        return load(file)

    monkeypatch.setattr(archive, "_load", swapped)
    assert isinstance(open_model(path).module, nn.Linear)


def test_zip_behind_another_pickle_is_not_a_zip(torch_zip: Saved, marker: Path) -> None:
    """A zip archive appended to a legacy pickle is never judged by one reader and loaded by the other."""
    path = torch_zip(pickled({}))
    path.write_bytes(pickled(Hostile(marker)) + path.read_bytes())
    with pytest.raises(archive.DamagedFileError, match="does not begin"):
        archive.read_torch(path, FileKind.TORCH_ZIP)


def _doubled() -> list[Any]:
    value: list[Any] = [torch.zeros(2, 8)]
    for _ in range(60):
        value = [value, value]
    return value


def _endless() -> list[Any]:
    value: list[Any] = [torch.zeros(2, 8)]
    value.append(value)
    return value


@pytest.mark.parametrize("example", [_doubled, _endless, lambda: [torch.zeros(2, 8)] * 65, lambda: [[[]]]])
def test_example_inputs_without_end_are_not_used(example: Callable[[], Any]) -> None:
    """An example that cannot be walked, or holds too much for a batch, is noted and not used."""
    module = _with(nn.Linear(8, 8), example_inputs=example())
    inputs = infer(module, seed=0, n=4)
    assert any("example_inputs is no batch" in note for note in inputs.notes)


def test_example_inputs_of_a_file_are_bounded(saved: Saved) -> None:
    """The same from a file is refused when it is opened."""
    for example in (_doubled(), _endless()):
        with pytest.raises(ModelFileError, match=r"nested absurdly|contains itself"):
            open_model(saved(_with(nn.Linear(8, 8), example_inputs=example)))


def test_npz_is_counted_after_the_cast(folder: Path) -> None:
    """A compressed file of bytes that become floats is refused by the size of the floats."""
    path = folder / "x.npz"
    np.savez_compressed(path, x=np.zeros((60, 2**20), dtype=np.int8))
    assert path.stat().st_size < 2**18
    with pytest.raises(DataError, match="claims to unpack to 251,658,240 bytes"):
        open_data(path, module=LINEAR)


def test_expanded_tensors_are_counted_after_the_cast(saved: Saved) -> None:
    """A .pt file of views that repeat one number is refused by the size of what would be made of them."""
    with pytest.raises(DataError, match="claims to unpack"):
        open_data(saved([_expanded(2**24)] * 50), module=LINEAR)


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ("(0, 4611686018427387904, 4611686018427387904)", "damaged"),
        ("(0, 1267650600228229401496703205376)", "damaged"),
        ("(" + "1, " * 70 + ")", "70 dimensions"),
        ("(0, 2)", "no examples"),
    ],
)
def test_npy_of_impossible_shape_is_refused(folder: Path, shape: str, match: str) -> None:
    """Shapes beyond what NumPy counts are refused, in .npy and .npz files."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    (folder / "x.npy").write_bytes(content)
    with zipfile.ZipFile(folder / "x.npz", "w") as packed:
        packed.writestr("x.npy", content)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match=match):
            open_data(folder / name, module=LINEAR)
