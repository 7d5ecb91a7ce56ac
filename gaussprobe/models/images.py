"""Folders of images in, batches `(N, C, size, size)` out, decoded one batch at a time."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gaussprobe.errors import DataError, ModelFileError
from gaussprobe.models.batches import unwrapped
from gaussprobe.models.dtypes import float_dtype
from gaussprobe.models.extras import missing_extra
from gaussprobe.models.huggingface import read_settings
from gaussprobe.models.inputs import Inputs, checked_batch_size, describe
from gaussprobe.models.layers import first_known
from gaussprobe.models.wording import first_line, listed

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
# Only these decoders run, whatever a file's name says: others call programs or read further files.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_MAX_PIXELS = 2**27
_MAX_SIZE = 8_192
_DEFAULT_SIZE = 224
_DEFAULT_BATCH_SIZE = 32
_SETTINGS = "preprocessor_config.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are prepared; None leaves it to the model's own settings.

    Args:
        size: pixels of a side after resizing and cropping, from 1 to 8,192.
        mean: subtracted from values in [0, 1]: one number, or one for each channel.
        std: they are divided by.

    Raises:
        ValueError: if one is out of its range.
    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not (type(self.size) is int and 1 <= self.size <= _MAX_SIZE):
            raise ValueError(f"image_size must be an integer from 1 to {_MAX_SIZE:,}; got {self.size!r}")
        for title, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers is None:
                continue
            if len(numbers) not in (1, 3) or not all(math.isfinite(each) for each in numbers):
                raise ValueError(f"{title} must be one or three finite numbers; got {numbers!r}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be positive; got {self.std!r}")

    @property
    def given(self) -> bool:
        """Whether anything was asked for."""
        return (self.size, self.mean, self.std) != (None, None, None)


def image_options(
    size: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> ImageOptions:
    """Options from single numbers or sequences of them.

    Raises:
        ValueError: as `ImageOptions`.
    """

    def numbers(title: str, value: float | Sequence[float] | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        try:
            return tuple(float(each) for each in (value if isinstance(value, Sequence) else (value,)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{title} must be one or three finite numbers; got {value!r}") from error

    return ImageOptions(size=size, mean=numbers("mean", mean), std=numbers("std", std))


class ImageBatches:
    """Images of a folder, a batch at a time; files that cannot be read are counted, not hidden.

    Args:
        paths: the files, in order.
        root: what messages name them relative to.
        channels: 1 (grey) or 3 (RGB).
        size: pixels of a side.
        mean, std: of each channel.
        dtype: of the batches.
        batch_size: images per batch.
        notes: where the count of unreadable files is put after a walk.
    """

    def __init__(
        self,
        paths: list[Path],
        root: Path,
        *,
        channels: int,
        size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        dtype: torch.dtype,
        batch_size: int,
        notes: list[str],
    ) -> None:
        self.paths = paths
        self.root = root
        self.channels = channels
        self.size = size
        self.mean = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
        self.dtype = dtype
        self.batch_size = batch_size
        self.notes = notes

    def __iter__(self) -> Iterator[torch.Tensor]:
        waiting: list[torch.Tensor] = []
        bad: list[str] = []
        reason = ""
        for path in self.paths:
            try:
                image = read_image(path, channels=self.channels, size=self.size)
            except UnreadableImageError as error:
                bad.append(str(path.relative_to(self.root)))
                reason = reason or str(error)
                continue
            waiting.append((image - self.mean) / self.std)
            if len(waiting) == self.batch_size:
                yield torch.stack(waiting).to(self.dtype)
                waiting = []
        if waiting:
            yield torch.stack(waiting).to(self.dtype)
        if len(bad) == len(self.paths):
            raise DataError(
                f"{self.root}: none of its {len(bad)} images can be read; the first, {listed(bad[:1])}: "
                f"{reason}"
            )
        if bad:
            said = f"{len(bad)} of {len(self.paths)} images could not be read and were left out: "
            said += f"{listed(bad)} (the first: {reason})"
            if said not in self.notes:
                self.notes.append(said)


class UnreadableImageError(Exception):
    """A file is no image that can be read; the message says why."""


def read_image(path: Path, *, channels: int, size: int) -> torch.Tensor:
    """One image: its shorter side brought to `size`, its centre cut out, its values in [0, 1].

    Args:
        path: a file in one of the formats of `SUFFIXES`, told by its content; of several frames, the first.
        channels: 1 or 3.
        size: pixels of a side.

    Returns:
        `(channels, size, size)` float32.

    Raises:
        UnreadableImageError: if it is damaged, of another format, or claims an absurd number of pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Odd metadata, and Pillow's own bound on pixels, which is judged below.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as file:
                width, height = file.size
                if width * height > _MAX_PIXELS:
                    raise UnreadableImageError(f"claims {width:,} x {height:,} pixels: refused")
                image = ImageOps.exif_transpose(_shallow(file))
                fitted = ImageOps.fit(
                    _in_mode(image, channels), (size, size), method=Image.Resampling.BILINEAR
                )
        values = np.asarray(fitted, dtype=np.float32) / np.float32(255)
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("claims an absurd number of pixels: refused") from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError("damaged, or of another format") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them raise
        said = first_line(error, limit=200).replace(repr(str(path)), "the file")
        raise UnreadableImageError(said) from error
    tensor = torch.from_numpy(np.array(values, copy=True))
    return tensor[None] if tensor.dim() == 2 else tensor.permute(2, 0, 1).contiguous()


