"""Saved activations as sites: what a file of tensors holds is sampled as if it had just passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaussprobe.capture.accumulate import SiteAccumulator
from gaussprobe.capture.book import Selection, SiteBook
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.errors import DataError
from gaussprobe.models import Activations, Groups
from gaussprobe.models.activations import layout_of, unit_dim
from gaussprobe.models.inputs import describe
from gaussprobe.types import CaptureRecord, NotCaptured, Samples

_SCORED = (
    "SAVED ACTIVATIONS: the file's tensors were scored as they are, without a model; what they are is "
    "unknown, so each is taken as a pre-activation"
)


class SavedSites:
    """The sites of a file of activations, one for each tensor; it offers what a finished capture does.

    Args:
        saved: the tensors.
        plan: how to sample.
        include: shell-style patterns of names to keep, None for all.
        exclude: patterns of names to leave out.
        groups: a label for each example, None for none.

    Raises:
        DataError: if there are labels, and not as many as examples in every tensor.
    """

    def __init__(
        self,
        saved: Activations,
        *,
        plan: Plan,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        groups: Any = None,
    ) -> None:
        self.include, self.exclude = include, exclude
        self._book = SiteBook(plan, Selection(include=include, exclude=exclude))
        lengths = [len(tensor) if tensor.dim() else 0 for tensor in saved.tensors.values()]
        self.n_examples = max(lengths)
        codes = None if groups is None else Groups(groups).of(None, self.n_examples)
        if codes is not None and min(lengths) != self.n_examples:
            have = ", ".join(map(str, sorted(set(lengths))))
            raise DataError(f"{saved.name}: groups needs tensors of one length; they have {have} examples")
        read: dict[str, list[str]] = {}
        for (name, tensor), length in zip(saved.tensors.items(), lengths, strict=True):
            # Each tensor is a pass of its own over the same examples; their groups are told once.
            self._book.begin(Batch(first=0, n_examples=length, groups=codes))
            self._book.see_output(name, None, "preactivation", tensor, unit_dim(tensor))
            self._book.end()
            codes = None
            read.setdefault(layout_of(tensor), []).append(name)
        notes = [_SCORED, *(f"{_some(names)}: read as {layout}" for layout, names in read.items())]
        self.description = describe(
            saved.name,
            "activations",
            n_examples=self.n_examples,
            batch_size=None,
            notes=[*notes, *saved.notes],
        )

    @property
    def sites(self) -> dict[str, SiteAccumulator]:
        return self._book.sites

    def samples(self, step: int = 0) -> list[Samples]:
        """Samples of every selected site, in the file's order."""
        return self._book.samples(step)

    def records(self) -> list[CaptureRecord]:
        """What happened at every site."""
        return self._book.records()

    def not_captured(self) -> list[NotCaptured]:
        """Tensors that could not be read, with the reason."""
        return self._book.failures()


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
