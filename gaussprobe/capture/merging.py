"""Samples that several processes took of parts of one batch: as if one had taken them of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from gaussprobe.capture import sampling
from gaussprobe.capture.accumulate import positions_caveat
from gaussprobe.capture.plan import Plan
from gaussprobe.types import KINDS, NonFinite, Samples

_OTHER_WIDTH = "its number of units differs between processes: only those with the first's were merged"


def merge(parts: Sequence[Samples], plan: Plan) -> Samples:
    """Samples of one site in one step, of all processes that have any.

    Rows are kept by their random keys, which depend on the number of an example among all: the union's
    smallest are those of the whole. Further positions of each example stay where all parts kept them and
    there is room.

    Args:
        parts: of one site, at least one.
        plan: they were sampled by.

    Returns:
        The samples, with counts summed.
    """
    width = parts[0].values.shape[1]
    same = [part for part in parts if part.values.shape[1] == width]
    first, each = same[0], min(part.sampling.positions_per_example for part in same)
    n_rows = sum(part.sampling.n_examples for part in same)
    each = max(1, min(each, plan.max_samples // n_rows))
    blocks = [_blocks(part, each) for part in same]
    values = torch.cat([values for values, _ in blocks], dim=1)
    examples = np.concatenate([owners for _, owners in blocks])
    kept = np.argsort(sampling.row_keys(plan.row_seed, examples), kind="stable")[: plan.max_samples]
    kept = kept[np.argsort(examples[kept], kind="stable")]
    caveats = dict.fromkeys(
        caveat
        for part in same
        for caveat in part.sampling.caveats
        if caveat != positions_caveat(part.sampling.n_examples, part.sampling.positions_per_example)
    )
    if each > 1:
        caveats[positions_caveat(n_rows, each)] = None
    if len(same) < len(parts):
        caveats[_OTHER_WIDTH] = None
    kinds = {kind for part in same for kind in part.site.kinds}
    return replace(
        first,
        site=replace(first.site, kinds=tuple(kind for kind in KINDS if kind in kinds)),
        values=values[:, torch.from_numpy(kept)].flatten(0, 1),
        examples=np.tile(examples[kept], each),
        n_seen=sum(part.n_seen for part in same),
        sampling=replace(
            first.sampling,
            n_examples=n_rows,
            positions_available=max(part.sampling.positions_available for part in same),
            positions_per_example=each,
            caveats=tuple(caveats),
        ),
        nonfinite=NonFinite(
            nan=sum(part.nonfinite.nan for part in same),
            inf=sum(part.nonfinite.inf for part in same),
            total=sum(part.nonfinite.total for part in same),
            units=max(part.nonfinite.units for part in same),
        ),
        independent=all(part.independent for part in same),
        grouped=all(part.grouped for part in same),
    )


def _blocks(part: Samples, count: int) -> tuple[torch.Tensor, sampling.Indices]:
    """The first positions of each example, `(count, rows, units)`, and whose they are, `(rows,)`."""
    per_example = part.sampling.positions_per_example
    rows = part.n_samples // per_example
    return part.values.view(per_example, rows, -1)[:count], part.examples[:rows]
