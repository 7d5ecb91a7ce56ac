"""Every kind of file that the command line opens: a small whole one, and the command that opens it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = "the quick brown fox jumps over a lazy dog".split()
_SCAN = ("scan", "{}", "--quiet", "--json", "--max-samples", "64")
_TABLE = ("scan", "{}", "--max-samples", "64")
_FACTORY = ("--factory", "tests.fuzz.kinds:factory")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of file.

    Args:
        name: how the table of results names it.
        build: writes the whole files into a folder.
        altered: the files that are altered, one of them in each case.
        command: arguments of the command line; it is run in the folder, `{}` is the first altered file.
        outputs: files that the command was asked to write.
        needs: packages without which it cannot be opened.
    """

    name: str
    build: Callable[[Path], None]
    altered: tuple[str, ...]
    command: tuple[str, ...] = _SCAN
    outputs: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        return [self.altered[0] if part == "{}" else part for part in self.command]

    @property
    def possible(self) -> bool:
        """Whether the packages it needs are installed."""
        return all(importlib.util.find_spec(each) is not None for each in self.needs)


def network() -> Any:
    """A tiny network of stock layers."""
    from torch import nn

    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()


def factory() -> Any:
    """What `--factory` names."""
    return network()


def _images() -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).eval()


def _stock(folder: Path) -> None:
    import torch
    from torch import nn

    torch.save(nn.Sequential(network(), nn.Unflatten(1, (1, 3)), nn.LSTM(3, 4)).eval(), folder / "model.pt")


def _state(folder: Path) -> None:
    import torch

    torch.save(network().state_dict(), folder / "weights.pt")


def _legacy(folder: Path) -> None:
    import torch

    torch.save(network().state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)


def _checkpoint(folder: Path) -> None:
    import argparse

    import torch

    state = {f"model.{name}": each for name, each in network().state_dict().items()}
    settings = argparse.Namespace(lr=0.1, depth=2)
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": settings}, folder / "last.ckpt")


def _script(folder: Path) -> None:
    import torch

    torch.jit.save(torch.jit.script(network()), folder / "script.pt")


def _export(folder: Path) -> None:
    import torch

    shapes = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(network(), (torch.randn(4, 6),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "model.pt2")


def _safetensors(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(network().state_dict(), folder / "weights.safetensors")


def _saved_tensors(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"first": torch.randn(64, 5), "second": torch.randn(64, 3)}, folder / "saved.safetensors")


def _saved_activations(folder: Path) -> None:
    import torch

    torch.save({"first": torch.randn(64, 5), "images": torch.randn(16, 2, 3, 3)}, folder / "saved.pt")


def _saved_archive(folder: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = {"first": rng.normal(size=(64, 4)), "second": rng.integers(0, 9, (64, 2))}
    np.savez_compressed(folder / "saved.npz", **arrays)


def _bert(folder: Path, *, binary: bool = False) -> None:
    import tokenizers
    import torch
    import transformers

    settings = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"intermediate_size": 12, "max_position_embeddings": 12}
    model = transformers.BertModel(transformers.BertConfig(**settings, **more)).eval()
    model.save_pretrained(folder)
    if binary:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    (folder / "lines.txt").write_text("\n".join(" ".join(WORDS[k:]) for k in range(len(WORDS))))


def _with_model(write: Callable[[Path], None], model: Callable[[], Any] = network) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        import torch

        torch.save(model(), folder / "model.pt")
        write(folder)

    return build


def _array(folder: Path) -> None:
    import numpy as np

    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32))


