"""What comes with a batch besides the model's inputs: groups of dependent examples, and padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gaussprobe.errors import DataError
from gaussprobe.models.batches import ForwardParameters

GROUP_NAMES = ("groups", "group")
# Masks of (examples, positions), and the value that marks data in them.
_MASKS = {"attention_mask": True, "src_key_padding_mask": False, "key_padding_mask": False}


class Groups:
    """Labels of groups as whole numbers, the same for the same label over all batches.

    Args:
        labels: one for each example of all batches, in their order; None where batches bring their own.

    Raises:
        ValueError: if `labels` is no sequence of labels.
    """

    def __init__(self, labels: Any = None) -> None:
        self._codes: dict[Any, int] = {}
        self._labels = None if labels is None else self._coded(labels, "groups", ValueError)
        self._used = 0

    def of(self, brought: Any, size: int) -> npt.NDArray[np.int64] | None:
        """Group of each example of the next batch, None where nothing is known of groups.

        Args:
            brought: labels that came with the batch, or None.
            size: examples in the batch.

        Raises:
            DataError: if there are not as many labels as examples.
        """
        if self._labels is not None:
            codes = self._labels[self._used : self._used + size]
            self._used += size
            what = f"groups has {len(self._labels)} labels, the data more than {self._used - size} examples"
        elif brought is not None:
            codes = self._coded(brought, "a batch's groups", DataError)
            what = f"a batch's groups has {len(codes)} labels for {size} examples"
        else:
            if self._codes:
                raise DataError("some batches bring groups and some do not: give groups with every batch")
            return None
        if len(codes) != size:
            raise DataError(what)
        return codes

    def check_used(self) -> None:
        """Refuse labels that no example came for.

        Raises:
            DataError: if there are any.
        """
        if self._labels is not None and self._used != len(self._labels):
            raise DataError(f"groups has {len(self._labels)} labels, the data {self._used} examples")

    def _coded(self, labels: Any, what: str, error: type[Exception]) -> npt.NDArray[np.int64]:
        plain = labels.tolist() if isinstance(labels, torch.Tensor | np.ndarray) else labels
        if isinstance(plain, str | bytes | Mapping) or not isinstance(plain, Iterable):
            came = type(labels).__name__
            raise error(f"{what} must be a sequence of one label for each example; got {came}")
        try:
            codes = [self._codes.setdefault(label, len(self._codes)) for label in plain]
        except TypeError:
            raise error(f"{what} must hold one plain label for each example") from None
        return np.asarray(codes, dtype=np.int64)


def split_groups(batch: Any) -> tuple[Any, Any]:
    """A batch without the labels of groups that came with it, and these, or None."""
    if isinstance(batch, Mapping):
        for name in GROUP_NAMES:
            if name in batch:
                return {key: value for key, value in batch.items() if key != name}, batch[name]
    return batch, None


def data_mask(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """Which positions of each example are data, from the mask that the model is called with.

    Args:
        module: the model.
        args, kwargs: what it is called with.

    Returns:
        `(n_examples, positions)` bool, or None without such a mask or where it marks no padding.
    """
    named = dict(zip(ForwardParameters(module).positional, args, strict=False)) | dict(kwargs)
    for name, keeps in _MASKS.items():
        mask = named.get(name)
        if isinstance(mask, torch.Tensor) and mask.ndim == 2:
            kept = (mask != 0) == keeps
            return None if bool(kept.all()) else kept
    return None
