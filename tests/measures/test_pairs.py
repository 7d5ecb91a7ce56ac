"""Pairs of units: joint normality and mutual information."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn

import gaussprobe as gp
from gaussprobe.errors import (
    CaptureError,
    ConstantSampleWarning,
    GaussprobeWarning,
    NonFiniteSampleWarning,
    SelectionError,
    TooFewSamplesWarning,
)
from gaussprobe.measured import PairNumbers
from gaussprobe.measures import pairs as module
from gaussprobe.measures.pairs import channel_pairs, pair_numbers, random_pairs

Floats = npt.NDArray[np.float64]

SIDE_BY_SIDE = [(2 * i, 2 * i + 1) for i in range(20)]


def crossed(n: int, pairs: int, rng: np.random.Generator) -> Floats:
    """Pairs of columns: equal mixtures of normal laws with correlations .9 and -.9."""
    first, rest = rng.normal(size=(2, n, pairs))
    second = 0.9 * rng.choice([-1, 1], size=(n, pairs)) * first + math.sqrt(1 - 0.9**2) * rest
    return np.stack([first, second], axis=2).reshape(n, 2 * pairs)


def correlated(n: int, pairs: int, rng: np.random.Generator) -> Floats:
    """Pairs of columns: normal with correlation .6."""
    first, rest = rng.normal(size=(2, n, pairs))
    return np.stack([first, 0.6 * first + 0.8 * rest], axis=2).reshape(n, 2 * pairs)


def exponential(n: int, pairs: int, rng: np.random.Generator) -> Floats:
    """Independent exponential columns."""
    return rng.exponential(size=(n, 2 * pairs))


def same(one: PairNumbers, other: PairNumbers, rel: float = 1e-9) -> bool:
    """Whether two records agree, NaN with NaN."""
    names = ("henze_zirkler", "henze_zirkler_rejected", "sliced", "mutual_information")
    found = [[getattr(each, name) for name in names] for each in (one, other)]
    return one.n_samples == other.n_samples and found[0] == pytest.approx(
        found[1], rel=rel, abs=1e-9, nan_ok=True
    )


# -- pairs of columns


@pytest.mark.parametrize(
    ("law", "information", "rejected"),
    [(correlated, -0.5 * math.log(1 - 0.6**2), 0.0), (crossed, 0.408, 1.0), (exponential, 0.0, 1.0)],
)
def test_known_laws(law: object, information: float, rejected: float) -> None:
    """Twenty pairs of 1,000 samples: .223, .408 (without correlation; by quadrature, see
    tests/stats/test_information.py) and 0 nats within 4 standard errors; only the normal ones are normal.
    """
    assert callable(law)
    values = law(1000, 20, np.random.default_rng(1))
    found = pair_numbers(values, SIDE_BY_SIDE)
    each = [float(gp.stats.mutual_information(values[:, i], values[:, j])) for i, j in SIDE_BY_SIDE]
    error = np.std(each, ddof=1) / math.sqrt(20)
    assert error < 0.01
    assert found.mutual_information == pytest.approx(information, abs=4 * error)
    assert found.henze_zirkler_rejected == rejected
    assert (found.henze_zirkler < 1.0) == (rejected == 0.0)
    assert (found.adjusted_mutual_information > 0.05) == (information > 0)


def test_means_of_the_statistics() -> None:
    """Each number is the mean over the pairs of what `gaussprobe.stats` gives for one of them."""
    values = np.random.default_rng(0).normal(size=(200, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    pairs = [(0, 3), (5, 1), (2, 4)]
    found = pair_numbers(values, pairs)
    each = [values[:, list(pair)] for pair in pairs]
    tests = [gp.stats.henze_zirkler(one) for one in each]
    assert found.henze_zirkler == pytest.approx(np.mean([t.statistic for t in tests]))
    assert found.mutual_information == pytest.approx(
        np.mean([gp.stats.mutual_information(*one.T) for one in each])
    )
    assert found.adjusted_mutual_information == pytest.approx(
        np.mean([gp.stats.adjusted_mutual_information(*one.T) for one in each])
    )
    # Random directions: their mean of 8,192 scatters by 2 % at most in these samples.
    slices = [gp.stats.sliced(one / one.std(axis=0), num_slices=8192).statistic for one in each]
    assert found.sliced == pytest.approx(np.mean(slices), rel=0.02)
    assert (found.pairs, found.n_samples) == (tuple(pairs), 200)


@pytest.mark.parametrize("law", ["normal", "exponential", "rectified", "crossed"])
def test_slices_are_all_directions(law: str) -> None:
    """The mean over even steps is scipy's quadrature of the closed form over all angles."""
    rng = np.random.default_rng(3)
    draw = {"normal": correlated, "exponential": exponential, "crossed": crossed}.get(law)
    x = np.maximum(rng.normal(size=(40, 2)), 0) if draw is None else draw(40, 1, rng)
    z = (x - x.mean(axis=0)) / x.std(axis=0)

    def statistic(angle: float) -> float:
        y = z @ [math.cos(angle), math.sin(angle)]
        y = (y - y.mean()) / y.std()
        both = np.exp(-((y[:, None] - y) ** 2) / 2).sum() / len(y)
        return float(both - math.sqrt(2) * np.exp(-(y**2) / 4).sum() + len(y) / math.sqrt(3))

    expected = quad(statistic, 0, math.pi, limit=200)[0] / math.pi
    assert pair_numbers(x, [(0, 1)]).sliced == pytest.approx(expected, rel=1e-4)


