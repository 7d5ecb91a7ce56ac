"""A watched run that is kept in memory, for want of a file; it takes records as a `Journal` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gaussprobe.records import Event, Metric, SiteRecord
from gaussprobe.types import CaptureRecord, LayerScore, Metadata, NotCaptured, Run


@dataclass(kw_only=True)
class Memory:
    """Records in the order they were made; memory grows with every one."""

    last_step: int | None = None
    _scores: list[LayerScore] = field(default_factory=list)
    _series: list[SiteRecord] = field(default_factory=list)
    _metrics: list[Metric] = field(default_factory=list)
    _events: list[Event] = field(default_factory=list)
    _warnings: list[str] = field(default_factory=list)
    _capture: tuple[CaptureRecord, ...] = ()
    _not_captured: tuple[NotCaptured, ...] = ()

    def append(
        self,
        *,
        step: int,
        scores: Sequence[LayerScore],
        series: Sequence[SiteRecord],
        metrics: Sequence[Metric],
        events: Sequence[Event],
        warnings: Sequence[str],
        capture: Sequence[CaptureRecord],
        not_captured: Sequence[NotCaptured],
    ) -> None:
        """Take one recorded step in; what was captured and what not replaces what was known before."""
        self.last_step = step
        self._scores += scores
        self._series += series
        self._metrics += metrics
        self._events += events
        self._warnings += warnings
        self._capture, self._not_captured = tuple(capture), tuple(not_captured)

    def close(self, *, metadata: Metadata) -> None:
        """Nothing is left to do."""

    def run(self, metadata: Metadata) -> Run:
        """The run so far."""
        return Run(
            metadata=metadata,
            scores=tuple(self._scores),
            not_captured=self._not_captured,
            capture=self._capture,
            warnings=tuple(self._warnings),
            series=tuple(self._series),
            metrics=tuple(self._metrics),
            events=tuple(self._events),
        )
