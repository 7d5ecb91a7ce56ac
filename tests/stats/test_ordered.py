"""Sorting, standardising, and finding samples that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gaussprobe.stats import ordered, workers


def test_rows_are_sorted_and_standardised() -> None:
    """Each row ascends with mean 0 and biased sd 1; mean and sd are numpy's."""
    x = torch.randn(500, 7, dtype=torch.float64) * 3 + 5
    sample = ordered.order(x)
    assert sample.z.shape == (7, 500)
    assert (sample.z.diff(dim=1) >= 0).all()
    torch.testing.assert_close(sample.z.mean(dim=1), torch.zeros(7, dtype=torch.float64))
    torch.testing.assert_close(sample.mean, x.mean(dim=0))
    torch.testing.assert_close(sample.sd, x.std(dim=0, correction=0))


@pytest.mark.parametrize("shape", [(50, 1), (1, 5), (50, 4)])
def test_the_input_is_left_alone(shape: tuple[int, int]) -> None:
    """`x` is bit for bit what it was, also where its transpose would share its memory."""
    x = torch.randn(shape)
    before = x.clone()
    ordered.order(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rounding_does_not_hide_a_constant(dtype: torch.dtype) -> None:
    """A column of 0.1, whose sd is above zero in float arithmetic, is constant."""
    x = torch.full((1000, 1), 0.1, dtype=dtype)
    sample = ordered.order(x)
    assert sample.constant.tolist() == [True]
    assert sample.z.isnan().all()
    assert sample.sd.item() == 0
    assert sample.mean.item() == pytest.approx(x[0, 0].item(), rel=1e-15)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_bad_columns_disturb_no_neighbour(bad: float) -> None:
    """A column with a non-finite value is NaN and flagged; its neighbours are bit-identical to without it."""
    x = torch.randn(100, 3)
    clean = ordered.order(x)
    x[17, 1] = bad
    sample = ordered.order(x)
    assert sample.nonfinite.tolist() == [False, True, False]
    assert sample.constant.tolist() == [False, False, False]
    assert sample.z[1].isnan().all()
    for unit in (0, 2):
        assert torch.equal(sample.z[unit], clean.z[unit])


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-30, 1e30, 1e200, 1e307])
def test_extreme_scales(scale: float) -> None:
    """Values whose squares leave the range of float64 are standardised all the same."""
    x = torch.randn(200, 1, dtype=torch.float64)
    expected = ordered.order(x)
    sample = ordered.order(x * scale)
    rough = 2e-3 if scale == 1e-320 else 1e-12  # subnormal numbers carry few digits
    torch.testing.assert_close(sample.z, expected.z, rtol=rough, atol=rough)
    assert sample.sd.item() == pytest.approx(scale * expected.sd.item(), rel=rough)


def test_a_large_offset_is_removed_exactly() -> None:
    """With an offset of 1e6 sd the second centring leaves means below 1e-13."""
    x = (torch.randn(2000, 3) + 1e6).to(torch.float64)
    sample = ordered.order(x)
    assert sample.z.mean(dim=1).abs().max() < 1e-13


def test_few_rows_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statistic worked out in chunks of one unit equals the whole at once."""
    from gaussprobe.stats import effects

    sample = ordered.order(torch.randn(64, 33))
    whole = effects.effect_sizes(sample)
    monkeypatch.setattr(workers, "CHUNK_CPU", 1)
    pieces = effects.effect_sizes(sample)
    for name in whole:
        torch.testing.assert_close(pieces[name], whole[name], rtol=1e-12, atol=1e-15)


def test_selecting_units() -> None:
    """Indexing keeps what belongs to the chosen units."""
    x = torch.randn(20, 5)
    x[:, 2] = 1.0
    chosen = ordered.order(x)[torch.tensor([2, 4])]
    assert chosen.num_features == 2
    assert chosen.constant.tolist() == [True, False]
    assert torch.equal(chosen.z[1], ordered.order(x[:, [4]]).z[0])


def test_float32_is_sorted_as_it_is() -> None:
    """float32 input gives what its exact float64 copy gives."""
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32))
    narrow, wide = ordered.order(x), ordered.order(x.double())
    assert torch.equal(narrow.z, wide.z)
    assert torch.equal(narrow.mean, wide.mean)


def test_the_number_of_threads_is_put_back() -> None:
    """torch runs on one thread inside and on as many as before afterwards, also after an error."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with workers.one_thread():
            assert torch.get_num_threads() == 1
        with pytest.raises(ZeroDivisionError), workers.one_thread():
            raise ZeroDivisionError
        ordered.order(torch.randn(50, 2))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