def _shallow(image: Any) -> Any:
    """Images of more than 8 bits a channel brought to 8; Pillow's own conversion would clip them."""
    if image.mode == "F":
        raise UnreadableImageError("holds floating-point pixels of unknown scale")
    if not image.mode.startswith("I"):
        return image
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if image.mode == "I" and (values.min() < 0 or values.max() > 65_535):
        raise UnreadableImageError("holds 32-bit pixels of unknown scale")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def _in_mode(image: Any, channels: int) -> Any:
    # A palette's transparency must become an alpha channel before it can be dropped.
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(_MODES[channels])


def open_images(
    path: Path,
    *,
    module: nn.Module,
    source: str,
    batch_size: int | None = None,
    options: ImageOptions | None = None,
    folder: Path | None = None,
) -> Inputs:
    """Batches from a folder of images, its subfolders included, in the order of their paths.

    Args:
        path: the folder.
        module: the model: its first convolution decides between grey and RGB.
        source: how messages name the folder.
        batch_size: images per batch, 32 when None.
        options: size, mean and standard deviation.
        folder: the model's directory, whose settings for images are used where options leave them open.

    Returns:
        The inputs, read lazily; notes say how they were prepared.

    Raises:
        DataError: if there are no images, or the model takes none.
        MissingExtraError: if Pillow is not installed.
        ValueError: if `batch_size` is not a positive integer.
    """
    count = _DEFAULT_BATCH_SIZE if batch_size is None else checked_batch_size(batch_size)
    asked = options or ImageOptions()
    paths = _found(path)
    if not paths:
        raise DataError(
            f"{source}: is a directory without images ({', '.join(sorted(s[1:] for s in SUFFIXES))}): "
            "give such a folder, a .pt, .npy, .npz or numeric .csv file, or pkg.mod:fn"
        )
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(f"{source}: a folder of images", package="pillow", extra="images") from error
    channels, own_side = _channels(module, source)
    own = _own_settings(module, folder)
    size = asked.size or own.size or own_side or _DEFAULT_SIZE
    notes = [_prepared(len(paths), channels, size)]
    mean, std = asked.mean or own.mean, asked.std or own.std
    if mean is None or std is None:
        notes.append(
            "NORMALISED AS IMAGENET: the model does not say how its images are scaled, so ImageNet's mean "
            "and standard deviation were used; if it was trained otherwise, give --mean and --std"
        )
    mean = _per_channel(mean or IMAGENET_MEAN, channels)
    std = _per_channel(std or IMAGENET_STD, channels)
    notes.append(f"values in [0, 1], then (x - {_shown(mean)}) / {_shown(std)}")
    description = describe(source, "images", n_examples=len(paths), batch_size=count, notes=notes)
    batches = ImageBatches(
        paths,
        path,
        channels=channels,
        size=size,
        mean=mean,
        std=std,
        dtype=float_dtype(module),
        batch_size=count,
        notes=description["notes"],
    )
    return Inputs(batches=batches, n_examples=len(paths), description=description)


