"""Several tests from one sort."""

from __future__ import annotations

import pytest
import torch

import gaussprobe.stats as gs
from gaussprobe.stats import ordered
from gaussprobe.stats.battery import run


def test_equals_the_single_tests() -> None:
    """Every entry is bit for bit what the function of its name gives, and all ten come by default.

    K2 and JB take their sums in another order when alone, as they need no sort.
    """
    x = torch.randn(100, 6, dtype=torch.float64)
    results = gs.battery(x)
    assert list(results) == [
        *("shapiro_wilk", "shapiro_francia", "lilliefors", "anderson_darling", "cramer_von_mises"),
        *("watson", "jarque_bera", "dagostino_pearson", "epps_pulley", "vasicek"),
    ]
    for name, result in results.items():
        alone = getattr(gs, name)(x)
        if name in ("jarque_bera", "dagostino_pearson"):
            torch.testing.assert_close(result.statistic, alone.statistic, rtol=1e-9, atol=0)
            torch.testing.assert_close(result.pvalue, alone.pvalue, rtol=1e-9, atol=0)
        else:
            assert torch.equal(result.statistic, alone.statistic)
            assert torch.equal(result.pvalue, alone.pvalue)
        assert result.n_samples == 100


def test_sorts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The battery sorts the sample a single time."""
    calls = []
    original = ordered.sort_rows
    monkeypatch.setattr(ordered, "sort_rows", lambda rows: calls.append(rows.shape) or original(rows))
    gs.battery(torch.randn(40, 3))
    assert calls == [(3, 40)]


def test_chosen_tests_in_order() -> None:
    """Only what is asked for, in the order asked for."""
    assert list(gs.battery(torch.randn(20), ["lilliefors", "shapiro_wilk"])) == ["lilliefors", "shapiro_wilk"]


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("shapiro", "shapiro_wilk"), ("anderson", "anderson_darling"), ("lillifors", "lilliefors")],
)
def test_unknown_name(wrong: str, near: str) -> None:
    """An unknown name raises ValueError with the nearest name there is."""
    with pytest.raises(ValueError, match=f"tests must be among .*; got '{wrong}': did you mean '{near}'"):
        gs.battery(torch.randn(20), [wrong])


def test_a_bare_string_is_refused() -> None:
    """`tests="lilliefors"` is not read as ten one-letter names."""
    with pytest.raises(ValueError, match="tests must be a sequence of names; got the string 'lilliefors'"):
        gs.battery(torch.randn(20), "lilliefors")


def test_run_is_silent() -> None:
    """The pure function gives NaN for what cannot be tested, without a warning."""
    x = torch.randn(20, 2)
    x[:, 0] = 3.0
    for result in run(ordered.order(x)).values():
        assert result.pvalue.isnan().tolist() == [True, False]
    for result in run(ordered.order(x[:2])).values():
        assert result.pvalue.isnan().all()