def test_level() -> None:
    """Of 300 layers of three independent normal pairs .05 have any rejected, within 3 standard errors.

    Without Benjamini and Hochberg it would be .14.
    """
    rng, layers = np.random.default_rng(0), 300
    some = 0
    for _ in range(layers):
        share = pair_numbers(rng.normal(size=(32, 6)), SIDE_BY_SIDE[:3]).henze_zirkler_rejected
        some += share > 0
    assert some / layers == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / layers))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(8, 60), power=st.integers(-60, 60), shift=st.floats(-100, 100)
)
def test_units_do_not_matter(seed: int, n: int, power: int, shift: float) -> None:
    """Scaled or shifted units, rows in another order, and pairs named the other way round change nothing."""
    rng = np.random.default_rng(seed)
    values = exponential(n, 2, rng)
    here = pair_numbers(values, [(0, 1), (2, 3), (0, 3)])
    other = rng.permutation((values + shift) * [2.0**power, 1, 3, 0.1])
    assert same(pair_numbers(other, [(1, 0), (3, 2), (3, 0)]), here, rel=1e-6)


def test_kinds_of_input() -> None:
    """Arrays and tensors of any real type have the same numbers, in many threads and in one."""
    values = np.random.default_rng(0).integers(-9, 9, size=(50, 4))
    here = pair_numbers(values, [(0, 1), (2, 3)])
    for other in (torch.from_numpy(values), torch.from_numpy(values).bfloat16(), values.astype(np.float32)):
        assert same(pair_numbers(other, [(0, 1), (2, 3)]), here)


