"""Reading inputs: every format, and what is wrong in one or two lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gaussprobe.errors import DataError
from gaussprobe.models import first_tensor, from_python, open_data

Saved = Callable[..., Path]
LINEAR = nn.Linear(3, 3)
IDS = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
VALUES = np.arange(30.0).reshape(10, 3)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.layer(x)


def joined(inputs: Any) -> torch.Tensor:
    return torch.cat([first_tensor(batch) for batch in inputs.batches])


def test_npy_is_split_cast_and_walked_again(folder: Path) -> None:
    """An .npy array is split in order, in the model's dtype, and can be walked twice."""
    np.save(folder / "x.bin.npy", VALUES)
    inputs = open_data(folder / "x.bin.npy", module=LINEAR, batch_size=4)
    assert [len(batch) for batch in inputs.batches] == [4, 4, 2]
    assert torch.equal(joined(inputs), torch.arange(30.0).reshape(10, 3))
    assert inputs.n_examples == 10
    assert inputs.description == {
        "source": str(folder / "x.bin.npy"),
        "kind": "npy",
        "synthetic": False,
        "n_examples": 10,
        "batch_size": 4,
        "notes": [],
    }


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", "|u1", "|b1"])
def test_npy_of_every_dtype_and_order(folder: Path, order: Any, dtype: str) -> None:
    """Byte order, memory order and dtype of an .npy file do not change its numbers."""
    values = np.asarray(VALUES, dtype=dtype, order=order)
    np.save(folder / "x.npy", values)
    read = joined(open_data(folder / "x.npy", module=LINEAR))
    assert np.array_equal(read.numpy().astype(dtype), values)


def test_default_batch_size_is_128(saved: Saved) -> None:
    """Whole datasets are split into batches of 128."""
    inputs = open_data(saved(torch.ones(300, 3)), module=LINEAR)
    assert [len(batch) for batch in inputs.batches] == [128, 128, 44]


@pytest.mark.parametrize(
    ("arrays", "note"),
    [
        ({"anything": VALUES}, None),
        ({"y": VALUES}, None),
        ({"x": VALUES, "y": VALUES[:, 0]}, "y was"),
        ({"images": VALUES, "labels": VALUES[:, 0]}, "labels was dropped"),
        ({"data": VALUES, "other": np.ones(4)}, "other was dropped"),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "pt"])
def test_named_arrays_choose_the_input(
    folder: Path, saved: Saved, kind: str, arrays: dict[str, Any], note: str | None
) -> None:
    """The only array, or the one with a usual name, is the input; the rest is dropped and noted."""
    if kind == "npz":
        np.savez_compressed(folder / "x", **arrays)
        path = folder / "x.npz"
    else:
        path = saved({key: torch.from_numpy(value) for key, value in arrays.items()})
    inputs = open_data(path, module=nn.Sequential(LINEAR))
    assert torch.equal(joined(inputs), torch.from_numpy(VALUES).float())
    assert note is None or any(note in each for each in inputs.notes)


def test_arrays_named_as_parameters_become_keywords(folder: Path) -> None:
    """Arrays named as forward's parameters are a batch of keywords."""
    np.savez(folder / "x.npz", x=VALUES, mask=np.ones(10, dtype=bool), y=np.ones(10))
    inputs = open_data(folder / "x.npz", module=Masked())
    (batch,) = inputs.batches
    assert sorted(batch) == ["mask", "x"]
    assert batch["mask"].dtype == torch.bool
    assert any("y was taken as the target" in note for note in inputs.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["a b label", ""])
def test_csv(folder: Path, delimiter: str, header: str) -> None:
    """A CSV with any usual delimiter, with or without a header, under any name; a label column is dropped."""
    rows = [header.split()] if header else []
    rows += [["1", "2e0", "0"], ["", " nan", "1"], ["-.5", "inf", "2"]]
    path = folder / "numbers.txt"
    path.write_text("\ufeff" + "\r\n".join(delimiter.join(row) for row in rows) + "\n\n", encoding="utf-8")
    inputs = open_data(path, module=nn.Linear(2 if header else 3, 3))
    values = joined(inputs)
    assert values.shape == (3, 2 if header else 3)
    assert values[0, 1] == 2
    assert values[2, 1] == float("inf")
    assert any("2 of" in note and "NaN" in note for note in inputs.notes)
    assert any("infinite" in note for note in inputs.notes)
    assert any("label was taken as the target" in note for note in inputs.notes) == bool(header)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b\n1,2\n3,x\n", r"row 3, column 2 \(b\): 'x' is not a number"),
        ("1,2\n3,1_0\n", "row 2, column 2: '1_0' is not a number"),
        ("1,2\n3\n", "row 2 has 1 cells where the first has 2"),
        ("a,b\n", "no rows of numbers"),
        ("hello world\n", "no rows of numbers"),
        ('{"a": 1,\n "b": [1,2]}\n', "row"),
    ],
)
def test_bad_csv_is_located(folder: Path, text: str, match: str) -> None:
    """What is wrong in a CSV is named by row and column."""
    path = folder / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        open_data(path, module=LINEAR)


