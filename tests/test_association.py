"""Associations of a site's series with a metric: what they find, how often they err, what they refuse."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from gaussprobe import association
from gaussprobe.association import associate, local_ranks
from gaussprobe.errors import ConstantSampleWarning, TooFewSamplesWarning
from gaussprobe.records import CHARTED, Metric
from gaussprobe.types import Run
from tests.calibration import association as calibration
from tests.calibration.events import blank
from tests.runs import build_run

Floats = npt.NDArray[np.float64]


def watched(values: dict[str, Floats], metric: Floats, *, every: int = 10) -> Run:
    """A run of sites whose L-skewness has these values, with a metric `loss`; nothing else changes."""
    series, scores = [], []
    for index in range(len(metric)):
        for site, of_site in values.items():
            record, score = blank(every * index, l_skewness=float(of_site[index]))
            series.append(replace(record, site=site))
            scores.append(replace(score, site=site))
    metrics = [
        Metric(step=every * index, name="loss", value=float(value)) for index, value in enumerate(metric)
    ]
    return build_run(series=tuple(series), scores=tuple(scores), metrics=tuple(metrics), pictures=())


def walks(rows: int, records: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, records)).cumsum(axis=1)


def following(site: Floats, lag: int, strength: float, seed: int) -> Floats:
    """A random walk whose changes follow those of another, `lag` records later."""
    noise = np.random.default_rng(seed).standard_normal(len(site))
    changes = np.diff(site, prepend=0.0)
    metric: Floats = (strength * np.roll(changes, lag) + math.sqrt(1 - strength**2) * noise).cumsum()
    return metric


def test_local_ranks_of_few_are_ranks() -> None:
    """Over at most 21 changes they are ranks, whose correlation is Spearman's; ties share one."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 15)), rng.standard_normal(15)
    x[0, 3:7] = [0.0, 1.0, 2.0, 3.0]  # ties among the changes
    u, v = local_ranks(x), local_ranks(y)
    for changes, ranks in zip(np.diff(x), u, strict=True):
        expected = (2 * stats.rankdata(changes) - len(changes) - 1) / (len(changes) - 1)
        np.testing.assert_allclose(ranks, expected, atol=1e-12)
    found = u @ v / np.sqrt((u**2).sum(axis=1) * (v @ v))
    expected = [stats.spearmanr(np.diff(row), np.diff(y)).statistic for row in x]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_local_ranks_see_only_neighbours() -> None:
    """They are those of a loop over 20 changes before and 20 after; a NaN takes the changes beside it."""
    x = walks(1, 90, seed=1)[0]
    x[40] = math.nan
    changes, found = np.diff(x), local_ranks(x)
    assert np.flatnonzero(np.isnan(found)).tolist() == [39, 40]
    for t in (0, 5, 38, 41, 88):
        around = [s for s in range(max(0, t - 20), min(89, t + 21)) if s != t and s not in (39, 40)]
        assert found[t] == pytest.approx(np.mean(np.sign(changes[t] - changes[around])))


@pytest.mark.parametrize("lag", [5, 0, -3])
def test_planted_lag(lag: int) -> None:
    """A site that the metric follows is found, the lag positive where the site leads; others are not."""
    values = walks(4, 300, seed=2)
    run = watched({f"layer{i}": row for i, row in enumerate(values)}, following(values[1], lag, 0.7, seed=3))
    found = {one.site: one for one in associate(run, "loss", quantities=["l_skewness"])}
    assert list(found) == ["layer0", "layer1", "layer2", "layer3"]
    one = found["layer1"]
    assert one.lag == lag
    assert one.low < calibration.exact(0.7) < one.high
    assert one.low < one.correlation < one.high
    assert one.pvalue <= one.adjusted_pvalue < 0.001
    assert one.n_records == 299 - abs(lag)
    assert all(other.adjusted_pvalue > 0.05 for site, other in found.items() if site != "layer1")


def test_sign_and_units() -> None:
    """A metric turned round turns the correlation; another unit or origin of either changes nothing."""
    values = walks(1, 200, seed=4)
    metric = following(values[0], 2, 0.6, seed=5)
    one, turned, scaled = (
        associate(watched({"a": x}, y), "loss", quantities=["l_skewness"])[0]
        for x, y in ((values[0], metric), (values[0], -metric), (3 * values[0] + 7, metric / 100))
    )
    assert turned.correlation == pytest.approx(-one.correlation)
    assert (turned.low, turned.high) == pytest.approx((-one.high, -one.low))
    assert scaled == replace(one, correlation=pytest.approx(one.correlation))


