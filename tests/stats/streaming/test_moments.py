"""Streaming moments: agreement, digits at any offset and scale, and what cannot be computed."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats.streaming import Moments, StreamingMoments, central


def of(x: torch.Tensor | np.ndarray, *, rows: int | None = None) -> Moments:
    """Moments of `x`, taken `rows` rows at a time."""
    state = StreamingMoments()
    for start in range(0, len(x), rows or len(x)):
        state.update(x[start : start + (rows or len(x))])
    return state.compute()


def check_against_scipy(moments: Moments, x: np.ndarray, *, share: float) -> None:
    """Each within `share` of max(|value|, its sd under normality); scipy's values in float64 on all rows."""
    n = len(x)
    sd = x.std(axis=0)
    for value, expected, null_sd in (
        (moments.mean, x.mean(axis=0), sd / np.sqrt(n)),
        (moments.variance, x.var(axis=0), sd**2 * np.sqrt(2 / n)),
        (moments.sd, sd, sd / np.sqrt(2 * n)),
        (moments.skewness, stats.skew(x, axis=0), np.sqrt(6 / n)),
        (moments.excess_kurtosis, stats.kurtosis(x, axis=0), np.sqrt(24 / n)),
    ):
        error = np.abs(value.numpy() - expected) / np.maximum(np.abs(expected), null_sd)
        assert error.max() < share
    np.testing.assert_array_equal(moments.minimum.numpy(), x.min(axis=0))
    np.testing.assert_array_equal(moments.maximum.numpy(), x.max(axis=0))


LAWS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda rng: rng.normal(size=(3000, 5)),
    "t(4)": lambda rng: rng.standard_t(4, size=(3000, 5)),
    "lognormal": lambda rng: rng.lognormal(size=(3000, 5)),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rows", [3000, 257, 1])
