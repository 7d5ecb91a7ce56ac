"""What all ways to watch a model run have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

import torch

from gaussprobe.capture.accumulate import SiteAccumulator
from gaussprobe.capture.book import Plant, Selection, SiteBook
from gaussprobe.capture.plan import Plan
from gaussprobe.capture.sampling import Indices
from gaussprobe.types import CaptureRecord, NotCaptured, Samples


class Options(TypedDict, total=False):
    """What every capture takes besides the model, by keyword; see `FrontEnd`."""

    plan: Plan | None
    include: Sequence[str] | None
    exclude: Sequence[str] | None
    plant: Plant | None


class FrontEnd(ABC):
    """Samples of every site of a model.

    ```
    with Capture(model) as capture:
        for batch in batches:
            with capture.forward(n_examples=len(batch)):
                model(batch)
    capture.samples()
    ```

    Args:
        model: nothing is written onto it, and its outputs stay bit-identical.
        plan: how to sample.
        include: shell-style patterns of site names, None for all.
        exclude: patterns of site names to leave out.
        plant: see `SiteBook`.
    """

    def __init__(self, model: Any, **options: Unpack[Options]) -> None:
        self.model = model
        self.include, self.exclude = options.get("include"), options.get("exclude")
        wanted = Selection(include=self.include, exclude=self.exclude)
        self.book = SiteBook(options.get("plan") or Plan(), wanted, plant=options.get("plant"))

    @property
    def sites(self) -> dict[str, SiteAccumulator]:
        """Every site seen so far, by name, in execution order."""
        return self.book.sites

    @property
    def last_site(self) -> str | None:
        """The site that was reached last."""
        return self.book.last_site

    @abstractmethod
    def __enter__(self) -> Self:
        """Begin to watch."""

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the model as it was, also after an error."""

    @contextmanager
    def forward(
        self,
        n_examples: int,
        batch_dim: int = 0,
        *,
        mask: torch.Tensor | None = None,
        groups: Indices | None = None,
    ) -> Iterator[None]:
        """Record what runs inside as one forward pass.

        Args:
            n_examples: examples in the batch.
            batch_dim: dimension they run along in the model's input.
            mask: `(n_examples, positions)` bool, False where a position is padding; None where none is.
            groups: `(n_examples,)` which examples belong together; None for none.
        """
        self.book.begin(self.book.next_batch(n_examples, batch_dim, mask=mask, groups=groups))
        try:
            with self._watching():
                yield
        finally:
            self.book.end()

    @abstractmethod
    def _watching(self) -> AbstractContextManager[None]:
        """Watch one forward pass."""

    def samples(self, step: int = 0) -> list[Samples]:
        """Samples of every selected site, in execution order."""
        return self.book.samples(step)

    def records(self) -> list[CaptureRecord]:
        """What happened at every site that was seen, in execution order."""
        return self.book.records()

    def not_captured(self) -> list[NotCaptured]:
        """Sites that were expected, or seen, and have no samples, with the reason."""
        missing = [*self.book.failures(), *self._missing()]
        return [each for each in missing if self.book.selects(each.site)]

    @abstractmethod
    def _missing(self) -> Iterator[NotCaptured]:
        """Sites that the model should have and that were not seen."""
