"""Hugging Face directories: a model and its settings from local files, without code from them.

transformers is never pointed at the directory for the model itself. The settings are read as JSON, what
could import or fetch code is refused or struck out, the weights are read by this package's own readers, and
only then is the architecture made, by its name, from the classes that transformers ships.
"""

from __future__ import annotations

import json
import re
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussprobe.errors import GaussprobeError, ModelFileError
from gaussprobe.models.archive import DamagedFileError, read_torch
from gaussprobe.models.extras import missing_extra
from gaussprobe.models.sniff import FileKind, sniff
from gaussprobe.models.stock import UnknownGlobalsError, UnsafeContentError
from gaussprobe.models.weights import is_state_dict, read_safetensors
from gaussprobe.models.wording import first_line, listed, printable

# Weights, in the order they are looked for; an index names the parts of a split file.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".safetensors", ".bin")
_MAX_JSON = 2**24
_SILENT = 60  # above logging.CRITICAL
_MAX_PARTS = 1_000
_MAX_DEPTH = 16
_MAX_LAYERS = 10_000
_COUNTS = re.compile(r"layer|depth|block|stage|expert|head", re.IGNORECASE)
_MAX_ITEMS = 2**20
# Counts of anything else; a dict of names is made of `num_labels`. Tables of positions are sized below.
_ITEMS = re.compile(r"(num|n)_(?!positions|ctx|vocab|embd)", re.IGNORECASE)
# Handed through to other loaders, these would make them run code, or read whatever file they name.
_LOADING = ("trust_remote_code", "checkpoint_path")
_ALLOWANCE = 2**24  # numbers a model may hold beyond its files
# How attention is computed is chosen here: a name with a slash is code from the hub.
_STRUCK = frozenset(
    "attn_implementation _attn_implementation _attn_implementation_internal _attn_implementation_autoset "
    "experts_implementation _experts_implementation _experts_implementation_internal "
    "use_kernels kernel_config".split()
)
_CONVERT = "load it with your own code and pass pkg.mod:fn"
_FOREIGN = {
    "adapter_config.json": "an adapter (PEFT): merge it into its base model and save that",
    "tf_model.h5": "TensorFlow weights: save it again from PyTorch",
    "flax_model.msgpack": "Flax weights: save it again from PyTorch",
}


@dataclass(frozen=True, kw_only=True)
class HuggingFaceModel:
    """What a directory gave: the model, and what a reader must know about it."""

    module: nn.Module
    notes: tuple[str, ...]


def open_directory(folder: Path, *, name: str) -> HuggingFaceModel:
    """The model of a Hugging Face directory, loaded offline.

    Args:
        folder: holds `config.json` and `model.safetensors` or `pytorch_model.bin`, whole or in parts.
        name: the directory as the user named it.

    Returns:
        The base model (`AutoModel`) in evaluation mode, with notes on weights that were missing or unused.

    Raises:
        ModelFileError: if it needs code of its own, is damaged, or is not known to transformers.
        MissingExtraError: if transformers is not installed.
    """
    settings = read_settings(folder / "config.json", name)
    kind = _check_settings(settings, name)
    parts = _weight_files(folder, name)
    transformers = import_transformers(name)
    weights = _read_weights(parts, name)
    with quiet_transformers():
        try:
            return _build(transformers, kind, settings, weights, name)
        except GaussprobeError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelFileError(
                f"{name}: transformers {transformers.__version__} cannot make a {printable(kind)} model "
                f"of it: {first_line(error)}"
            ) from error