def test_a_row_without_end_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row longer than any table's is refused before it is read to its end."""
    monkeypatch.setattr("gaussprobe.models.readers._MAX_ROW", 1_000)
    path = folder / "x.csv"
    path.write_text("1,2,3\n" + "1," * 5_000)
    with pytest.raises(DataError, match="row of more than 1,000 characters"):
        open_data(path, module=LINEAR)


def test_torch_containers(saved: Saved) -> None:
    """A tuple of equal lengths is positional; a list of many tensors is a list of batches."""
    x, y = torch.ones(6, 3), torch.zeros(6)
    (batch,) = open_data(saved((x, y)), module=LINEAR).batches
    assert isinstance(batch, tuple)
    assert len(batch) == 2
    listed = open_data(saved([x, x[:4], x[:2]]), module=LINEAR)
    assert [len(each) for each in listed.batches] == [6, 4, 2]
    assert listed.n_examples == 12


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (torch.tensor(3.0), "0-d tensor"),
        (torch.ones(0, 3), "no examples"),
        (torch.ones(3, 0), "no examples"),
        ({"x": torch.ones(3), "mask": torch.ones(4)}, "differ in length"),
        ((torch.ones(3), torch.ones(4)), "differ in length"),
        ({"a": torch.ones(3), "b": torch.ones(3)}, "several arrays"),
        ({"x": 3}, "dict of int"),
        ({}, "nothing"),
        ([], "empty list"),
        (["a"], "list of str"),
        (3, "holds 'int'"),
        (nn.Linear(2, 2), "holds a model"),
        (TensorDataset(torch.ones(3)), "TensorDataset"),
    ],
)
def test_torch_content_that_is_no_data_is_named(saved: Saved, content: Any, match: str) -> None:
    """What a .pt file holds instead of inputs is named in one or two lines."""
    with pytest.raises(DataError, match=match) as caught:
        open_data(saved(content), module=Masked())
    assert str(caught.value).count("\n") <= 1


def test_unusable_files_are_named(folder: Path) -> None:
    """Missing, empty, truncated, garbage and foreign files are refused by name."""
    np.savez(folder / "whole.npz", x=VALUES)
    (folder / "cut.npz").write_bytes((folder / "whole.npz").read_bytes()[:-30])
    np.save(folder / "whole.npy", VALUES)
    (folder / "cut.npy").write_bytes((folder / "whole.npy").read_bytes()[:-1])
    np.save(folder / "text.npy", np.array(["a"]))
    np.savez(folder / "none.npz")
    (folder / "empty.npy").touch()
    (folder / "garbage.npy").write_bytes(bytes(range(256)))
    (folder / "x.csv.gz").write_bytes(b"\x1f\x8b\x08" + bytes(9))
    for name, match in (
        ("missing.npy", "no such file"),
        ("cut.npz", "truncated"),
        ("cut.npy", "truncated"),
        ("text.npy", "not numbers"),
        ("none.npz", "zip archive|no arrays|truncated"),
        ("empty.npy", "empty file"),
        ("garbage.npy", "no known format"),
        ("x.csv.gz", "gzip"),
        (".", "directory"),
    ):
        with pytest.raises(DataError, match=match):
            open_data(folder / name, module=LINEAR)


@pytest.mark.parametrize("kind", ["npy", "npz", "csv"])
def test_damaged_data_is_read_or_refused(folder: Path, kind: str) -> None:
    """Truncations and bit flips of data files are read or refused, never another exception."""
    path = folder / f"x.{kind}"
    if kind == "npy":
        np.save(path, VALUES)
    elif kind == "npz":
        np.savez_compressed(path, x=VALUES)
    else:
        path.write_text("\n".join(",".join(map(str, row)) for row in VALUES))
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(1)
    for place in torch.randint(0, len(whole) * 8, (150,), generator=generator).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        for data in (bytes(flipped), whole[: place // 8]):
            path.write_bytes(data)
            message = ""
            try:
                open_data(path, module=LINEAR)
            except DataError as error:
                message = str(error)
            assert message.count("\n") <= 1


def test_integers_follow_the_first_layer(saved: Saved) -> None:
    """Integers stay for a model that begins with an Embedding, and become floats with a note for others."""
    path = saved(torch.arange(6, dtype=torch.uint8).reshape(2, 3))
    assert joined(open_data(path, module=IDS)).dtype == torch.int64
    cast = open_data(path, module=LINEAR)
    assert joined(cast).dtype == torch.float32
    assert any("uint8" in note and "unscaled" in note for note in cast.notes)
    assert joined(open_data(path, module=nn.Linear(3, 3).double())).dtype == torch.float64
    whole = open_data(saved(torch.ones(2, 3)), module=IDS)
    assert joined(whole).dtype == torch.int64


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "8"])
def test_bad_batch_size_is_a_value_error(saved: Saved, size: Any) -> None:
    """A batch size that is not a positive integer is a bad argument."""
    with pytest.raises(ValueError, match="batch_size must be"):
        open_data(saved(torch.ones(3, 3)), module=LINEAR, batch_size=size)


