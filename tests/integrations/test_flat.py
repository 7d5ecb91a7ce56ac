"""A recorded step as names and numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gaussprobe.integrations import flat
from gaussprobe.records import LEVELS
from tests.integrations.recorded import odd, site_record, site_score

UNIFORM = tuple(2 * level - 1 for level in LEVELS)


def test_every_number_has_its_name() -> None:
    """Names are prefix, site and quantity; the values are those of the score and the record."""
    found = flat.numbers(odd(7), quantities=flat.QUANTITIES)
    assert len(found) == 3 * len(flat.QUANTITIES) + 1
    expected = {
        "gaussprobe/(model)/delta": 0.125,
        "gaussprobe/(model)/delta_low": 0.0625,
        "gaussprobe/(model)/delta_high": 0.25,
        "gaussprobe/(model)/delta_worst": 0.375,
        "gaussprobe/(model)/negentropy": 0.125 / 3,
        "gaussprobe/(model)/qq_r2": 0.875,
        "gaussprobe/(model)/ks_distance": 0.05,
        "gaussprobe/(model)/wasserstein": 0.5,
        "gaussprobe/(model)/skewness": 0.375,
        "gaussprobe/(model)/excess_kurtosis": 5.0,
        "gaussprobe/(model)/n_tested": 100.0,
        "gaussprobe/(model)/mean": 0.5,
        "gaussprobe/(model)/sd": 1.5,
        "gaussprobe/(model)/l_scale": 2.5,
        "gaussprobe/(model)/l_skewness": 3.5,
        "gaussprobe/(model)/l_kurtosis": 4.5,
        "gaussprobe/(model)/log_sd": 5.5,
        "gaussprobe/(model)/relative_mean": 6.5,
        "gaussprobe/(model)/constant_units": 1.0,
        "gaussprobe/(model)/silent_units": 2.0,
        "gaussprobe/event_count": 2.0,
    }
    assert found | expected == found
    assert found["gaussprobe/net.0:relu#2/delta"] == math.inf
    assert math.isnan(found["gaussprobe/probe/net.0:relu#2/mean"])
    assert all(type(value) is float for value in found.values())


def test_only_what_was_asked_for() -> None:
    """`quantities` and `prefix` are what the names are made of."""
    found = flat.numbers(odd(7), quantities=("sd",), prefix="layers")
    assert list(found) == [
        "layers/(model)/sd",
        "layers/net.0:relu#2/sd",
        "layers/probe/net.0:relu#2/sd",
        "layers/event_count",
    ]


@pytest.mark.parametrize("given", [["delta", "kurtosis"], "delta"])
def test_unknown_quantities_are_refused(given: list[str] | str) -> None:
    """A quantity that there is none of, or a string for a list, is a ValueError naming those there are."""
    with pytest.raises(ValueError, match=r"quantities must be among delta, .*l_kurtosis"):
        flat.check_quantities(given)


def test_events_are_lines() -> None:
    """A line gives the step, the site, whether it was the probe batch, and the event's text."""
    assert flat.lines(odd(7)) == [
        "step 7: (model): 1 unit died",
        "step 7: net.0:relu#2 (probe batch): 3 values are NaN",
    ]


def test_histogram_of_the_uniform_law_is_flat() -> None:
    """Quantiles that lie on a line give equal counts, with the .1 % outside in the outermost bins."""
    found = flat.histogram(UNIFORM, 1000, bins=10)
    assert found is not None
    np.testing.assert_allclose(found.edges, np.linspace(-0.998, 0.998, 11), rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.counts, [100.8, *[99.8] * 8, 100.8], rtol=1e-12)


def test_histogram_holds_the_quantiles_it_was_made_of() -> None:
    """Counts below an edge are n F(edge), for scipy's normal quantiles within what linear pieces can do."""
    found = flat.histogram(stats.norm.ppf(LEVELS).tolist(), 1)
    assert found is not None
    np.testing.assert_allclose(np.cumsum(found.counts)[:-1], stats.norm.cdf(found.edges[1:-1]), atol=0.006)
    assert found.counts.min() > 0
    assert math.isclose(found.counts.sum(), 1, rel_tol=1e-12)


@pytest.mark.parametrize(("atom", "bin_of_it"), [(slice(0, 10), 0), (slice(9, 19), -1), (slice(5, 9), None)])
def test_an_atom_falls_into_one_bin(atom: slice, bin_of_it: int | None) -> None:
    """Several equal quantiles, at either end or in the middle, put their share into one bin."""
    values = np.array(UNIFORM)
    values[atom] = values[atom][0 if atom.start else -1]
    share = LEVELS[atom.stop - 1] - LEVELS[atom.start]
    found = flat.histogram(values.tolist(), 1)
    assert found is not None
    assert math.isclose(found.counts.sum(), 1, rel_tol=1e-12)
    assert found.counts.max() >= share - 1e-12
    if bin_of_it is not None:
        assert found.counts[bin_of_it] == found.counts.max()


@pytest.mark.parametrize("quantiles", [(), (0.0,) * len(LEVELS), (math.nan,) * len(LEVELS), UNIFORM[:5]])
def test_no_histogram_without_width(quantiles: tuple[float, ...]) -> None:
    """Nothing measured, a constant, NaN or another number of levels: no histogram."""
    assert flat.histogram(quantiles, 10) is None


def test_histograms_of_sites_that_have_quantiles() -> None:
    """Each adds up to the samples that were tested; sites without quantiles are left out."""
    found = dict(flat.histograms(odd(7)))
    assert list(found) == ["gaussprobe/(model)/standardised"]
    number, total, squares = flat.moments(found["gaussprobe/(model)/standardised"])
    assert math.isclose(number, 100, rel_tol=1e-12)
    assert abs(total) < 1e-9
    assert math.isclose(squares, 100 / 3, rel_tol=0.01)  # the second moment of the uniform law on [-1, 1]


def test_source_is_told_apart() -> None:
    """A site's numbers of the training pass and of the probe batch have different names."""
    pairs = (
        (site_score("a", 0.1, step=0, source=s), site_record("a", 0.1, step=0, source=s)) for s in SOURCES
    )
    names = [
        {
            flat.site_name("gaussprobe", score.site, score.source),
            flat.site_name("gaussprobe", "a", record.source),
        }
        for score, record in pairs
    ]
    assert names == [{"gaussprobe/a"}, {"gaussprobe/probe/a"}]


SOURCES = ("forward", "probe")
