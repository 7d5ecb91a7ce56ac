"""Lines of text in, batches of token ids out, by the tokenizer that lies beside a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussprobe.errors import DataError, ModelFileError
from gaussprobe.models import tokenprobe
from gaussprobe.models.batches import ForwardParameters, unwrapped
from gaussprobe.models.huggingface import import_transformers, quiet_transformers, read_settings
from gaussprobe.models.inputs import Inputs, checked_batch_size, describe
from gaussprobe.models.wording import first_line, printable

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
_SETTINGS = "tokenizer_config.json"
_DEFAULT_BATCH_SIZE = 32
_LONGEST = 2**20  # a tokenizer without a maximum says 10^30
_MAX_FILE = 2**30
_MAX_LINE = 2**18  # characters, before it is tokenised
# Seconds that a tokenizer is given to load, and characters it must do in each further one.
_PATIENCE = 4.5
_SLOWEST = 50_000
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def has_tokenizer(folder: Path | None) -> bool:
    """Whether a model's directory holds a tokenizer."""
    return folder is not None and any((folder / each).is_file() for each in TOKENIZER_FILES)


class TextBatches:
    """Batches of lines, tokenised one batch at a time and padded to the longest line of each.

    Args:
        lines: one example each.
        tokenizer: of the model.
        batch_size: lines per batch.
        longest: tokens after which a line is cut.
        keys: what of the tokenizer's output the model takes.
    """

    def __init__(
        self, lines: list[str], tokenizer: Any, batch_size: int, longest: int, keys: tuple[str, ...]
    ) -> None:
        self.lines = lines
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.longest = longest
        self.keys = keys

    def __len__(self) -> int:
        return -(-len(self.lines) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for start in range(0, len(self.lines), self.batch_size):
            encoded = _tokenised(
                self.tokenizer,
                self.lines[start : start + self.batch_size],
                padding=True,
                truncation=True,
                max_length=self.longest,
                return_tensors="pt",
            )
            yield {key: encoded[key] for key in self.keys if key in encoded}


def open_texts(
    path: Path, *, folder: Path, module: nn.Module, source: str, batch_size: int | None = None
) -> Inputs:
    """Batches of `input_ids` and `attention_mask` from the lines of a text file.

    Args:
        path: a UTF-8 text file, one example a line; empty lines are dropped.
        folder: the model's directory, with its tokenizer.
        module: the model.
        source: how messages name the file.
        batch_size: lines per batch, 32 when None.

    Returns:
        The inputs; notes say how many lines there are, and how many were dropped or cut. The share of
        padding depends on the batches: whoever walks them says it.

    Raises:
        DataError: if there is no line, or the tokenizer cannot be had.
        MissingExtraError: if transformers is not installed.
    """
    size = _DEFAULT_BATCH_SIZE if batch_size is None else checked_batch_size(batch_size)
    lines, empty = _lines(path, source)
    notes = []
    too_long = sum(len(line) > _MAX_LINE for line in lines)
    if too_long:
        notes.append(f"{too_long:,} of the lines were cut at {_MAX_LINE:,} characters")
        lines = [line[:_MAX_LINE] for line in lines]
    try_tokenizer(folder, lines)
    tokenizer = _tokenizer(folder)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise DataError(f"{folder}: its tokenizer knows no token to pad with: give pkg.mod:fn as --data")
        tokenizer.pad_token = tokenizer.eos_token
        notes.append("the tokenizer has no padding token: padded with its end-of-text token")
    takes = ForwardParameters(module)
    keys = tuple(
        key
        for key in ("input_ids", "attention_mask", "token_type_ids")
        if key in takes.keywords or (takes.any_keyword and key in tokenizer.model_input_names)
    )
    if "input_ids" not in keys:
        raise DataError(f"{source}: is text, and the model takes no input_ids but {takes.describe()}")
    longest = longest_line(module, tokenizer)
    lengths = [
        len(each) for part in tokenprobe.chunks(lines) for each in _tokenised(tokenizer, part)["input_ids"]
    ]
    size = min(size, len(lines))
    cut = sum(length > longest for length in lengths)
    parts = [f"{len(lines):,} lines of text, tokenised by the model's own tokenizer"]
    parts += [f"{empty:,} empty ones dropped"] if empty else []
    parts += [f"{cut:,} cut at {longest:,} tokens"] if cut else []
    said = ["; ".join(parts), *notes]
    return Inputs(
        batches=TextBatches(lines, tokenizer, size, longest, keys),
        n_examples=len(lines),
        description=describe(source, "text", n_examples=len(lines), batch_size=size, notes=said),
    )


def _tokenised(tokenizer: Callable[..., Any], lines: list[str], **options: Any) -> Any:
    """What a tokenizer makes of lines.

    Raises:
        DataError: whatever it raises.
    """
    try:
        with quiet_transformers():
            return tokenizer(lines, **options)
    except BaseException as error:
        # A panic of the library below is no Exception, and a Ctrl-C none either.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(f"the model's tokenizer fails on its lines: {first_line(error)}") from error


def try_tokenizer(folder: Path, lines: list[str], *, patience: float = _PATIENCE) -> None:
    """Refuse a tokenizer that fails on the lines, takes for ever or gigabytes; in a process of its own.

    Args:
        folder: the model's directory; only a `tokenizer.json` is tried, other files hold no patterns.
        lines: to be tokenised.
        patience: seconds for loading it; each line adds to them.

    Raises:
        DataError: saying what it did.
    """
    path, spec = (folder / "tokenizer.json").absolute(), find_spec("tokenizers")
    if not path.is_file() or spec is None or spec.origin is None or not sys.executable:
        return
    packages = str(Path(spec.origin).parents[1])
    limit = patience + sum(map(len, lines)) / _SLOWEST
    try:
        done = subprocess.run(  # noqa: S603 (this Python, and a script of this package)
            [sys.executable, "-I", str(Path(tokenprobe.__file__).absolute()), packages, str(path)],
            input=json.dumps(lines),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "true"},
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"{folder}: its tokenizer does not come to an end on this text ({limit:.0f} s): "
            "give pkg.mod:fn as --data"
        ) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        why = printable(said[-1], limit=200) if done.returncode > 0 and said else "takes too much memory"
        raise DataError(f"{folder}: its tokenizer cannot be used: {why}")


