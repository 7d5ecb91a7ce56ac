"""How Gaussian the units of a layer are within single minibatches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gaussprobe import capture as captures
from gaussprobe import models, passes, pictures, stats
from gaussprobe.capture import reading, sampling
from gaussprobe.capture.plan import Batch
from gaussprobe.errors import (
    CaptureError,
    ConstantSampleWarning,
    DataError,
    GaussprobeWarning,
    NonFiniteSampleWarning,
    TooFewSamplesWarning,
)
from gaussprobe.measured import MinibatchR2, Quantiles
from gaussprobe.measures import opened
from gaussprobe.measures.opened import Opened
from gaussprobe.stats.effects import MINIMUM
from gaussprobe.stats.ordered import order
from gaussprobe.types import Mode, Site

Floats: TypeAlias = "npt.NDArray[np.float64]"

# Values of a unit in a minibatch: four times as many move R^2 of a normal law by .00002, of an exponential
# one by .002.
MOST_VALUES = 2**16
_POINTS = 64
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def minibatch_qq_r2(
    model: nn.Module | str | Path,
    batches: Any,
    *,
    channels: int = 20,
    n_batches: int = 10,
    batch_size: int | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    mode: Mode = "eval",
    shown: int = 4,
    seed: int = 0,
) -> tuple[MinibatchR2, ...]:
    """R^2 of the Q-Q plots of single channels in single minibatches, averaged, for each site.

    `R^2 = corr(x_(i), m_i)^2` over all values of a channel in a minibatch, examples and positions alike, with
    the normal scores m_i of `gaussprobe.stats.qq_r2`: that of the line of best fit through the Q-Q plot.

    Null hypothesis: none; an estimate. Positions of one example are dependent, and n differs from layer to
    layer: R^2 says how straight the plot is, not how sure that is. `gaussprobe.scan` says that.

    Args:
        model: a module, or what else `gaussprobe.scan` opens; it is left as it was found.
        batches: as `gaussprobe.scan` takes them.
        channels: units of each site, random ones where there are more, which depend on the seed and on their
            number alone: the same in every minibatch, and in every model of one architecture.
        n_batches: minibatches; the first ones, fewer if there are fewer.
        batch_size: of data sets that have to be cut, None for 128.
        include, exclude: shell-style patterns of site names.
        mode: `"eval"`, or `"train"` to see what training-mode normalization gives.
        shown: units whose Q-Q plot in the first minibatch is kept, the first of those drawn.
        seed: of the units and of whatever the model draws while it runs.

    Returns:
        One record for each site, in execution order. Where a channel has more than 65,536 values in a
        minibatch, as many random positions of each example are taken as stay below that. Padding is left out.
        Constant channels, NaN or infinite values, and fewer than 3 values have NaN, are left out of the mean,
        and are told of in a warning that names the site.

    Raises:
        ValueError: for an argument out of its range.
        ModelFileError, FactoryError, DataError: if the model or the data cannot be had.
        ForwardError: if the model's forward raises.
        SelectionError: if `include` and `exclude` leave nothing.
        CaptureError: if nothing was captured.

    Reference:
        Eftekhari & Papyan (2025), arXiv:2505.00685, figures 5 and 6.
    """
    opened.check(mode, seed, channels=(channels, 1), n_batches=(n_batches, 1), shown=(shown, 0))
    found: list[dict[str, Plots]] = []
    with opened.opened(model, batches, batch_size=batch_size, seed=seed) as subject:
        for draw, batch in enumerate(islice(subject.inputs.batches, n_batches)):
            plan = captures.Plan(seed=seed, max_units=channels, draw=draw)
            values = _pass(subject, batch, plan, mode, include, exclude)
            found.append({name: plots(one, shown=0 if draw else shown) for name, one in values.items()})
    if not found:
        raise DataError("the data has no batches: nothing was run")
    names = dict.fromkeys(name for one in found for name in one)
    return tuple(averaged(name, [one.get(name) for one in found]) for name in names)


# -- what passes


@dataclass(frozen=True, kw_only=True)
class UnitValues:
    """Values of some units of a site in one minibatch.

    Args:
        units: their indices.
        values: `(units, n)`.
    """

    units: tuple[int, ...]
    values: torch.Tensor


class Keeper:
    """Keeps values of every tensor that a capture samples; handed to it as `plant`, it changes none.

    A capture by itself keeps a few positions of each example, for the sake of p-values.

    Args:
        plan: which units and positions.
    """

    def __init__(self, plan: captures.Plan) -> None:
        self.plan = plan
        self.kept: dict[str, UnitValues] = {}

    def __call__(self, site: Site, tensor: torch.Tensor, unit_dim: int, batch: Batch) -> torch.Tensor:
        """Keep values of one tensor; returns it as it came."""
        dense = tensor.dequantize() if tensor.is_quantized else tensor
        # Of all else the capture itself says why it cannot be read.
        if dense.layout == torch.strided and dense.dtype in _FLOATS and dense.ndim and dense.numel():
            self.kept[site.name] = taken(dense.detach(), unit_dim, batch, self.plan)
        return tensor


def _pass(
    subject: Opened,
    batch: Any,
    plan: captures.Plan,
    mode: Mode,
    include: str | Sequence[str] | None,
    exclude: str | Sequence[str] | None,
) -> dict[str, UnitValues]:
    """What passes the sites in one minibatch."""
    keeper = Keeper(plan)
    capture = captures.of(
        subject.module,
        # What the capture keeps is not looked at.
        plan=captures.Plan(seed=plan.seed, max_samples=1, max_units=1),
        include=passes.patterns(include),
        exclude=passes.patterns(exclude),
        plant=keeper,
    )
    inputs = replace(subject.inputs, batches=[batch], n_examples=None)
    passes.run(capture, subject.module, inputs, mode, passes.silent, models.Groups(None))
    if not plan.draw:
        opened.say_unread(capture)
    if not keeper.kept:
        raise CaptureError(passes.nothing_captured(subject.module, capture.not_captured()))
    return keeper.kept


def taken(tensor: torch.Tensor, unit_dim: int, batch: Batch, plan: captures.Plan) -> UnitValues:
    """Values of the units that a plan keeps, at all positions, or at as many as `MOST_VALUES` allow.

    Args:
        tensor: dense, of real floating-point numbers.
        unit_dim: dimension of its units.
        batch: the batch that is passing.
        plan: its seed and `max_units` decide on the units, its `row_seed` on the positions.
    """
    form = reading.form(tensor, unit_dim, batch, batch.dim, plan)
    units = sampling.unit_subset(plan.seed, form.num_features, plan.max_units)
    # In the order of memory: which value is whose does not matter, and jumps would take twice the time.
    places = torch.from_numpy(np.sort(_places(form, batch, plan))).to(tensor.device)
    flat = sampling.flat(tensor, form.span)
    values = torch.empty((len(form.units), len(places)), dtype=tensor.dtype, device=tensor.device)
    for row, unit in zip(values, form.units.tolist(), strict=True):
        torch.index_select(flat[unit:], 0, places, out=row)
    return UnitValues(
        units=tuple(range(form.num_features)) if units is None else tuple(units.tolist()),
        values=values.cpu(),
    )


def _places(form: reading.Form, batch: Batch, plan: captures.Plan) -> sampling.Indices:
    """Where the first unit of each position that is taken lies, `(n,)`."""
    grid, rows = form.axes.grid, np.arange(form.rows)
    mask = reading.padding(form, batch.mask)
    if mask is None:
        rows = _few(rows, plan)
        count = min(form.available, MOST_VALUES // len(rows))
        where = sampling.positions(plan.row_seed, rows, grid, count)
        return sampling.places(rows, where, form.strides).ravel()
    valid = mask.cpu().numpy()
    rows, at = np.nonzero(valid)
    if len(rows) > MOST_VALUES:
        rows = _few(np.flatnonzero(valid.any(axis=1)), plan)
        count = min(int(valid[rows].sum(axis=1).min()), MOST_VALUES // len(rows))
        at = sampling.valid_positions(plan.row_seed, rows, valid[rows], count)
    return sampling.places(rows, (at.reshape(len(rows), -1),), form.strides).ravel()


def _few(rows: sampling.Indices, plan: captures.Plan) -> sampling.Indices:
    """Those examples, random ones where they are more than values that are kept."""
    if len(rows) <= MOST_VALUES:
        return rows
    keys = sampling.row_keys(plan.row_seed, rows)
    return np.sort(rows[np.argsort(keys, kind="stable")[:MOST_VALUES]])


# -- what is made of it


@dataclass(frozen=True, kw_only=True)
class Plots:
    """Q-Q plots of some units of a site in one minibatch.

    Args:
        units: their indices.
        n_samples: values of each.
        qq_r2: `(units,)`, NaN where there is none.
        finite: `(units,)` whether all its values are.
        points: normal scores and sample quantiles of the first units, by their place among the units.
    """

    units: tuple[int, ...]
    n_samples: int
    qq_r2: Floats
    finite: npt.NDArray[np.bool_]
    points: dict[int, tuple[Floats, Floats]]


def plots(values: UnitValues, *, shown: int) -> Plots:
    """R^2 of each unit, and points of the Q-Q plots of the first."""
    x = values.values
    n = int(x.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaussprobeWarning)  # said in our words, of all minibatches at once
        r2 = stats.qq_r2(x, dim=1).numpy() if n else np.full(len(x), np.nan)
    drawn = [place for place in range(min(shown, len(x))) if not np.isnan(r2[place])]
    z = list(order(x[drawn].T).z.numpy()) if drawn else []
    return Plots(
        units=values.units,
        n_samples=n,
        qq_r2=r2,
        finite=np.array(
            [not np.isnan(r) or bool(one.isfinite().all()) for r, one in zip(r2, x, strict=True)]
        ),
        points={place: pictures.qq_points(one, most=_POINTS) for place, one in zip(drawn, z, strict=True)},
    )


def averaged(site: str, found: Sequence[Plots | None]) -> MinibatchR2:
    """The record of a site; warns of what is left out of the mean.

    Args:
        site: its name.
        found: of each minibatch, None where the site was not reached.
    """
    first = next(one for one in found if one is not None)
    # A site whose units are counted otherwise in another minibatch is not the same site there.
    same = [one if one is not None and one.units == first.units else None for one in found]
    there = [one for one in same if one is not None]
    if len(there) < len(same):
        opened.say(
            site, f"not reached, or of another size, in {len(same) - len(there)} of {len(same)} minibatches"
        )
    _say_left_out(site, there)
    nothing = np.full(len(first.units), np.nan)
    values = np.stack([nothing if one is None else one.qq_r2 for one in same])
    known = values[~np.isnan(values)]
    return MinibatchR2(
        site=site,
        qq_r2=float(known.mean()) if known.size else float("nan"),
        units=first.units,
        values=tuple(tuple(row) for row in values.tolist()),
        n_samples=first.n_samples,
        quantiles=tuple(
            Quantiles(
                site=site,
                unit=first.units[place],
                qq_r2=float(first.qq_r2[place]),
                normal=tuple(normal.tolist()),
                sample=tuple(sample.tolist()),
            )
            for place, (normal, sample) in first.points.items()
        ),
    )


def _say_left_out(site: str, found: Sequence[Plots]) -> None:
    total = sum(len(one.units) for one in found)
    few = sum(len(one.units) for one in found if one.n_samples < MINIMUM)
    enough = [one for one in found if one.n_samples >= MINIMUM]
    broken = sum(int((~one.finite).sum()) for one in enough)
    constant = sum(int((np.isnan(one.qq_r2) & one.finite).sum()) for one in enough)
    for count, what, category in (
        (few, f"have fewer than {MINIMUM} values", TooFewSamplesWarning),
        (broken, "have NaN or infinite values", NonFiniteSampleWarning),
        (constant, "are of constant values", ConstantSampleWarning),
    ):
        if count:
            opened.say(site, f"{count} of {total} Q-Q plots {what}: left out of the mean", category)
