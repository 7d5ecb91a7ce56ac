"""TorchScript files: opened without running what is not on the allow-list, or refused by name."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gaussprobe.cli.main import main
from gaussprobe.errors import FactoryError, ModelFileError
from gaussprobe.models import open_model
from gaussprobe.models.torchscript import _is_type
from tests.models.conftest import listing
from tests.networks import Residual
from tests.programs import altered, save_script

X = torch.randn(4, 3, 8, 8)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network, compiled by TorchScript."""
    torch.manual_seed(0)
    return save_script(Residual().eval(), tmp_path_factory.mktemp("script") / "net.pt")


class Writes(nn.Module):
    """Creates a file where it runs, as TorchScript's own operator does."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) + torch.from_file(self.path, True, 4)


def code(old: str, new: str) -> Callable[[str, bytes], bytes]:
    """Replaces text in the source that a file carries."""

    def change(name: str, data: bytes) -> bytes:
        return data.replace(old.encode(), new.encode()) if name.endswith(".py") else data

    return change


def refused(path: Path, match: str) -> None:
    """Open a file, as a library and as a command, expecting a refusal that leaves the folder as it was."""
    before = listing(path.parent)
    with pytest.raises(ModelFileError, match=match) as caught:
        open_model(path)
    assert str(caught.value).count("\n") <= 1
    assert main(["scan", str(path), "--quiet"]) == 2
    assert listing(path.parent) == before


@pytest.mark.parametrize("traced", [False, True])
def test_a_program_opens_and_computes_the_same(folder: Path, traced: bool) -> None:
    """What is loaded gives the outputs of the eager model, scripted and traced, and says what it is."""
    net = Residual().eval()
    opened = open_model(save_script(net, folder / "net.pt", X if traced else None))
    assert isinstance(opened.module, torch.jit.ScriptModule)
    torch.testing.assert_close(opened.module(X), net(X))
    assert any("TorchScript" in note for note in opened.notes)


def test_a_program_that_would_write_a_file_is_refused(folder: Path, marker: Path) -> None:
    """`torch.from_file` creates its file when it runs: the program is refused before."""
    refused(save_script(Writes(str(marker)), folder / "writes.pt"), "from_file")


def test_code_that_runs_while_loading_is_refused(folder: Path, scripted: Path, marker: Path) -> None:
    """A `__setstate__` runs at load: its source is judged before torch sees it."""
    call = f'torch.from_file("{marker}", True, 4)'
    setstate = (
        f"  def __setstate__(self: __torch__.Residual,\n    state: Tensor) -> NoneType:\n    x = {call}\n"
    )
    path = altered(
        scripted, folder / "x.pt", code("  def forward", setstate + "    return None\n  def forward")
    )
    refused(path, "from_file")


@pytest.mark.parametrize(
    ("new", "match"),
    [
        ('torch.save(x, "p"), torch.sigmoid', "save"),
        ("ops.mylib.sigmoid", "ops.mylib"),
        ("__torch__.torch.classes.mylib.f", "classes"),
        ("print", "print"),
        ("torch.no_such_operator", "no_such_operator"),
    ],
)
def test_operators_off_the_list_are_refused(folder: Path, scripted: Path, new: str, match: str) -> None:
    """A call of anything but a known operator is refused, naming it."""
    refused(altered(scripted, folder / "x.pt", code("torch.sigmoid", new)), match)


def test_foreign_classes_in_its_pickles_are_refused(folder: Path, scripted: Path) -> None:
    """A pickle in the file that names anything but the file's own classes is refused."""

    def change(name: str, data: bytes) -> bytes:
        return re.sub(rb"c__torch__.*\nResidual\n", b"cos\nsystem\n", data) if name == "data.pkl" else data

    refused(altered(scripted, folder / "x.pt", change), "os.system")


def test_a_tensor_beyond_its_bytes_is_refused(folder: Path, scripted: Path) -> None:
    """torch reads as many numbers as the pickle says, whatever is there: such a file is refused."""

    def change(name: str, data: bytes) -> bytes:
        return data[: len(data) // 2] if name == "data/0" else data

    refused(altered(scripted, folder / "x.pt", change), "claims")


def test_a_bomb_is_refused(folder: Path, scripted: Path) -> None:
    """An archive that would unpack to gigabytes is refused before it is unpacked."""
    path = folder / "bomb.pt"
    path.write_bytes(scripted.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/code/big.py", bytes(2**27))
    refused(path, "claims to unpack")


@pytest.mark.parametrize(
    "text", ["List[" * 500, "Dict[str, __torch__.torch.classes.a.B]", "int; import os", 3]
)
def test_odd_types_in_pickles_are_refused(text: object) -> None:
    """Types are parsed by torch's compiler: nesting without end, library classes and other text are not."""
    assert not _is_type(text)
    assert _is_type("Dict[str, List[Tuple[Tensor, int]]]")


def test_a_program_takes_no_factory(scripted: Path) -> None:
    """A program is a whole model: a factory beside it is refused."""
    with pytest.raises(FactoryError, match="whole model"):
        open_model(scripted, factory="torch.nn:Identity")


def test_damaged_copies_open_or_are_refused(folder: Path, scripted: Path) -> None:
    """Truncated and bit-flipped copies give a model or one error, never another exception."""
    content, path, generator = scripted.read_bytes(), folder / "mutated.pt", random.Random(0)
    opened = 0
    for attempt in range(60):
        data = bytearray(content)
        if attempt % 3 == 0:
            data = data[: generator.randrange(len(data))]
        else:
            for _ in range(generator.choice((1, 1, 8))):
                data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        try:
            open_model(path)
            opened += 1
        except ModelFileError as error:
            assert str(error).count("\n") <= 1  # noqa: PT017
    assert opened < 30


def test_damage_under_good_checksums_opens_or_is_refused(folder: Path, scripted: Path) -> None:
    """Pickles and source altered by somebody who mends the checksums give a model or one error."""
    generator = random.Random(1)
    with zipfile.ZipFile(io.BytesIO(scripted.read_bytes())) as archive:
        names = [n.partition("/")[2] for n in archive.namelist() if n.endswith((".pkl", ".py"))]
    for _ in range(40):
        which = generator.choice(names)

        def change(name: str, data: bytes, which: str = which) -> bytes:
            if name != which or not data:
                return data
            flipped = bytearray(data)
            flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
            return bytes(flipped)

        path = altered(scripted, folder / "mutated.pt", change)
        try:
            open_model(path)
        except ModelFileError as error:
            assert str(error).count("\n") <= 1  # noqa: PT017