def test_agrees_with_scipy(law: str, rows: int) -> None:
    """In float64 every moment is scipy's of the whole to 1e-10, in batches of any size."""
    x = LAWS[law](np.random.default_rng(1))[: 3000 if rows > 1 else 300]
    check_against_scipy(of(x, rows=rows), x, share=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_float32_at_an_offset(offset: float) -> None:
    """n = 1e6 float32 values in chunks: errors at most 1e-3 of max(|value|, null sd) of the same values."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1_000_000, 1, generator=generator) + offset
    check_against_scipy(of(x, rows=60_000), x.double().numpy(), share=1e-3)


def test_naive_float32_would_fail() -> None:
    """The test above can fail: raw float32 powers of the same data are wrong by orders of magnitude."""
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(2)) + 1e3
    mean, square = x.mean(), (x * x).mean()
    assert abs(float(square - mean * mean) - 1) > 0.01


# Tall, wide, narrow, one unit, few rows, more columns or rows than a block has; rows or columns contiguous.
SHAPES = [
    *((200_001, 1), (40_003, 3), (5_000, 70), (3_000, 300), (900, 1500)),
    *((300, 3_000), (40, 9_000), (1, 300_000), (2, 5), (9, 1)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["rows", "columns", "steps"])
def test_every_layout_gives_the_same(shape: tuple[int, int], layout: str) -> None:
    """However the matrix lies in memory, sums are those of a plain float64 computation."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)) + 5
    if layout == "columns":
        x = x.t().contiguous().t()
    elif layout == "steps":
        x = torch.stack([x, x + 1], dim=2)[:, :, 0]
    moments = central.moments_of(x)
    wide = x.double()
    centred = wide - wide.mean(0)
    n = len(x)
    assert moments.n == n
    torch.testing.assert_close(moments.mean, wide.mean(0), rtol=1e-7, atol=0)
    for k, value in ((2, moments.m2), (3, moments.m3), (4, moments.m4)):
        size = (centred.abs() ** k).sum(0)
        assert ((value - (centred**k).sum(0)).abs() <= 2e-6 * size + 1e-12).all()
    assert torch.equal(moments.low, wide.amin(0))
    assert torch.equal(moments.high, wide.amax(0))


@pytest.mark.parametrize("scale", [2.0**k for k in (-133, -100, -40, -27, 27, 40, 100, 124)])
def test_float32_at_any_scale(scale: float) -> None:
    """Fourth powers beyond float32's range are summed in float64: skewness and kurtosis do not change."""
    x = torch.randn(5_000, 3, generator=torch.Generator().manual_seed(4)).double() * scale
    x = x.to(torch.float32)
    assert torch.isfinite(x).all()
    moments = of(x, rows=1300)
    reduced = moments._replace(
        mean=moments.mean / scale,
        variance=moments.variance / scale**2,
        sd=moments.sd / scale,
        minimum=moments.minimum / scale,
        maximum=moments.maximum / scale,
    )
    # The scale is a power of two, so dividing by it is exact.
    check_against_scipy(reduced, x.double().numpy() / scale, share=1e-4)


def test_trend_between_and_within_batches() -> None:
    """A mean that wanders by a hundred sd, and sorted data, cost no digits."""
    x = torch.randn(60_000, 2, generator=torch.Generator().manual_seed(5))
    x[:, 0] += torch.linspace(0, 100, 60_000)
    x[:, 1] = x[:, 1].sort().values
    check_against_scipy(of(x, rows=7_000), x.double().numpy(), share=1e-4)


def test_an_outlier() -> None:
    """One value of 1e9 among a thousand of order one: its fourth power of 1e36 does not drown the sums."""
    x = torch.randn(1_000, 2, generator=torch.Generator().manual_seed(6))
    x[500, 0] = 1e9
    check_against_scipy(of(x, rows=300), x.double().numpy(), share=1e-4)


def test_half_types_are_summed_in_float32() -> None:
    """float16 and bfloat16 near their largest values neither overflow nor lose digits."""
    for dtype, size in ((torch.float16, 2e4), (torch.bfloat16, 1e37)):
        x = (torch.rand(4_000, 2, generator=torch.Generator().manual_seed(7)) * size).to(dtype)
        check_against_scipy(of(x, rows=900), x.double().numpy(), share=1e-4)


def test_constant_units() -> None:
    """Equal values, in all batches: mean exact, variance exactly 0, the rest NaN with a warning."""
    x = torch.randn(40_000, 4)
    for column, value in ((1, 0.1), (2, 0.0), (3, 16_777_217.0)):
        x[:, column] = value
    with pytest.warns(
        ConstantSampleWarning, match="StreamingMoments: 3 of 4 samples have no variance"
    ) as caught:
        moments = of(x, rows=9_999)
    assert len(caught) == 1
    assert torch.equal(moments.mean[1:], x[0, 1:].double())
    assert moments.variance[1:].tolist() == [0, 0, 0]
    assert moments.sd[0] > 0.9
    for field in (moments.skewness, moments.excess_kurtosis):
        assert field.isnan().tolist() == [False, True, True, True]


def test_constant_batches_of_a_unit_that_varies() -> None:
    """A unit constant within each batch but not across them has the moments of those constants."""
    x = torch.repeat_interleave(torch.tensor([0.1, 0.7, 0.1, 0.2]), 100)[:, None]
    check_against_scipy(of(x, rows=100), x.double().numpy(), share=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_nonfinite_values_are_counted(dtype: torch.dtype) -> None:
    """NaN and infinities make their unit NaN, are counted, and do not disturb other units."""
    x = torch.randn(30_000, 6, generator=torch.Generator().manual_seed(8)).to(dtype)
    clean = of(x[:, [0, 5]].contiguous(), rows=7_000)
    x[100, 1] = torch.nan
    x[[7, 8, 29_999], 2] = torch.inf
    x[:, 3] = -torch.inf
    x[20_000, 4], x[20_001, 4] = torch.nan, torch.inf
    message = "StreamingMoments: 4 of 6 samples have NaN or infinite values: their result is NaN"
    with pytest.warns(NonFiniteSampleWarning, match=message) as caught:
        moments = of(x, rows=7_000)
    assert len(caught) == 1
    assert moments.n_samples == 30_000
    assert moments.nan.tolist() == [0, 1, 0, 0, 1, 0]
    assert moments.inf.tolist() == [0, 0, 3, 30_000, 1, 0]
    for name in ("mean", "variance", "sd", "skewness", "excess_kurtosis", "minimum", "maximum"):
        field = getattr(moments, name)
        assert field[1:5].isnan().all()
        torch.testing.assert_close(field[[0, 5]], getattr(clean, name), rtol=1e-6, atol=1e-6)


def test_neighbours_of_nonfinite_units_keep_every_bit() -> None:
    """In one and the same layout, NaN in a unit does not change a bit of another's result."""
    x = torch.randn(3_000, 300)
    clean = of(x)
    x[5, 1:] = torch.nan
    with pytest.warns(NonFiniteSampleWarning, match="299 of 300"):
        spoilt = of(x)
    for mine, theirs in itertools.islice(zip(spoilt, clean, strict=True), 1, None):
        assert torch.equal(mine[0], theirs[0])


def test_float64_beyond_its_own_range() -> None:
    """Where fourth powers of float64 data overflow or vanish, kurtosis is NaN and a warning says why."""
    x = torch.randn(500, 3, dtype=torch.float64)
    x[:, 1] *= 1e100
    x[:, 2] *= 1e-100
    message = "2 of 3 samples have powers out of float64's range"
    with pytest.warns(NonFiniteSampleWarning, match=message) as caught:
        moments = of(x)
    assert len(caught) == 1
    assert moments.excess_kurtosis.isnan().tolist() == [False, True, True]
    assert moments.skewness.isnan().tolist() == [False, True, True]
    np.testing.assert_allclose(moments.sd.numpy(), x.numpy().std(axis=0), rtol=1e-12)


def test_one_sample() -> None:
    """One sample has a mean, no variance, and neither skewness nor kurtosis, with one warning."""
    with pytest.warns(
        TooFewSamplesWarning, match="StreamingMoments needs at least 2 samples; got 1"
    ) as caught:
        moments = of(torch.tensor([[2.0, 3.0]]))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert moments.mean.tolist() == [2, 3]
    assert moments.variance.tolist() == [0, 0]
    assert moments.skewness.isnan().all()
    assert moments.excess_kurtosis.isnan().all()


def test_one_dimension() -> None:
    """A single unit gives tensors without dimensions."""
    moments = of(torch.randn(50))
    assert all(field.shape == () for field in moments[1:])


def test_num_features() -> None:
    """A declared number of units holds for batches, merges and state_dicts, and shapes an empty result."""
    state = StreamingMoments(num_features=3)
    with pytest.warns(TooFewSamplesWarning):
        assert state.compute().mean.shape == (3,)
    with pytest.raises(ValueError, match=r"x must have 3 features; got 4 \(shape \(2, 2\)\)"):
        state.update(torch.zeros(5, 2, 2))
    other = StreamingMoments().update(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="others must have 3 features; got 4"):
        state.merge([other])
    with pytest.raises(ValueError, match=r"state_dict\['shape'\] must have 3 features; got 4"):
        state.load_state_dict(other.state_dict())
    assert state.state_dict()["n_samples"] == 0
    state.update(torch.randn(5, 3))


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "3"])
def test_bad_num_features(bad: object) -> None:
    """What is no positive integer raises ValueError."""
    with pytest.raises(ValueError, match=r"num_features must be an integer from 1 to 2\^63 - 1; got"):
        StreamingMoments(bad)  # type: ignore[arg-type]


def test_many_merges_lose_no_digits() -> None:
    """Four hundred parts at offset 1e6, merged one by one, in pairs and all at once, agree with the whole."""
    x = torch.randn(20_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9)) + 1e6
    parts = [StreamingMoments().update(part) for part in x.split(50)]
    chain = StreamingMoments()
    for part in parts:
        chain.merge([part])
    tree = list(parts)
    while len(tree) > 1:
        tree = [StreamingMoments().merge(tree[i : i + 2]) for i in range(0, len(tree), 2)]
    for state in (chain, tree[0], StreamingMoments().merge(parts)):
        # At this offset float64 itself holds the data to 1e-10 sd.
        check_against_scipy(state.compute(), x.numpy(), share=1e-6)


def test_no_warning_without_cause() -> None:
    """Ordinary data earn none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of(torch.randn(100, 5))
