"""Folders of images."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.cli.main import main
from gaussprobe.errors import DataError, MissingExtraError
from gaussprobe.models import image_options, open_data
from gaussprobe.models.images import UnreadableImageError, read_image
from tests import needs

Image = needs.package("PIL.Image")

COLOUR = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
GREY = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
PLAIN = image_options(8, 0.0, 1.0)


def picture(height: int = 12, width: int = 10, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, values: np.ndarray[Any, Any], **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def bomb(path: Path, side: int) -> None:
    """A PNG of a few bytes whose header claims `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def test_folder_is_read_in_order_of_its_paths(folder: Path) -> None:
    """Images of subfolders too, sorted, scaled to [0, 1], then standardised; the last batch is smaller."""
    exact = [picture(8, 8, seed) for seed in range(3)]
    save(folder / "b.png", exact[2])
    save(folder / "a" / "2.bmp", exact[1])
    save(folder / "a" / "1.PNG", exact[0])
    (folder / "notes.txt").write_text("no image")
    options = image_options(8, (0.1, 0.2, 0.3), 0.5)
    inputs = open_data(folder, module=COLOUR, batch_size=2, images=options)
    first, second = inputs.batches
    assert inputs.n_examples == 3
    wanted = torch.from_numpy(np.stack(exact)).permute(0, 3, 1, 2) / 255
    wanted = (wanted - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5
    torch.testing.assert_close(torch.cat([first, second]), wanted)
    assert first.shape == (2, 3, 8, 8)
    assert not any("IMAGENET" in note for note in inputs.notes)


def test_shorter_side_is_brought_to_size_and_the_centre_cut(folder: Path) -> None:
    """A wide image of three vertical bands keeps its middle one."""
    bands = np.zeros((10, 30, 3), dtype=np.uint8)
    bands[:, 10:20] = 255
    image = read_image(save(folder / "bands.png", bands), channels=3, size=5)
    assert image.shape == (3, 5, 5)
    assert image[:, :, 1:-1].min() > 0.95


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif"])
def test_every_format_is_read(folder: Path, suffix: str) -> None:
    """A grey square is a grey square in every format."""
    save(folder / f"square.{suffix}", np.full((9, 9, 3), 128, dtype=np.uint8))
    (batch,) = open_data(folder, module=COLOUR, images=PLAIN).batches
    torch.testing.assert_close(batch, torch.full((1, 3, 8, 8), 128 / 255), atol=0.01, rtol=0)


def test_first_layer_decides_the_channels(folder: Path) -> None:
    """One input channel makes grey images; four are refused; a flattened square is one; else refused."""
    save(folder / "a.png", picture())
    (grey,) = open_data(folder, module=GREY, images=PLAIN).batches
    assert grey.shape == (1, 1, 8, 8)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 2))
    (own,) = open_data(folder, module=flat).batches
    assert own.shape == (1, 3, 6, 6)
    with pytest.raises(DataError, match="takes 4"):
        open_data(folder, module=nn.Sequential(nn.Conv2d(4, 4, 3)))
    with pytest.raises(DataError, match="no 2-d convolution"):
        open_data(folder, module=nn.Linear(7, 2))


def test_more_than_8_bits_are_scaled_not_clipped(folder: Path) -> None:
    """A 16-bit image of half intensity is read as one half, and a float image is refused."""
    save(folder / "deep.png", np.full((8, 8), 32_768, dtype=np.uint16))
    assert read_image(folder / "deep.png", channels=1, size=8).mean() == pytest.approx(0.5, abs=0.01)
    save(folder / "float.tif", np.full((8, 8), 0.5, dtype=np.float32))
    with pytest.raises(UnreadableImageError, match="unknown scale"):
        read_image(folder / "float.tif", channels=1, size=8)


def test_defaults_are_the_models_then_imagenets(folder: Path) -> None:
    """Size, mean and deviation come from the model where it says them; ImageNet's are announced loudly."""
    data = folder / "data"
    save(data / "a.png", picture())
    inputs = open_data(data, module=COLOUR)
    assert next(iter(inputs.batches)).shape == (1, 3, 224, 224)
    assert any(note.startswith("NORMALISED AS IMAGENET") for note in inputs.notes)
    own = nn.Sequential(nn.Conv2d(3, 4, 3))
    own.default_cfg = {"input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # type: ignore[assignment]
    inputs = open_data(data, module=own)
    assert next(iter(inputs.batches)).shape[-1] == 32
    assert inputs.notes[-1] == "values in [0, 1], then (x - 0.5) / 0.5"
    other = nn.Sequential(nn.Conv2d(3, 4, 3))
    other.config = SimpleNamespace(image_size=40)  # type: ignore[assignment]
    assert next(iter(open_data(data, module=other).batches)).shape[-1] == 40
    settings = {
        "size": {"shortest_edge": 30},
        "crop_size": {"height": 24, "width": 24},
        "do_center_crop": True,
    }
    settings |= {"image_mean": [0.4, 0.4, 0.4], "image_std": [0.2, 0.2, 0.2]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    inputs = open_data(data, module=COLOUR, folder=folder)
    assert next(iter(inputs.batches)).shape[-1] == 24
    assert inputs.notes[-1] == "values in [0, 1], then (x - 0.4) / 0.2"


def test_files_that_cannot_be_read_are_counted(folder: Path) -> None:
    """Truncated, mislabelled and absurdly large images are left out with a note; none at all is an error."""
    whole = save(folder / "whole.png", picture()).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "page.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    bomb(folder / "bomb.png", 60_000)
    inputs = open_data(folder, module=COLOUR, images=PLAIN)
    (batch,) = inputs.batches
    assert len(batch) == 1
    assert inputs.notes[-1].startswith("3 of 4 images could not be read and were left out: bomb.png, cut.png")
    assert "claims an absurd number of pixels: refused" in inputs.notes[-1]
    (folder / "whole.png").unlink()
    with pytest.raises(DataError, match="none of its 3 images can be read"):
        list(open_data(folder, module=COLOUR).batches)


def test_damaged_images_are_read_or_left_out(folder: Path) -> None:
    """Bit flips and truncations of every format never raise anything but the one error."""
    generator = np.random.default_rng(0)
    for suffix in ("png", "jpg", "bmp", "gif", "webp", "tif"):
        path = save(folder / f"image.{suffix}", picture(24, 24))
        whole = path.read_bytes()
        for place in generator.integers(0, len(whole) * 8, 40).tolist():
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped if place % 3 else flipped[: place // 8])
            try:
                shape = read_image(path, channels=3, size=8).shape
            except UnreadableImageError:
                continue
            assert shape == (3, 8, 8)


def test_bad_options_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options out of range, and options for data that are no folder of images, are refused by name."""
    for options, match in (
        ((0,), "image_size"),
        ((8, (1.0, 2.0)), "mean must be one or three"),
        ((8, 0.5, 0.0), "std must be positive"),
        ((8, "half"), "mean must be"),
    ):
        with pytest.raises(ValueError, match=match):
            image_options(*options)  # type: ignore[arg-type]
    np.save(folder / "x.npy", np.zeros((4, 3, 8, 8)))
    with pytest.raises(DataError, match="are for a folder of images"):
        open_data(folder / "x.npy", module=COLOUR, images=PLAIN)
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="a directory without images"):
        open_data(folder / "empty", module=COLOUR)
    assert main(["scan", "torch.nn:Identity", "--data", str(folder), "--mean", "1,x"]) == 2
    assert "--mean must be one or three numbers" in capsys.readouterr().err


def test_without_pillow_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Pillow is not installed, the error names the extra."""
    save(folder / "a.png", picture())
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gaussprobe\[images\]'"):
        open_data(folder, module=COLOUR)


def test_scan_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line passes the options on, and says what was left out on the way."""
    for index in range(20):
        save(folder / "data" / f"{index}.png", picture(seed=index))
    (folder / "data" / "broken.png").write_bytes(b"no image")
    torch.save(COLOUR, folder / "model.pt")
    arguments = ["scan", str(folder / "model.pt"), "--data", str(folder / "data"), "--json"]
    assert main([*arguments, "--image-size", "16", "--mean", ".5", "--std", ".25,.25,.25"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sites"][0]["n_seen"] == 20 * 14 * 14
    assert "values in [0, 1], then (x - 0.5) / 0.25" in found["data"]["notes"]
    assert any("1 of 21 images could not be read" in note for note in found["data"]["notes"])