def test_many_pairs_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of many pairs are taken some pairs at a time, with the same result."""
    values = np.random.default_rng(0).normal(size=(20, 40))
    here = pair_numbers(values, SIDE_BY_SIDE)
    monkeypatch.setattr(module, "BLOCK", 3 * 20 * module.NUM_SLICES)
    assert pair_numbers(values, SIDE_BY_SIDE) == here


def test_units_without_numbers_are_left_out() -> None:
    """Constant units and units with NaN or infinity: told by site, and no part of the means."""
    values = np.random.default_rng(0).normal(size=(50, 8))
    here = pair_numbers(values, [(0, 1), (2, 3)])
    values[:, 4], values[3, 6], values[4, 7] = 2.5, np.nan, np.inf
    every = [(0, 1), (2, 3), (4, 5), (0, 6), (1, 7), (4, 7)]
    with (
        pytest.warns(ConstantSampleWarning, match="layer: in 1 of 6 pairs a unit is constant: left out"),
        pytest.warns(NonFiniteSampleWarning, match="layer: in 3 of 6 pairs a unit has NaN or infinite"),
    ):
        found = pair_numbers(values, every, site="layer")
    assert same(found, here)
    assert found.pairs == tuple(every)
    with pytest.warns(ConstantSampleWarning):
        nothing = pair_numbers(values, [(4, 5)])
    assert all(
        math.isnan(value) for value in (nothing.henze_zirkler, nothing.henze_zirkler_rejected, nothing.sliced)
    )
    assert math.isnan(nothing.mutual_information)
    assert math.isnan(nothing.adjusted_mutual_information)


def test_multiples_have_information_and_no_test() -> None:
    """A unit and its double: no joint law to test; bins say that each determines the other."""
    values = np.random.default_rng(0).normal(size=(200, 2))
    values[:, 1] = 2 * values[:, 0]
    with pytest.warns(ConstantSampleWarning, match="in 1 of 1 pairs one unit is a multiple of the other"):
        found = pair_numbers(values, [(0, 1)])
    assert math.isnan(found.henze_zirkler)
    assert math.isnan(found.henze_zirkler_rejected)
    assert found.adjusted_mutual_information == pytest.approx(1)
    assert found.mutual_information > 2


def test_too_few_samples() -> None:
    """Seven samples have no numbers, and eight have."""
    values = np.random.default_rng(0).normal(size=(8, 2))
    assert math.isfinite(pair_numbers(values, [(0, 1)]).henze_zirkler)
    with pytest.warns(TooFewSamplesWarning, match="conv: pairs need at least 8 samples; got 7"):
        assert math.isnan(pair_numbers(values[:7], [(0, 1)], site="conv").mutual_information)


def test_bad_values() -> None:
    """Named, with what came."""
    for wrong in (np.zeros(4), np.zeros((4, 2), dtype=complex), torch.zeros(4, 2, dtype=torch.complex64)):
        with pytest.raises(ValueError, match="values must be a matrix of real numbers; got shape"):
            pair_numbers(wrong, [(0, 1)])
    for pair in ((0, 0), (0, 2), (-1, 0), (0, 1, 1)):
        with pytest.raises(ValueError, match="pairs must be of distinct columns from 0 to 1"):
            pair_numbers(np.zeros((9, 2)), [pair])  # type: ignore[list-item]


# -- which pairs


@settings(max_examples=60, deadline=None)
@given(units=st.integers(0, 90), count=st.integers(1, 40), seed=st.integers(0, 2**63 - 1))
def test_random_pairs(units: int, count: int, seed: int) -> None:
    """Distinct pairs of distinct units, as many as there are; none shares a unit where that can be."""
    found = random_pairs(units, count, seed=seed)
    assert len(set(found)) == len(found) == min(count, units * (units - 1) // 2)
    assert all(0 <= i < j < units for i, j in found)
    if units >= 2 * count:
        assert len({unit for pair in found for unit in pair}) == 2 * count
    assert found == random_pairs(units, count, seed=seed)


@pytest.mark.parametrize("units", [5, 8])
def test_every_pair_is_as_likely(units: int) -> None:
    """Over 2,000 seeds each pair comes as often as any other, within 5 standard errors."""
    seeds, count = 2000, 4
    times = np.zeros((units, units))
    for seed in range(seeds):
        for pair in random_pairs(units, count, seed=seed):
            times[pair] += 1
    share = count / (units * (units - 1) / 2)
    off = np.abs(times[np.triu_indices(units, 1)] / seeds - share)
    assert off.max() < 5 * math.sqrt(share * (1 - share) / seeds)


# -- pairs of units of a model


def identity(units: int) -> nn.Conv2d:
    """A convolution that gives what it receives."""
    model = nn.Conv2d(units, units, 1, groups=units, bias=False)
    nn.init.ones_(model.weight)
    return model


@pytest.mark.parametrize("n", [30, 300])
def test_one_position_of_each_example(n: int) -> None:
    """Feature maps that are flat have the numbers of their one value: no example counts twice."""
    values = exponential(n, 5, np.random.default_rng(0))
    maps = torch.from_numpy(values)[:, :, None, None].expand(-1, -1, 6, 5)
    (found,) = channel_pairs(identity(10).double(), maps, pairs=5, batch_size=13)
    assert found.n_samples == n
    assert same(found, pair_numbers(values, found.pairs))
    assert found.henze_zirkler_rejected == 1.0


def test_positions_are_independent() -> None:
    """Of 40 images that share nothing but their neighbours' likeness, p-values hold: none is rejected."""
    field = torch.randn(40, 6, 16, 16)
    for shift in (1, 2, 4):
        field = field + field.roll(shift, dims=2) + field.roll(shift, dims=3)
    (found,) = channel_pairs(identity(6), field)
    assert (found.n_samples, found.henze_zirkler_rejected) == (40, 0.0)


def small() -> nn.Sequential:
    """Two layers, normalization and a nonlinearity between them."""
    return nn.Sequential(nn.Linear(8, 60), nn.BatchNorm1d(60), nn.ReLU(), nn.Linear(60, 3))


def test_pairs_are_those_of_the_architecture() -> None:
    """Two models of other weights have the same pairs in each layer; another seed has others."""
    x = torch.randn(40, 8)
    one, two, other = (channel_pairs(small(), x, pairs=6, seed=seed) for seed in (1, 1, 2))
    assert [a.site for a in one] == ["0", "1", "2", "3"]
    assert [a.pairs for a in one] == [b.pairs for b in two]
    assert one[0].pairs != other[0].pairs
    assert one[0].henze_zirkler != two[0].henze_zirkler
    assert one[3].pairs == ((0, 1), (0, 2), (1, 2))  # all there are
    assert max(max(pair) for pair in one[0].pairs) > 12  # of all units, not of the first