def test_seed() -> None:
    """The same seed gives the same result, another one another p-value near it."""
    values = walks(2, 150, seed=6)
    run = watched({"a": values[0], "b": values[1]}, walks(1, 150, seed=7)[0])
    first, again, other = (associate(run, "loss", quantities=["l_skewness"], seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first[0].pvalue != other[0].pvalue
    assert first[0].pvalue == pytest.approx(other[0].pvalue, abs=0.1)


def test_missing_records_are_left_out() -> None:
    """NaN records, and steps without a metric, take their changes with them; the rest is found."""
    values = walks(2, 300, seed=8)
    metric = following(values[0], 5, 0.8, seed=9)
    values[0, [50, 51, 120]] = math.nan
    run = watched({"a": values[0], "b": values[1]}, metric)
    one, _ = associate(run, "loss", quantities=["l_skewness"])
    assert (one.lag, one.n_records) == (5, 294 - 5)  # 5 changes unknown
    assert one.adjusted_pvalue < 0.001
    fewer = replace(run, metrics=run.metrics[:250])
    assert associate(fewer, "loss", quantities=["l_skewness"])[0].n_records == 249 - 5 - 5


def test_constant_series() -> None:
    """What does not change has no association, which is warned of; it does not count in the adjustment."""
    values = walks(1, 120, seed=10)
    run = watched({"a": values[0]}, walks(1, 120, seed=11)[0])
    with pytest.warns(ConstantSampleWarning, match=r"delta of a, l_kurtosis of a, .*: constant, or loss is"):
        found = associate(run, "loss")
    assert [one.quantity for one in found] == list(CHARTED)
    known = [one for one in found if not math.isnan(one.pvalue)]
    assert [one.quantity for one in known] == ["l_skewness"]
    assert known[0].adjusted_pvalue == known[0].pvalue
    assert all(math.isnan(one.correlation) and math.isnan(one.low) for one in found if one not in known)


def test_too_few_records() -> None:
    """With fewer changes than the lags need the result is NaN, with a warning; fewer lags need fewer."""
    run = watched({"a": walks(1, 100, seed=12)[0]}, walks(1, 100, seed=13)[0])
    with pytest.warns(
        TooFewSamplesWarning, match="l_skewness of a: fewer than 100 changes together with loss"
    ):
        (one,) = associate(run, "loss", quantities=["l_skewness"])
    assert math.isnan(one.pvalue)
    assert math.isnan(one.adjusted_pvalue)
    assert one.n_records == 99
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (one,) = associate(run, "loss", quantities=["l_skewness"], max_lag=9)
    assert 0 < one.pvalue <= 1


@pytest.mark.parametrize(
    ("metric", "given", "message"),
    [
        ("accuracy", {}, r"metric must be one of the run's \(loss\); got 'accuracy'"),
        ("loss", {"quantities": ["tau3"]}, r"quantities must be among delta, .*; got \['tau3'\]"),
        ("loss", {"quantities": "delta"}, "quantities must be a sequence of names; got the string 'delta'"),
        ("loss", {"max_lag": -1}, "max_lag must be a whole number, 0 or more; got -1"),
    ],
)
def test_refused(metric: str, given: dict[str, object], message: str) -> None:
    """Unknown names and a negative lag raise, naming what there is."""
    run = watched({"a": walks(1, 12, seed=0)[0]}, walks(1, 12, seed=1)[0])
    with pytest.raises(ValueError, match=message):
        associate(run, metric, **given)  # type: ignore[arg-type]


def test_a_scan_has_none() -> None:
    """A run without series is refused."""
    with pytest.raises(ValueError, match="run must have series"):
        associate(build_run(), "loss")


def test_run_association() -> None:
    """`Run.association` is `associate`; every quantity that can be asked for is read."""
    run = watched({"a": walks(1, 120, seed=14)[0]}, walks(1, 120, seed=15)[0])
    with pytest.warns(ConstantSampleWarning):
        found = run.association("loss", quantities=list(association.QUANTITIES), max_lag=3)
    assert [one.quantity for one in found] == list(association.QUANTITIES)


@pytest.mark.parametrize("name", ["random walk", "exponential approach, 30 sds, time constant 20"])
def test_level(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 p-values of independent series that trend, about .05 are at most .05.

    docs/events.md has more kinds and more runs.
    """
    monkeypatch.setattr(association, "RESAMPLES", 200)
    monkeypatch.setattr(calibration, "RUNS", 80)
    assert 0.02 <= calibration.null(name, 201, seed=5).raw <= 0.08  # +-3 standard errors


def test_changes_alone_would_not_do() -> None:
    """Two independent series that approach a value have changes that correlate; local ranks do not."""
    rng = np.random.default_rng(16)
    approach = 100 * np.exp(-np.arange(201) / 50)
    plain, local = [], []
    for _ in range(100):
        x, y = approach + rng.standard_normal((2, 201))
        plain.append(stats.spearmanr(np.diff(x), np.diff(y)).statistic)
        local.append(stats.pearsonr(local_ranks(x), local_ranks(y)).statistic)
    error = np.std(local) / 10
    assert np.mean(plain) > 5 * error
    assert abs(np.mean(local)) < 3 * error


def test_a_large_run_takes_seconds() -> None:
    """100 sites x 5 quantities x 21 lags x 1,000 resamples over 500 records take less than 20 s."""
    start = time.perf_counter()
    assert calibration.timed(seed=0) > 0
    assert time.perf_counter() - start < 20