def _arrays(folder: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    np.savez(folder / "x.npz", x=rng.normal(size=(48, 6)), y=np.arange(48), groups=np.arange(48) // 4)


def _table(folder: Path) -> None:
    import numpy as np

    rows = np.random.default_rng(0).normal(size=(40, 6))
    lines = [",".join("abcdef"), *(",".join(f"{each:.3f}" for each in row) for row in rows)]
    (folder / "x.csv").write_text("\n".join(lines))


PICTURES = ("a.png", "b.jpg", "c.gif", "d.bmp", "e.webp", "f.tiff", "g.png")


def _pictures(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number, name in enumerate(PICTURES):
        image = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
        (image.convert("P") if number == len(PICTURES) - 1 else image).save(folder / "photos" / name)


def _picture_model() -> Any:
    import torch

    model = _images()
    model(torch.zeros(1, 3, 8, 8))
    return model


def _run(folder: Path) -> None:
    from gaussprobe import store
    from tests.runs import build_run

    run = build_run()
    store.save(run, folder / "run.sqlite")


def _photos(name: str) -> str:
    return f"photos/{name}"


_HUGGING = ("transformers", "tokenizers", "safetensors")
_TEXT = ("scan", ".", "--data", "lines.txt", "--quiet", "--json", "--max-samples", "64")
_IMAGES = ("scan", "model.pt", "--data", "photos", "--image-size", "8", "--quiet", "--json")

KINDS: tuple[Kind, ...] = (
    Kind(name="whole stock module", build=_stock, altered=("model.pt",)),
    Kind(name="state_dict", build=_state, altered=("weights.pt",), command=(*_SCAN, *_FACTORY)),
    Kind(name="legacy torch.save", build=_legacy, altered=("old.pt",), command=(*_TABLE, *_FACTORY)),
    Kind(name="checkpoint", build=_checkpoint, altered=("last.ckpt",), command=(*_SCAN, *_FACTORY)),
    Kind(name="TorchScript", build=_script, altered=("script.pt",), command=_TABLE),
    Kind(name="torch.export", build=_export, altered=("model.pt2",), command=_TABLE),
    Kind(
        name="safetensors",
        build=_safetensors,
        altered=("weights.safetensors",),
        command=(*_SCAN, *_FACTORY),
        needs=("safetensors",),
    ),
    Kind(
        name="saved activations, safetensors",
        build=_saved_tensors,
        altered=("saved.safetensors",),
        command=_TABLE,
        needs=("safetensors",),
    ),
    Kind(name="saved activations, torch", build=_saved_activations, altered=("saved.pt",)),
    Kind(name="saved activations, npz", build=_saved_archive, altered=("saved.npz",), command=_TABLE),
    Kind(
        name="Hugging Face settings",
        build=_bert,
        altered=("config.json",),
        command=_TEXT,
        needs=_HUGGING,
    ),
    Kind(
        name="Hugging Face weights",
        build=_bert,
        altered=("model.safetensors",),
        command=_TEXT,
        needs=_HUGGING,
    ),
    Kind(
        name="Hugging Face pytorch_model.bin",
        build=lambda folder: _bert(folder, binary=True),
        altered=("pytorch_model.bin",),
        command=_TEXT,
        needs=_HUGGING,
    ),
    Kind(
        name="Hugging Face tokenizer",
        build=_bert,
        altered=("tokenizer.json", "tokenizer_config.json"),
        command=_TEXT,
        needs=_HUGGING,
    ),
    Kind(name="lines of text", build=_bert, altered=("lines.txt",), command=_TEXT, needs=_HUGGING),
    Kind(
        name=".npy",
        build=_with_model(_array),
        altered=("x.npy",),
        command=("scan", "model.pt", "--data", "{}", "--quiet", "--json"),
    ),
    Kind(
        name=".npz",
        build=_with_model(_arrays),
        altered=("x.npz",),
        command=("scan", "model.pt", "--data", "{}", "--quiet", "--json"),
    ),
    Kind(
        name=".csv",
        build=_with_model(_table),
        altered=("x.csv",),
        command=("scan", "model.pt", "--data", "{}"),
    ),
    Kind(
        name="folder of images",
        build=_with_model(_pictures, _picture_model),
        altered=tuple(map(_photos, PICTURES)),
        command=_IMAGES,
        needs=("PIL",),
    ),
    Kind(
        name="stored run",
        build=_run,
        altered=("run.sqlite",),
        command=("report", "{}", "-o", "report.html"),
        outputs=frozenset({"report.html"}),
    ),
)


def possible() -> tuple[Kind, ...]:
    """The kinds whose packages are installed."""
    return tuple(kind for kind in KINDS if kind.possible)


def build_all(folder: Path) -> None:
    """Write the whole files of every possible kind, each in a folder of its own, named by its number."""
    import warnings

    import torch

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, kind in enumerate(possible()):
            (folder / str(number)).mkdir(parents=True)
            kind.build(folder / str(number))