def test_own_units_are_named() -> None:
    """The pairs name units of the layer: with one pair of it planted, that pair alone tells of itself."""
    x = torch.randn(400, 50)
    model = nn.Linear(50, 50, bias=False)
    nn.init.eye_(model.weight)
    (before,) = channel_pairs(model, x, pairs=3)
    i, j = before.pairs[0]
    with torch.no_grad():
        model.weight[j, i], model.weight[j, j] = 1.0, 0.01
    (after,) = channel_pairs(model, x, pairs=3)
    assert after.pairs == before.pairs
    assert after.mutual_information > before.mutual_information + 1


def test_batches_do_not_matter() -> None:
    """However examples are cut into batches, the numbers are the same; at most `max_samples` of them."""
    model, x = small(), torch.randn(90, 8)
    whole, parts = (channel_pairs(model, x, max_samples=50, batch_size=size) for size in (90, 17))
    assert {one.n_samples for one in whole} == {50}
    assert all(same(a, b, rel=1e-4) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("case", ["train", "groups"])
def test_dependent_examples_have_no_pvalues(case: str) -> None:
    """With batch statistics, or crops of one photograph, no share of rejections is given."""
    model, x = small(), torch.randn(60, 8)
    if case == "train":
        found = channel_pairs(model, x, mode="train")
    else:
        found = channel_pairs(model, [{"input": x, "groups": torch.arange(60) // 2}])
    assert all(math.isnan(one.henze_zirkler_rejected) for one in found)
    assert all(math.isfinite(one.henze_zirkler) for one in found)
    assert not any(math.isnan(one.henze_zirkler_rejected) for one in channel_pairs(model, x))


def test_sites_are_chosen() -> None:
    """`include` and `exclude` are patterns; patterns that leave nothing are refused."""
    x = torch.randn(20, 8)
    assert [one.site for one in channel_pairs(small(), x, include=["0", "3"])] == ["0", "3"]
    assert [one.site for one in channel_pairs(small(), x, exclude="[12]")] == ["0", "3"]
    with pytest.raises(SelectionError, match="matches none"):
        channel_pairs(small(), x, include="encoder*")


def test_model_is_left_as_found() -> None:
    """Flags, buffers and generators are as before, in training mode too."""
    model, x = small().train(), torch.randn(40, 8)
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    channel_pairs(model, x, mode="train")
    assert [m.training for m in model] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_hostile_layers() -> None:
    """One unit, dead units, NaN and two examples: NaN, and each site is named."""
    x = torch.randn(30, 8)
    with pytest.warns(GaussprobeWarning, match="0: no pairs of units, of 1: nothing is measured"):
        (alone,) = channel_pairs(nn.Sequential(nn.Linear(8, 1)), x)
    assert (alone.pairs, alone.n_samples, math.isnan(alone.mutual_information)) == ((), 30, True)
    dead = nn.Linear(8, 4)
    nn.init.zeros_(dead.weight)
    with pytest.warns(ConstantSampleWarning, match="0: in 6 of 6 pairs a unit is constant"):
        (found,) = channel_pairs(nn.Sequential(dead), x)
    assert math.isnan(found.henze_zirkler)
    with pytest.warns(NonFiniteSampleWarning, match="0: in 6 of 6 pairs a unit has NaN"):
        channel_pairs(nn.Sequential(nn.Linear(8, 4)), torch.where(x > 2, math.nan, x))
    with pytest.warns(TooFewSamplesWarning, match="0: pairs need at least 8 samples; got 2"):
        (few,) = channel_pairs(nn.Sequential(nn.Linear(8, 4)), x[:2])
    assert math.isnan(few.sliced)


def test_bad_arguments() -> None:
    """Named, with what came; a model without layers is told of."""
    model, x = small(), torch.randn(20, 8)
    for name, wrong in (("pairs", 0), ("pairs", 2.0), ("max_samples", 7), ("seed", -1), ("seed", True)):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least"):
            channel_pairs(model, x, **{name: wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode must be one of eval, train; got 'test'"):
        channel_pairs(model, x, mode="test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batches must be given"):
        channel_pairs(model, None)
    with pytest.raises(CaptureError, match="nothing was captured"):
        channel_pairs(nn.Flatten(), x)