def _lines(path: Path, source: str) -> tuple[list[str], int]:
    try:
        if path.stat().st_size > _MAX_FILE:
            raise DataError(f"{source}: is larger than {_MAX_FILE:,} bytes: give a part of it")
        found = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: is not UTF-8 text") from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {first_line(error)}") from error
    lines = [line for line in found if line.strip()]
    if not lines:
        raise DataError(f"{source}: holds no line of text")
    return lines, len(found) - len(lines)


def _tokenizer(folder: Path) -> Any:
    name = str(folder)
    transformers = import_transformers(name)
    try:
        settings = read_settings(folder / _SETTINGS, name) if (folder / _SETTINGS).is_file() else {}
    except ModelFileError as error:
        raise DataError(str(error)) from error
    if settings.get("auto_map"):
        raise DataError(
            f"{name}: its tokenizer needs remote code (auto_map in {_SETTINGS}), which is not run: "
            "give pkg.mod:fn as --data"
        )
    try:
        with quiet_transformers():
            return transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except (Exception, SystemExit) as error:
        raise DataError(f"{name}: its tokenizer cannot be loaded: {first_line(error)}") from error


def longest_line(module: nn.Module, tokenizer: Any) -> int:
    """Tokens a model takes at most: of its tokenizer's maximum and its table of positions the smaller."""
    most = [_LONGEST]
    if isinstance(tokenizer.model_max_length, int) and tokenizer.model_max_length > 0:
        most.append(tokenizer.model_max_length)
    config = getattr(unwrapped(module), "config", None)
    for key in _POSITIONS:
        value = getattr(config, key, None)
        if type(value) is int and value > 0:
            most.append(value)
    for name, child in unwrapped(module).named_modules():
        # Some models begin to count positions after the padding token's number.
        if isinstance(child, nn.Embedding) and name.endswith("position_embeddings"):
            reserved = 0 if child.padding_idx is None else child.padding_idx + 1
            most.append(max(1, child.num_embeddings - reserved))
    return min(most)