def read_settings(path: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file, such as `config.json`.

    Raises:
        ModelFileError: if it is no JSON object, or absurdly large.
    """
    title = f"{name}: {path.name}"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_JSON:
            raise ModelFileError(f"{title} is no file of at most {_MAX_JSON:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{title} cannot be read: {first_line(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{title} is damaged, or not JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{title} holds {type(content).__name__!r}, not an object")
    return content


def import_transformers(name: str) -> Any:
    """The package transformers.

    Raises:
        MissingExtraError: if it is not installed.
        ModelFileError: if it cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise ModelFileError(f"{name}: transformers cannot be imported: {first_line(error)}") from error
        raise missing_extra(
            f"{name}: a Hugging Face directory", package="transformers", extra="huggingface"
        ) from error
    except Exception as error:
        raise ModelFileError(f"{name}: transformers cannot be imported: {first_line(error)}") from error
    return transformers


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No network, warnings, log lines or bars of transformers; its settings are put back afterwards."""
    from huggingface_hub import constants
    from transformers.utils import logging

    online, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(_SILENT)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_OFFLINE = online
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


# -- settings


def _check_settings(settings: dict[str, Any], name: str) -> str:
    """Refuse settings that ask for code or absurd sizes, and strike out what chooses kernels.

    Returns:
        The type of the model, taken out of the settings.
    """
    _walk(settings, name, "", 0)
    kind = settings.pop("model_type", None)
    if not isinstance(kind, str) or not kind:
        raise ModelFileError(
            f"{name}: config.json names no model_type, so its architecture is unknown: {_CONVERT}"
        )
    return kind


def _walk(node: Any, name: str, key: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ModelFileError(f"{name}: config.json is nested absurdly deep")
    if isinstance(node, dict):
        if node.get("auto_map"):
            raise ModelFileError(
                f"{name}: needs remote code (auto_map in config.json), which is not run: {_CONVERT}"
            )
        for asked in _LOADING:
            if node.get(asked):
                raise ModelFileError(f"{name}: config.json asks for {asked}, which is not done: {_CONVERT}")
        if node.get("quantization_config"):
            raise ModelFileError(
                f"{name}: holds quantized weights (quantization_config): dequantize it first"
            )
        for struck in _STRUCK & node.keys():
            del node[struck]
        if "use_pretrained_backbone" in node:
            node["use_pretrained_backbone"] = False  # would be fetched
        for inner, value in node.items():
            _walk(value, name, str(inner), depth + 1)
    elif isinstance(node, list):
        for value in node:
            _walk(value, name, key, depth + 1)
    elif isinstance(node, int) and (
        (_COUNTS.search(key) and node > _MAX_LAYERS) or (_ITEMS.match(key) and node > _MAX_ITEMS)
    ):
        raise ModelFileError(f"{name}: config.json claims an absurd {printable(key)} ({node:,})")


# -- weights


def _weight_files(folder: Path, name: str) -> list[Path]:
    for title in WEIGHT_FILES:
        if (folder / title).is_file():
            return [folder / title]
        index = folder / f"{title}.index.json"
        if index.is_file():
            return _parts(folder, index, name)
    present = {each.name for each in folder.iterdir()}
    for title, what in _FOREIGN.items():
        if title in present:
            raise ModelFileError(f"{name}: holds {what}")
    other = sorted(
        each for each in present if each.endswith((".gguf", ".onnx", ".safetensors", ".bin", ".pt"))
    )
    found = f"; it has {listed(other)}" if other else ""
    raise ModelFileError(f"{name}: holds no {' or '.join(WEIGHT_FILES)}{found}")


def _parts(folder: Path, index: Path, name: str) -> list[Path]:
    named = read_settings(index, name).get("weight_map")
    titles = sorted({str(each) for each in named.values()}) if isinstance(named, dict) else []
    if not 0 < len(titles) <= _MAX_PARTS:
        raise ModelFileError(f"{name}: {index.name} names no files of weights")
    for title in titles:
        if Path(title).name != title or not title.endswith(_SUFFIXES):
            raise ModelFileError(
                f"{name}: {index.name} names {printable(title)!r}, which is no file of the directory"
            )
        if not (folder / title).is_file():
            raise ModelFileError(f"{name}: {printable(title)} is missing, which {index.name} names")
    return [folder / title for title in titles]


def _read_weights(paths: list[Path], name: str) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for path in paths:
        title = f"{name}: {printable(path.name)}"
        kind = sniff(path)
        if kind is FileKind.SAFETENSORS:
            part: Any = read_safetensors(path, title)
        elif kind in (FileKind.TORCH_ZIP, FileKind.TORCH_LEGACY):
            part = _read_bin(path, kind, title)
        else:
            hint = ": run git lfs pull" if kind is FileKind.LFS_POINTER else ", not a file of weights"
            raise ModelFileError(f"{title} is {kind}{hint}")
        weights.update(part)
    return weights


def _read_bin(path: Path, kind: FileKind, title: str) -> Mapping[str, torch.Tensor]:
    try:
        content = read_torch(path, kind)
    except UnknownGlobalsError as error:
        raise ModelFileError(
            f"{title} holds more than weights ({listed(error.names)}), and loading that runs code: "
            "save it as safetensors"
        ) from error
    except UnsafeContentError as error:
        raise ModelFileError(f"{title}: refused: {error}") from error
    except (DamagedFileError, OSError) as error:
        raise ModelFileError(f"{title} is not a whole torch.save file: {error}") from error
    if not is_state_dict(content):
        raise ModelFileError(f"{title} holds no state_dict")
    return {key: each for key, each in content.items() if torch.is_tensor(each)}


# -- the model


def _build(
    transformers: Any, kind: str, settings: dict[str, Any], weights: dict[str, torch.Tensor], name: str
) -> HuggingFaceModel:
    known = transformers.CONFIG_MAPPING
    if kind not in known:
        raise ModelFileError(
            f"{name}: its model_type {printable(kind)!r} is not known to transformers "
            f"{transformers.__version__}: update it, or {_CONVERT}"
        )
    config = transformers.AutoConfig.for_model(kind, **settings)
    if type(config) not in transformers.MODEL_MAPPING:
        raise ModelFileError(f"{name}: transformers has no AutoModel for {printable(kind)!r}: {_CONVERT}")
    architecture = transformers.MODEL_MAPPING[type(config)]
    if isinstance(architecture, tuple | list):
        wanted = settings.get("architectures") or ()
        architecture = next((each for each in architecture if each.__name__ in wanted), architecture[0])
    _check_size(architecture, config, weights, name)
    total = len(weights)
    # Mismatched sizes are ignored there to be told here, with their names.
    module, info = architecture.from_pretrained(
        None, config=config, state_dict=weights, output_loading_info=True, ignore_mismatched_sizes=True
    )
    missing, unused = (sorted(info.get(key) or ()) for key in ("missing_keys", "unexpected_keys"))
    mismatched = info.get("mismatched_keys") or ()
    if mismatched:
        first = sorted(str(each[0] if isinstance(each, tuple) else each) for each in mismatched)[0]
        raise ModelFileError(
            f"{name}: {len(mismatched)} weights have other shapes than config.json says; "
            f"the first: {printable(first)}"
        )
    held = module.state_dict()
    if held and len(missing) >= len(held):
        raise ModelFileError(
            f"{name}: none of its {total} weights is named as {architecture.__name__} needs\n"
            f"missing: {listed(missing, shown=5)}; unexpected: {listed(unused, shown=5)}"
        )
    notes = []
    named = [str(each) for each in settings.get("architectures") or ()]
    if named and architecture.__name__ not in named:
        notes.append(f"loaded as {architecture.__name__}, without the head of {listed(named)}")
    if missing:
        notes.append(
            f"RANDOM WEIGHTS: {len(missing)} of the model's {len(held)} weights are not in the files and "
            f"were drawn at random; do not report sites that depend on them: {listed(missing, shown=5)}"
        )
    if unused:
        notes.append(
            f"{len(unused)} weights in the files belong to no part of it and were not used: "
            f"{listed(unused, shown=5)}"
        )
    return HuggingFaceModel(module=module.eval(), notes=tuple(notes))


def _check_size(architecture: Any, config: Any, weights: dict[str, torch.Tensor], name: str) -> None:
    """Refuse settings of a model many times larger than its files, before any memory is taken."""
    with torch.device("meta"):
        twin = architecture(deepcopy(config))
    needed = sum(each.numel() for each in (*twin.parameters(), *twin.buffers()))
    held = sum(each.numel() for each in weights.values())
    if needed > 2 * held + _ALLOWANCE:
        raise ModelFileError(
            f"{name}: config.json describes {needed:,} numbers, and its files hold {held:,}: "
            "do they belong together?"
        )
