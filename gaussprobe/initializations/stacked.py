"""Samples of many networks, one row of each, brought together site by site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from gaussprobe.capture import FrontEnd
from gaussprobe.capture.layout import IF_MISREAD
from gaussprobe.types import KINDS, CaptureRecord, Kind, NonFinite, NotCaptured, Samples, Site

_NAMED = 6
_REPEATED = (
    "{} of {} networks have the weights of an earlier one and are dependent: intervals leave out those "
    "that are alike together, and there are no p-values"
)


@dataclass(kw_only=True)
class _Rows:
    """What is kept of one site: one row of each network that has it alike."""

    site: Site
    like: Samples  # of the first network that has it
    grid: tuple[int, ...]
    values: torch.Tensor
    draws: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    kinds: set[Kind] = field(default_factory=set)
    caveats: dict[str, None] = field(default_factory=dict)
    nan: int = 0
    inf: int = 0
    total: int = 0
    bad: torch.Tensor | None = None
    broken: list[int] = field(default_factory=list)

    def differs(self, other: Samples, grid: tuple[int, ...]) -> str | None:
        """Why samples of another network are not of the same site, None when they are."""
        units, known = other.sampling.num_features, self.like.sampling.num_features
        if units != known:
            return f"it had {units:,} units, not {known:,} as before"
        if grid != self.grid:
            return f"it had {_shape(grid)} positions, not {_shape(self.grid)} as before"
        return None

    def put(self, draw: int, owner: int, one: Samples, bad: torch.Tensor | None) -> None:
        """Take the row of a network in."""
        row = one.values[0]
        if row.dtype != self.values.dtype:
            self.values = self.values.to(torch.promote_types(row.dtype, self.values.dtype))
        self.values[len(self.draws)] = row
        self.draws.append(draw)
        self.owners.append(owner)
        self.kinds |= set(one.site.kinds)
        self.caveats |= dict.fromkeys(one.sampling.caveats)
        self.nan, self.inf = self.nan + one.nonfinite.nan, self.inf + one.nonfinite.inf
        self.total += one.nonfinite.total
        if bad is not None:
            self.bad = bad if self.bad is None else self.bad | bad
            self.broken.append(draw)


class Stack:
    """Rows of all sites over networks: one position of one example in each.

    Args:
        draws: how many networks there will be.
    """

    def __init__(self, draws: int) -> None:
        self.draws = draws
        self._rows: dict[str, _Rows] = {}
        self._records: dict[str, CaptureRecord] = {}
        self._lacking: dict[tuple[str, str], list[int]] = {}

    def add(self, draw: int, owner: int, capture: FrontEnd) -> None:
        """Take in what a capture saw of one network on one example.

        Args:
            draw: of the network.
            owner: the first draw with the same weights.
            capture: of a plan for one sample.
        """
        for one in capture.samples():
            name = one.site.name
            seen, rows = capture.sites[name], self._rows.get(name)
            if rows is None:
                values = one.values.new_empty((self.draws, one.values.shape[1]))
                rows = _Rows(site=one.site, like=one, grid=seen.grid, values=values)
                self._rows[name] = rows
            reason = rows.differs(one, seen.grid)
            if reason is None:
                rows.put(draw, owner, one, seen.nonfinite_units)
            else:
                self._lacking.setdefault((name, reason), []).append(draw)
        for missing in capture.not_captured():
            self._lacking.setdefault((missing.site, missing.reason), []).append(draw)
        for record in capture.records():
            known = self._records.get(record.site)
            self._records[record.site] = record if known is None else _joined(known, record)

    def samples(self) -> list[Samples]:
        """Samples of every site, as the networks came."""
        return [self._samples(rows) for rows in self._rows.values() if rows.draws]

    def records(self) -> list[CaptureRecord]:
        """What happened at every site, over all networks."""
        return list(self._records.values())

    def not_captured(self) -> list[NotCaptured]:
        """Sites that a network lacks, or has otherwise than those before it, with the reason."""
        lacking = {key: list(draws) for key, draws in self._lacking.items()}
        for name, rows in self._rows.items():
            told = {draw for (site, _), draws in lacking.items() if site == name for draw in draws}
            absent = sorted(set(range(self.draws)) - set(rows.draws) - told)
            if absent:
                lacking.setdefault((name, "there was no such site"), []).extend(absent)
        return [
            NotCaptured(site=name, reason=reason if len(draws) == self.draws else self._of(draws) + reason)
            for (name, reason), draws in lacking.items()
        ]

    @property
    def uneven(self) -> list[str]:
        """Sites that only some of the networks have alike."""
        return [name for name, rows in self._rows.items() if len(rows.draws) < self.draws]

    def _samples(self, rows: _Rows) -> Samples:
        count, owners = len(rows.draws), np.asarray(rows.owners, dtype=np.int64)
        repeats = count - len(np.unique(owners))
        caveats = [caveat.removesuffix(IF_MISREAD) for caveat in rows.caveats]
        if rows.grid:
            caveats.append(_position(rows))
        if count < self.draws:
            caveats.append(f"{count:,} of {self.draws:,} networks have this site; see what was not captured")
        if repeats:
            caveats.append(_REPEATED.format(f"{repeats:,}", f"{count:,}"))
        if rows.broken:
            caveats.append(f"NaN or infinity {self._of(rows.broken)[:-2]}")
        return Samples(
            site=replace(rows.site, kinds=tuple(kind for kind in KINDS if kind in rows.kinds)),
            step=0,
            values=rows.values[:count],
            examples=owners,
            n_seen=count,
            sampling=replace(rows.like.sampling, n_examples=count, caveats=tuple(caveats)),
            nonfinite=NonFinite(
                nan=rows.nan,
                inf=rows.inf,
                total=rows.total,
                units=0 if rows.bad is None else int(rows.bad.sum()),
            ),
            # However its dimensions were read, a row is of a network of its own.
            independent=not repeats,
            grouped=True,
        )

    def _of(self, draws: Sequence[int]) -> str:
        """Which of the networks, before what is said of them."""
        some = ", ".join(map(str, draws[:_NAMED])) + (", ..." if len(draws) > _NAMED else "")
        return f"in {len(draws):,} of {self.draws:,} networks (draw{'' if len(draws) == 1 else 's'} {some}): "


def _position(rows: _Rows) -> str:
    """Which position the values are of.

    It is one and the same in every network. Where zeros are padded around an image the variance of a unit
    differs from pixel to pixel: a pixel drawn anew each time would give a mixture of normal laws of several
    variances, which is heavy-tailed, where each of them is normal. The middle one lies deepest inside, and
    is the same whatever the seed, so that two seeds are two samples of one law.
    """
    available, whole = rows.like.sampling.positions_available, int(np.prod(rows.grid))
    if available < whole:
        return f"of {available:,} positions that are no padding the middle one, the same in every network"
    where = ", ".join(str(size // 2) for size in rows.grid)
    of = f"{_shape(rows.grid)} positions" if whole > 1 else "1 position"
    return f"of {of} the middle one ({where}), the same in every network"


def _shape(grid: Sequence[int]) -> str:
    return " x ".join(f"{size:,}" for size in grid) or "no"


def _joined(one: CaptureRecord, other: CaptureRecord) -> CaptureRecord:
    return replace(
        one,
        kind=tuple(kind for kind in KINDS if kind in one.kind or kind in other.kind),
        calls=one.calls + other.calls,
        sampled=one.sampled or other.sampled,
        positions_available=max(one.positions_available, other.positions_available),
        overwritten=one.overwritten + other.overwritten,
        recomputed=one.recomputed + other.recomputed,
    )
