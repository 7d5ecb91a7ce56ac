"""Files made to run code, exhaust memory or patch torch are refused before anything is built."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.errors import DataError, ModelFileError
from gaussprobe.models import open_data, open_model
from tests.models.conftest import Calls, Hostile, listing, pickled

Saved = Callable[..., Path]
LINEAR = nn.Linear(2, 2)


def refused(path: Path, match: str, **options: Any) -> str:
    """Open a file as a model, expecting a refusal that leaves the folder as it was."""
    before = listing(path.parent)
    with pytest.raises(ModelFileError, match=match) as caught:
        open_model(path, **options)
    assert listing(path.parent) == before
    message = str(caught.value)
    assert str(path) in message
    assert message.count("\n") <= 1
    assert "Traceback" not in message
    return message


def test_torch_zip_with_reduce_is_refused(saved: Saved, marker: Path) -> None:
    """A torch zip whose object calls os.system is refused, naming the function."""
    message = refused(saved(Hostile(marker)), "system")
    assert "--trust-pickle" in message


def test_plain_pickle_is_refused(folder: Path, marker: Path) -> None:
    """A plain pickle is refused by name, with what it would call."""
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(Hostile(marker)))
    assert "system" in refused(path, "plain Python pickle")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_every_protocol_are_refused(folder: Path, marker: Path, protocol: int) -> None:
    """No pickle protocol gets a hostile pickle opened."""
    path = folder / "model.pt"
    path.write_bytes(pickle.dumps(Hostile(marker), protocol=protocol))
    refused(path, "pickle|text file|no known format")


def test_legacy_torch_save_is_refused(saved: Saved, marker: Path) -> None:
    """A legacy torch.save file whose object calls os.system is refused."""
    refused(saved(Hostile(marker), _use_new_zipfile_serialization=False), "system")


def test_hostile_pickle_before_a_legacy_object_is_refused(saved: Saved, marker: Path) -> None:
    """The pickles around the object in a legacy file are judged too."""
    path = saved({"w.weight": torch.ones(2)}, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    preamble = pickled(0x1950A86A20F9469CFC6C) + pickled(1001)
    assert content.startswith(preamble)
    path.write_bytes(preamble + pickled(Hostile(marker)) + content[len(preamble) :])
    refused(path, "refused|holds more|whole torch.save")


def test_hostile_member_of_a_checkpoint_is_refused(saved: Saved, marker: Path) -> None:
    """A checkpoint with good weights and one hostile entry is refused, with and without a factory."""
    path = saved({"state_dict": LINEAR.state_dict(), "epoch": Hostile(marker)})
    refused(path, "system")
    refused(path, "system", factory="torch.nn:Identity")


def test_hostile_pickle_shaped_as_a_state_dict_is_refused(torch_zip: Saved, marker: Path) -> None:
    """A hand-made zip whose data.pkl is a dict with weight names is refused."""
    refused(torch_zip(pickled({"0.weight": Hostile(marker), "0.bias": 1})), "system")


def test_hostile_key_of_a_module_is_refused(saved: Saved, marker: Path) -> None:
    """A stock module with a hostile object among its attributes is refused."""
    module = nn.Linear(2, 2)
    module.__dict__["extra"] = Hostile(marker)
    refused(saved(module), "system")


def _with(**attributes: Any) -> nn.Module:
    module = nn.Linear(2, 2)
    module.__dict__.update(attributes)
    return module


def _hooked() -> nn.Module:
    module = nn.Linear(2, 2)
    module._forward_hooks[0] = torch.nn.functional.relu  # type: ignore[assignment]
    return module


def _foreign_child() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2))
    module._modules["1"] = torch.nn.functional.relu  # type: ignore[assignment]
    return module


def _named_child(name: str) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2))
    module._modules[name] = nn.ReLU()
    return module


def _cyclic() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2))
    module._modules["1"] = module
    return module


def _doubling() -> nn.Module:
    module: nn.Module = nn.ReLU()
    for _ in range(40):
        module = nn.Sequential(module, module)
    return module


def _many_layers() -> nn.Module:
    module = nn.LSTM(2, 2)
    module._all_weights = [[0]]  # type: ignore[list-item]
    module.num_layers = 10**9
    return module


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (_hooked(), "carries a hook"),
        (_with(forward=torch.nn.functional.relu), "'forward' replaced"),
        (_with(forward=nn.ReLU()), "'forward' replaced"),
        (_with(__setstate__=nn.ReLU()), "forbidden attribute"),
        (_with(_compiled_call_impl2=nn.ReLU()), "holds a module, where plain data"),
        (_with(state_dict=1), "'state_dict' replaced"),
        (_with(activation=torch.nn.functional.relu, train=0), "'train' replaced"),
        (_with(extra=torch.nn.functional.relu), "where plain data belongs"),
        (_foreign_child(), "no module, among its children"),
        (_named_child("a\x1b[31m"), "forbidden name"),
        (_named_child("a.b"), "forbidden name"),
        (_cyclic(), "contains itself"),
        (_doubling(), "nested absurdly"),
        (_many_layers(), "layers"),
        (_with(in_features=2**60), "absurd value"),
    ],
)
def test_stock_module_in_a_foreign_state_is_refused(saved: Saved, module: nn.Module, match: str) -> None:
    """A module of stock classes whose state torch.save never writes is refused, naming what is wrong."""
    refused(saved(module), match)


def test_deep_nesting_is_refused(saved: Saved) -> None:
    """Thousands of nested containers are refused rather than exhausting the stack."""
    module: nn.Module = nn.ReLU()
    for _ in range(1_000):
        module = nn.Sequential(module)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        path = saved(module)
    finally:
        sys.setrecursionlimit(limit)
    refused(path, "nested absurdly")


def test_constructor_call_is_refused(saved: Saved) -> None:
    """A file that calls a stock constructor, which could ask for any amount of memory, is refused."""
    refused(saved(Calls(nn.Linear, (10**7, 10**7))), "constructor of Linear")


def test_patching_a_stock_class_is_refused(saved: Saved) -> None:
    """A file that would set attributes on a class of torch.nn through a rebuild function is refused.

    With stock classes merely allow-listed, `torch.load(weights_only=True)` does set them.
    """
    carrier = nn.Identity()
    carrier.__dict__["as_subclass"] = nn.Identity()
    state = {"patched": True}
    crafted = Calls(torch._tensor._rebuild_from_type_v2, (nn.Identity(), nn.Bilinear, (carrier,), state))
    refused(saved(crafted), "_rebuild_from_type_v2")
    assert not hasattr(nn.Bilinear, "patched")


def test_instance_called_as_a_function_is_refused(torch_zip: Saved) -> None:
    """An instance of a stock module cannot be called while the file is read."""
    # Identity() built by NEWOBJ, then REDUCEd with a tuple: instance("x").
    data = b"\x80\x02ctorch.nn.modules.linear\nIdentity\n)\x81}bX\x01\x00\x00\x00x\x85R."
    refused(torch_zip(data), "never")


def test_state_set_twice_is_refused(torch_zip: Saved) -> None:
    """A module whose state is set twice, the second time through what the first brought, is refused."""
    data = b"\x80\x02ctorch.nn.modules.linear\nIdentity\n)\x81}b}b."
    refused(torch_zip(data), "no state, or several")


def test_attributes_on_an_ordered_dict_are_refused(torch_zip: Saved) -> None:
    """An OrderedDict cannot have its methods shadowed by the file."""
    data = b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb."
    refused(torch_zip(data), "sets attributes")


def test_expanded_tensor_is_refused(saved: Saved) -> None:
    """A tensor that claims a trillion numbers over one stored is refused."""
    refused(saved({"w.weight": torch.ones(1).expand(2**40)}), "claims")


def test_storage_larger_than_its_member_is_refused(saved: Saved) -> None:
    """A tensor whose pickle claims more bytes than the zip member holds is refused."""
    path = saved({"w.weight": torch.ones(200)})
    content = path.read_bytes()
    # numel of the storage comes first among the numbers of 200, pickled as BININT1; 200 -> 255
    patched = content.replace(b"K\xc8", b"K\xff", 1)
    assert patched != content
    path.write_bytes(patched)
    refused(path, "claims")


def test_legacy_storage_larger_than_the_file_is_refused(saved: Saved) -> None:
    """A legacy file that asks for gigabytes it does not hold is refused before memory is taken."""
    path = saved({"w.weight": torch.ones(70_000)}, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    patched = content.replace(b"J" + (70_000).to_bytes(4, "little"), b"J" + (2**31 - 1).to_bytes(4, "little"))
    assert patched != content
    path.write_bytes(patched)
    refused(path, "claim")


def test_compressed_members_are_refused(folder: Path) -> None:
    """A torch file with compressed members, which could unpack to anything, is refused."""
    path = folder / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled({}))
        archive.writestr("archive/data/0", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    refused(path, "compressed")


def test_duplicate_members_are_refused(folder: Path, marker: Path) -> None:
    """A file with two pickles, of which different readers would take different ones, is refused."""
    path = folder / "twice.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled({}))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", pickled(Hostile(marker)))
    refused(path, "two members")


def test_trusted_file_may_run_code(saved: Saved, tmp_path: Path) -> None:
    """Only trust_pickle lets a file run code, and what is no model is still refused."""
    ran = tmp_path / "ran"
    path = saved(Hostile(ran))
    with pytest.raises(ModelFileError, match="not a model"):
        open_model(path, trust_pickle=True)
    assert ran.exists()


def test_hostile_data_files_are_refused(saved: Saved, folder: Path, marker: Path) -> None:
    """Hostile .pt, .npy, .npz and pickle data are refused without running anything."""
    array = np.array([Hostile(marker)], dtype=object)
    np.save(folder / "x.npy", array, allow_pickle=True)
    np.savez(folder / "x.npz", x=array)
    (folder / "x.pkl").write_bytes(pickle.dumps(Hostile(marker)))
    saved(Hostile(marker), name="x.pt")
    saved({"x": torch.ones(3, 2), "y": Hostile(marker)}, name="dict.pt")
    before = listing(folder)
    for name, match in (
        ("x.npy", "Python objects"),
        ("x.npz", "Python objects"),
        ("x.pkl", "pickle"),
        ("x.pt", "system"),
        ("dict.pt", "system"),
    ):
        with pytest.raises(DataError, match=match):
            open_data(folder / name, module=LINEAR)
    assert listing(folder) == before


def test_npy_claiming_terabytes_is_refused(folder: Path) -> None:
    """An .npy header that claims more than the file holds is refused before memory is taken."""
    np.save(folder / "x.npy", np.ones(10))
    content = (folder / "x.npy").read_bytes()
    (folder / "x.npy").write_bytes(
        content.replace(b"(10,), }  ", b"(10**9,)} ").replace(b"(10,)", b"(99999999999,)")
    )
    with pytest.raises(DataError, match="damaged"):
        open_data(folder / "x.npy", module=LINEAR)


def test_npz_bomb_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An .npz that would unpack to far more than its size is refused."""
    monkeypatch.setattr("gaussprobe.models.readers._BOMB_BYTES", 2**20)
    np.savez_compressed(folder / "x.npz", x=np.zeros(2**20))
    with pytest.raises(DataError, match="claims to unpack"):
        open_data(folder / "x.npz", module=LINEAR)
