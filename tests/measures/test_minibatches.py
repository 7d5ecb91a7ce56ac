"""Q-Q R^2 of channels within minibatches."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import gaussprobe as gp
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.errors import (
    CaptureError,
    ConstantSampleWarning,
    DataError,
    GaussprobeWarning,
    NonFiniteSampleWarning,
    SelectionError,
    TooFewSamplesWarning,
)
from gaussprobe.measures import minibatches
from gaussprobe.measures.minibatches import minibatch_qq_r2, taken
from gaussprobe.measures.pairs import channel_pairs


def cnn() -> nn.Sequential:
    """Two convolutions with normalization, and a head."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, stride=2),
        nn.Flatten(),
        nn.Linear(36, 5),
    )


def images(n: int) -> torch.Tensor:
    """Skewed and alike within each image."""
    return torch.randn(n, 3, 10, 10).exp() + 2 * torch.rand(n, 3, 1, 1)


def straightness(x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """R^2 of scipy's line of best fit through the Q-Q plot, with Blom's scores."""
    n = len(x)
    scores = stats.norm.ppf((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    return float(stats.linregress(scores, np.sort(x)).rvalue ** 2)


def looped(model: nn.Sequential, batches: list[torch.Tensor]) -> dict[str, list[list[float]]]:
    """R^2 of every channel of every layer in every batch, one by one."""
    found: dict[str, list[list[float]]] = {}
    with torch.no_grad():
        for batch in batches:
            for name, layer in model.named_children():
                batch = layer(batch)
                if not isinstance(layer, nn.Flatten):
                    channels = batch.movedim(1, 0).flatten(1).double().numpy()
                    found.setdefault(name, []).append([straightness(one) for one in channels])
    return found


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_is_that_of_a_loop(mode: str) -> None:
    """All values of a channel in a minibatch, channel by channel, and the mean of all."""
    model, x = cnn(), images(24)
    found = minibatch_qq_r2(model, x, batch_size=8, mode=mode)  # type: ignore[arg-type]
    model.train(mode == "train")
    expected = looped(model, list(x.split(8)))
    assert [one.site for one in found] == list(expected)
    for one in found:
        assert np.asarray(one.values) == pytest.approx(np.asarray(expected[one.site]), abs=2e-6)
        assert one.qq_r2 == pytest.approx(np.mean(expected[one.site]), abs=2e-6)
    assert [one.n_samples for one in found] == [8 * 64, 8 * 64, 8 * 64, 8 * 9, 8]
    assert [len(one.units) for one in found] == [6, 6, 6, 4, 5]


def test_training_mode_shows_what_training_gives() -> None:
    """Behind a nonlinearity batch statistics change R^2: the two modes differ there, and only there."""
    model, x = cnn(), images(16)
    evaluated, trained = (minibatch_qq_r2(model, x, batch_size=8, mode=mode) for mode in ("eval", "train"))  # type: ignore[arg-type]
    assert evaluated[1].qq_r2 == pytest.approx(trained[1].qq_r2, abs=1e-5)
    assert abs(evaluated[2].qq_r2 - trained[2].qq_r2) > 0.01


@pytest.mark.parametrize("law", ["norm", "expon", "uniform"])
def test_is_the_squared_correlation_that_others_draw(law: str) -> None:
    """scipy.stats.probplot, with Filliben's positions for Blom's, differs by less than .002 at n = 512."""
    x = getattr(stats, law).rvs(size=(512, 1), random_state=0)
    model = nn.Linear(1, 1).double()
    (found,) = minibatch_qq_r2(model, torch.from_numpy(x), batch_size=512)
    assert found.qq_r2 == pytest.approx(stats.probplot(x[:, 0])[1][2] ** 2, abs=2e-3)


def test_channels_are_those_of_the_architecture() -> None:
    """Models of other weights have the same random channels, in every minibatch; another seed has others."""
    x = torch.randn(30, 8)
    one, two, other = (
        minibatch_qq_r2(nn.Sequential(nn.Linear(8, 50)), x, channels=7, batch_size=10, seed=seed)[0]
        for seed in (0, 0, 1)
    )
    assert one.units == two.units != other.units
    assert len(set(one.units)) == 7
    assert max(one.units) > 7
    assert [len(row) for row in one.values] == [7, 7, 7]
    assert one.values != two.values


def test_chosen_channels_are_measured() -> None:
    """The number of a channel goes with its index: those of all channels, at the chosen ones."""
    model, x = nn.Sequential(nn.Linear(8, 50)), torch.randn(30, 8).exp()
    (some,), (every,) = (minibatch_qq_r2(model, x, channels=k, batch_size=10) for k in (7, 50))
    assert every.units == tuple(range(50))
    assert np.asarray(some.values) == pytest.approx(np.asarray(every.values)[:, list(some.units)], abs=1e-6)


def test_no_more_batches_than_wanted() -> None:
    """The first `n_batches` are run, no other is drawn; fewer where there are fewer."""
    drawn = []

    def batches() -> object:
        for i in range(5):
            drawn.append(i)
            yield torch.randn(10, 8)

    (found,) = minibatch_qq_r2(nn.Sequential(nn.Linear(8, 3)), batches(), n_batches=2)
    assert (len(found.values), len(drawn)) == (2, 2)
    (found,) = minibatch_qq_r2(nn.Sequential(nn.Linear(8, 3)), list(batches()), n_batches=20)  # type: ignore[call-overload]
    assert len(found.values) == 5


# -- the values


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 30),
    side=st.integers(1, 6),
    units=st.integers(1, 6),
    most=st.integers(1, 400),
    last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_values_are_a_balanced_part(
    rows: int, side: int, units: int, most: int, last: bool, seed: int
) -> None:
    """Distinct places, the same in every unit, as many of each example as fit; all where all fit."""
    place = torch.arange(rows * side * side, dtype=torch.float64).reshape(rows, 1, side, side)
    tensor = place + 1e4 * torch.arange(units)[:, None, None]
    if last:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minibatches, "MOST_VALUES", most)
        found = taken(tensor, 1, Batch(first=0, n_examples=rows), Plan(seed=seed, max_units=4))
    unit, where = np.divmod(found.values.numpy(), 1e4)
    assert (unit == np.asarray(found.units)[:, None]).all()
    assert (where == where[0]).all()
    examples, count = np.unique(where[0] // side**2, return_counts=True)
    assert len(set(where[0])) == len(where[0]) <= max(most, 1)
    assert len(examples) == min(rows, most)
    assert set(count) == {min(side**2, most // len(examples))}


def test_part_of_the_values_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of the values: each R^2 within .02, other places in each minibatch, and n says so."""
    model, x = nn.Sequential(nn.Conv2d(3, 4, 1)), torch.rand(40, 3, 32, 32)
    (every,) = minibatch_qq_r2(model, torch.cat([x, x]), batch_size=40)
    monkeypatch.setattr(minibatches, "MOST_VALUES", 2048)
    (part,) = minibatch_qq_r2(model, torch.cat([x, x]), batch_size=40)
    assert (every.n_samples, part.n_samples) == (40 * 1024, 40 * 51)
    assert every.values[0] == every.values[1]
    assert part.values[0] != part.values[1]
    assert np.asarray(part.values) == pytest.approx(np.asarray(every.values), abs=0.02)


class Padded(nn.Module):
    """A linear layer on sequences of which some positions are padding."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * attention_mask[..., None]


@pytest.mark.parametrize("most", [2**16, 40, 4])
def test_padding_is_left_out(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands at padded positions, R^2 is the same, with all values or some; n counts no padding."""
    monkeypatch.setattr(minibatches, "MOST_VALUES", most)
    model, x = Padded(), torch.randn(8, 12, 4).exp()
    mask = (torch.arange(12) < torch.tensor([12, 9, 5, 7, 0, 12, 6, 8])[:, None]).long()
    other = torch.where(mask[..., None] == 1, x, 1e4 * torch.randn_like(x))
    one, two = (minibatch_qq_r2(model, [{"x": given, "attention_mask": mask}])[0] for given in (x, other))
    assert one.values == two.values
    assert one.n_samples == {2**16: 59, 40: 35, 4: 4}[most]


# -- Q-Q plots


def test_quantiles_of_the_first_minibatch() -> None:
    """The first channels drawn: at most 64 points, order statistics at Blom's scores, extremes included."""
    model, x = nn.Sequential(nn.Linear(8, 30)), torch.randn(1200, 8).exp()
    (found,) = minibatch_qq_r2(model, x, channels=6, batch_size=400, shown=3)
    assert [one.unit for one in found.quantiles] == list(found.units[:3])
    for place, one in enumerate(found.quantiles):
        with torch.no_grad():
            values = np.sort(model(x[:400])[:, one.unit].double().numpy())
        values = (values - values.mean()) / values.std()
        assert one.site == "0"
        assert one.qq_r2 == found.values[0][place]
        assert len(one.normal) == len(one.sample) <= 64
        at = np.rint(stats.norm.cdf(one.normal) * 400.25 + 0.375).astype(int) - 1
        assert (at[0], at[-1]) == (0, 399)
        assert one.normal == pytest.approx(stats.norm.ppf((at + 1 - 0.375) / 400.25))
        assert one.sample == pytest.approx(values[at], abs=1e-5)


def test_quantiles_where_there_are_few() -> None:
    """None on request; of a constant channel none, and the next does not take its place."""
    model, x = nn.Sequential(nn.Linear(8, 5)), torch.randn(50, 8)
    assert minibatch_qq_r2(model, x, shown=0)[0].quantiles == ()
    assert len(minibatch_qq_r2(model, x, shown=99)[0].quantiles) == 5
    with torch.no_grad():
        model[0].weight[1] = 0
    with pytest.warns(ConstantSampleWarning):
        (found,) = minibatch_qq_r2(model, x, shown=3)
    assert [one.unit for one in found.quantiles] == [0, 2]


# -- what models and data do


def test_model_is_left_as_found() -> None:
    """Flags, buffers and generators are as before, in training mode too; noise has the seed's stream."""
    model, x = nn.Sequential(cnn(), nn.Dropout(0.5)).train(), images(16)
    model[0][1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    one, two = (minibatch_qq_r2(model, x, batch_size=8, mode="train") for _ in range(2))
    assert one == two
    assert not model[0][1].training
    assert model[0][2].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_normality_normalization_straightens() -> None:
    """Figure 5 on a toy: skewed inputs leave BatchNorm's plots bent, and BatchNormalNorm's straighter."""
    x = torch.randn(256, 6).exp()
    model = nn.Sequential(nn.BatchNorm1d(6))
    (bent,) = minibatch_qq_r2(model, x, batch_size=64, mode="train")
    (straight,) = minibatch_qq_r2(gp.nn.gaussianize(model, noise=0.0), x, batch_size=64, mode="train")
    assert straight.qq_r2 > bent.qq_r2 + 0.1


def test_sites_are_chosen() -> None:
    """`include` and `exclude` are patterns; patterns that leave nothing are refused."""
    model, x = cnn(), images(8)
    assert [one.site for one in minibatch_qq_r2(model, x, include="[03]")] == ["0", "3"]
    assert [one.site for one in minibatch_qq_r2(model, x, exclude=["1", "5"])] == ["0", "2", "3"]
    with pytest.raises(SelectionError, match="matches none"):
        minibatch_qq_r2(model, x, include="encoder*")


def test_constants_are_left_out_of_the_mean() -> None:
    """A dead channel is NaN and named by its site; the mean is of the others."""
    model, x = nn.Sequential(nn.Linear(8, 5)), torch.randn(40, 8)
    with torch.no_grad():
        model[0].weight[2] = 0
    with pytest.warns(ConstantSampleWarning, match="0: 4 of 20 Q-Q plots are of constant values"):
        (found,) = minibatch_qq_r2(model, x, batch_size=10)
    values = np.asarray(found.values)
    assert np.isnan(values[:, 2]).all()
    assert np.isnan(values).sum() == 4
    assert found.qq_r2 == pytest.approx(np.nanmean(values))
    nn.init.zeros_(model[0].weight)
    with pytest.warns(ConstantSampleWarning, match="20 of 20"):
        assert math.isnan(minibatch_qq_r2(model, x, batch_size=10)[0].qq_r2)


def test_values_that_are_not_finite() -> None:
    """One NaN in the second of two minibatches costs that one, and is told of."""
    model, x = nn.Sequential(nn.Linear(8, 5)), torch.randn(40, 8)
    x[25, 3] = math.nan
    with pytest.warns(NonFiniteSampleWarning, match="0: 5 of 10 Q-Q plots have NaN or infinite values"):
        (found,) = minibatch_qq_r2(model, x, batch_size=20)
    assert np.isnan(found.values[1]).all()
    assert found.qq_r2 == pytest.approx(np.mean(found.values[0]))


def test_batches_of_two() -> None:
    """Two values make no plot; two feature maps do."""
    with pytest.warns(TooFewSamplesWarning, match="0: 5 of 5 Q-Q plots have fewer than 3 values"):
        (found,) = minibatch_qq_r2(nn.Sequential(nn.Linear(8, 5)), torch.randn(2, 8))
    assert (found.n_samples, math.isnan(found.qq_r2), found.quantiles) == (2, True, ())
    (found,) = minibatch_qq_r2(nn.Sequential(nn.Conv2d(3, 4, 1)), torch.randn(2, 3, 5, 5))
    assert (found.n_samples, math.isfinite(found.qq_r2)) == (50, True)


class Changing(nn.Module):
    """Calls its second layer on large batches only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.second(F.relu(x)) if len(x) > 10 else x


def test_sites_that_are_not_always_reached() -> None:
    """A layer that some minibatches pass by has NaN there, and the mean of the others; it is told of."""
    x = [torch.randn(20, 8), torch.randn(8, 8)]
    with pytest.warns(GaussprobeWarning) as said:
        found = {one.site: one for one in minibatch_qq_r2(Changing(), x)}
    expected = "not reached, or of another size, in 1 of 2 minibatches"
    assert {str(one.message) for one in said} == {f"{site}: {expected}" for site in (":relu", "second")}
    assert np.isnan(found["second"].values).tolist() == [[False] * 8, [True] * 8]
    assert found["second"].qq_r2 == pytest.approx(np.mean(found["second"].values[0]))


class Complex(nn.Module):
    """A layer of complex numbers beside a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.odd, self.even = nn.Linear(8, 8, dtype=torch.complex64), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.odd(x.to(torch.complex64)).real + self.even(x)


@pytest.mark.parametrize("measure", [minibatch_qq_r2, channel_pairs])
def test_sites_that_cannot_be_read(measure: Callable[..., tuple[Any, ...]]) -> None:
    """A layer of complex numbers is told of once, where the call stands; the others are measured."""
    with pytest.warns(GaussprobeWarning, match="^odd: not measured: its tensor is complex64") as said:
        (found,) = measure(Complex(), torch.randn(40, 8), batch_size=10)
    assert found.site == "even"
    assert [one.filename for one in said] == [__file__]
    with (
        pytest.warns(GaussprobeWarning, match="odd: not measured"),
        pytest.raises(CaptureError, match="nothing was captured"),
    ):
        measure(Complex(), torch.randn(40, 8), include="odd")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types(dtype: torch.dtype) -> None:
    """Half and double precision are measured as they are."""
    model, x = nn.Sequential(nn.Linear(8, 5)).to(dtype), torch.randn(100, 8, dtype=dtype)
    (found,) = minibatch_qq_r2(model, x)
    with torch.no_grad():
        (expected,) = looped(model, [x]).values()
    assert np.asarray(found.values) == pytest.approx(np.asarray(expected), abs=2e-6)


def test_programs(tmp_path: Path) -> None:
    """A file of an exported program has the numbers of the eager model, by the same names of its layers."""
    model, x = nn.Sequential(nn.Linear(8, 5), nn.Tanh()).eval(), torch.randn(100, 8)
    program = torch.export.export(model, (x,), dynamic_shapes={"input": {0: torch.export.Dim.AUTO}})
    torch.export.save(program, tmp_path / "model.pt2")
    eager, exported = (
        {one.site: one.values for one in minibatch_qq_r2(each, x, batch_size=50)}
        for each in (model, tmp_path / "model.pt2")
    )
    assert exported.keys() == eager.keys()
    for site, values in eager.items():
        assert np.asarray(exported[site]) == pytest.approx(np.asarray(values), abs=1e-6)


def test_bad_arguments() -> None:
    """Named, with what came; no data and no layers are told of."""
    model, x = nn.Sequential(nn.Linear(8, 5)), torch.randn(20, 8)
    for name, wrong in (("channels", 0), ("n_batches", 0), ("shown", -1), ("seed", -1), ("channels", 2.0)):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least"):
            minibatch_qq_r2(model, x, **{name: wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"seed must be below 2\*\*63"):
        minibatch_qq_r2(model, x, seed=2**63)
    with pytest.raises(ValueError, match="mode must be one of eval, train; got 'training'"):
        minibatch_qq_r2(model, x, mode="training")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        minibatch_qq_r2(model, x, batch_size=0)
    with pytest.raises(ValueError, match="batches must be given"):
        minibatch_qq_r2(model, None)
    with pytest.raises(DataError, match="gave no batches"):
        minibatch_qq_r2(model, [])
    with pytest.raises(CaptureError, match="nothing was captured"):
        minibatch_qq_r2(nn.Flatten(), x)