def _found(root: Path) -> list[Path]:
    """Image files under a folder by their names, sorted; links to folders are not followed."""
    found = []
    for here, folders, files in os.walk(root):
        folders.sort()
        for name in files:
            each = Path(here) / name
            if each.suffix.lower() in SUFFIXES and not name.startswith(".") and each.is_file():
                found.append(each)
    return sorted(found, key=lambda each: each.relative_to(root).parts)


def _channels(module: nn.Module, source: str) -> tuple[int, int | None]:
    """Channels the model takes, and the side of its images where its first layer tells it."""
    model = unwrapped(module)
    for name, child in model.named_modules():
        if isinstance(child, nn.Conv2d):
            if child.in_channels not in _MODES:
                raise DataError(
                    f"{source}: images have 1 or 3 channels; the first convolution, {name or 'the model'}, "
                    f"takes {child.in_channels}: give pkg.mod:fn"
                )
            return child.in_channels, None
    first = first_known(model)
    if isinstance(first, nn.Linear):
        for channels in (1, 3):
            side = math.isqrt(first.in_features // channels)
            if side > 1 and side * side * channels == first.in_features:
                return channels, side
    raise DataError(
        f"{source}: is a folder of images, and {type(model).__name__} has no 2-d convolution to take them: "
        "give pkg.mod:fn"
    )


def _own_settings(module: nn.Module, folder: Path | None) -> ImageOptions:
    """What a model says of its images: its directory's file, its `default_cfg`, its `config`."""
    if folder is not None and (folder / _SETTINGS).is_file():
        try:
            settings = read_settings(folder / _SETTINGS, str(folder))
        except ModelFileError as error:
            raise DataError(str(error)) from error
        plain = settings.get("do_normalize") is False
        cropped = settings.get("crop_size") if settings.get("do_center_crop") else None
        return _settings(
            _side(cropped) or _side(settings.get("size")),
            (0.0,) if plain else settings.get("image_mean"),
            (1.0,) if plain else settings.get("image_std"),
        )
    model = unwrapped(module)
    for key in ("pretrained_cfg", "default_cfg"):
        found = getattr(model, key, None)
        if isinstance(found, dict):
            return _settings(_side(found.get("input_size")), found.get("mean"), found.get("std"))
    for key in ("config", "_global_params"):
        side = _side(getattr(getattr(model, key, None), "image_size", None))
        if side is not None:
            return _settings(side, None, None)
    return ImageOptions()


def _settings(size: int | None, mean: Any, std: Any) -> ImageOptions:
    """Options from what somebody else's file says; what is out of range is as if it were not there."""
    try:
        return image_options(size, mean, std)
    except ValueError:
        return ImageOptions(size=size)


def _side(value: Any) -> int | None:
    """One side in pixels out of the forms that settings give a size in."""
    if isinstance(value, dict):
        found = [value.get(key) for key in ("shortest_edge", "height", "width")]
        value = [each for each in found if each is not None]
    if isinstance(value, list | tuple):
        sides = value[-2:]
        value = min(sides) if sides and all(type(each) is int for each in sides) else None
    return value if type(value) is int and 1 <= value <= _MAX_SIZE else None


def _per_channel(numbers: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(numbers) == 1:
        return numbers * channels
    # The three channels of a grey image are one.
    return numbers if channels == 3 else (math.fsum(numbers) / len(numbers),)


def _shown(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{each:.4g}" for each in dict.fromkeys(numbers))


def _prepared(count: int, channels: int, size: int) -> str:
    colour = "RGB" if channels == 3 else "grey"
    return f"{count:,} images, {colour}, shorter side brought to {size} pixels and the centre cut out"