@pytest.fixture
def functions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gp_test_data.py").write_text(
        "import torch, numpy\n"
        "def tensor(): return torch.ones(5, 3)\n"
        "def array(): return numpy.ones((5, 3))\n"
        "def generator():\n    for _ in range(3): yield torch.ones(2, 3), torch.zeros(2)\n"
        "def arrays():\n    for _ in range(3): yield numpy.ones((2, 3))\n"
        "def nothing():\n    return iter(())\n"
        "def fails():\n    yield torch.ones(2, 3)\n    raise KeyError('gone')\n"
        "def wrong(): return 3\n"
        "def leaves():\n    yield torch.ones(2, 3)\n    raise SystemExit(0)\n"
        "class Closed:\n"
        "    def __iter__(self): return self\n"
        "    def __next__(self): raise GeneratorExit\n"
        "def closes(): return Closed()\n"
        "def endless():\n    while True: yield torch.ones(2, 3)\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "gp_test_data", raising=False)


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(("name", "examples"), [("tensor", 5), ("array", 5), ("generator", 6), ("arrays", 6)])
def test_functions_give_batches(name: str, examples: int) -> None:
    """A function may return a tensor, an array, or a generator; arrays come in the model's dtype."""
    values = joined(open_data(f"gp_test_data:{name}", module=LINEAR))
    assert values.shape == (examples, 3)
    assert values.dtype == torch.float32


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nothing", "gave no batches"),
        ("fails", "batch 2 failed: KeyError"),
        ("wrong", "returned 'int'"),
        ("leaves", "batch 2 failed: SystemExit: 0"),
        ("closes", "batch 1 failed: GeneratorExit"),
    ],
)
def test_functions_that_fail_are_named(name: str, match: str) -> None:
    """A function that yields nothing, raises, or returns something else is named."""
    with pytest.raises(DataError, match=f"gp_test_data:{name}.*{match}"):
        list(open_data(f"gp_test_data:{name}", module=LINEAR).batches)


@pytest.mark.usefixtures("functions")
def test_endless_data_can_be_left() -> None:
    """A walk over endless data may stop anywhere; closing it is no error of the data."""
    walk = iter(open_data("gp_test_data:endless", module=LINEAR).batches)
    assert next(walk).shape == (2, 3)
    walk.close()  # type: ignore[attr-defined]


def test_python_datasets_and_batches() -> None:
    """From Python, tensors, arrays and dicts are whole datasets; lists and loaders are batches."""
    x = torch.ones(10, 3)
    for whole in (x, x.double().numpy(), {"x": x}, (x, torch.zeros(10))):
        inputs = from_python(whole, module=Masked(), batch_size=4)
        assert inputs.n_examples == 10
        assert [len(first_tensor(batch)) for batch in inputs.batches] == [4, 4, 2]
        assert first_tensor(next(iter(inputs.batches))).dtype == torch.float32
    loader = DataLoader(TensorDataset(x, torch.zeros(10)), batch_size=4)
    for batches in (loader, [x[:4], x[4:8], x[8:]], (batch for batch in (x[:4], x[4:8], x[8:]))):
        inputs = from_python(batches, module=LINEAR)
        assert [len(first_tensor(batch)) for batch in inputs.batches] == [4, 4, 2]


def test_python_tensors_keep_their_dtype() -> None:
    """A tensor handed in from Python is not cast: the caller chose its dtype."""
    assert joined(from_python(torch.ones(2, 3, dtype=torch.int32), module=LINEAR)).dtype == torch.int32


@pytest.mark.parametrize(
    ("batches", "error", "match"),
    [
        ([], DataError, "gave no batches"),
        (iter(()), DataError, "gave no batches"),
        (torch.tensor(1.0), DataError, "0-d"),
        ({"x": 3}, DataError, "tensors only"),
        ({}, DataError, "tensors only"),
        (TensorDataset(torch.ones(3, 3)), DataError, "DataLoader"),
        (3, ValueError, "batches must be"),
        (None, ValueError, "batches must be"),
    ],
)
def test_python_objects_without_batches(batches: Any, error: type[Exception], match: str) -> None:
    """Nothing in it is a DataError; something that cannot hold batches a ValueError."""
    with pytest.raises(error, match=match):
        list(from_python(batches, module=LINEAR).batches)


def test_generator_cannot_be_walked_twice() -> None:
    """A second walk over a generator is an error, not an empty result."""
    inputs = from_python((batch for batch in [torch.ones(2, 3)]), module=LINEAR)
    list(inputs.batches)
    with pytest.raises(DataError, match="only once"):
        list(inputs.batches)


def test_own_exceptions_of_a_loader_pass_through() -> None:
    """An exception of the caller's own iterable reaches the caller."""

    def failing() -> Any:
        yield torch.ones(2, 3)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(from_python(failing(), module=LINEAR).batches)
