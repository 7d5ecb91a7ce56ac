"""The reservoir of rows: which rows stay, how likely each is, and how rows are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gaussprobe.capture import sampling
from gaussprobe.capture.accumulate import SiteAccumulator
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.stats.streaming import Reservoir
from gaussprobe.stats.streaming.hashing import hash_words, row_keys
from gaussprobe.types import Site


def test_hash_is_splitmix64() -> None:
    """One word hashes to the first output of splitmix64 seeded with it (reference: Rosetta Code, 1234567)."""
    assert hash_words(1234567)[0] == 6457827717110365317


def test_keys_stay_what_they_were() -> None:
    """Keys of the first rows under seed 0: recorded runs sampled by them."""
    expected = [4964578127960768432, 5067554077270220563, 6768782832058643234, 717612022849278349]
    assert row_keys(0, np.arange(4)).tolist() == expected


@given(seed=st.integers(0, 2**63 - 1), k=st.integers(1, 60), order=st.permutations(range(50)))
@settings(deadline=None, max_examples=50)
def test_the_definition(seed: int, k: int, order: list[int]) -> None:
    """The rows kept are those with the k smallest keys, in the order of their ids, whatever came first."""
    x = torch.randn(50, 3)
    state = Reservoir(k, seed=seed)
    for part in np.array_split(order, 7):
        state.update(x[part], ids=part)
    expected = np.sort(np.argsort(row_keys(seed, np.arange(50)))[:k])
    rows, ids, n_seen = state.compute()
    assert ids.tolist() == expected.tolist()
    assert torch.equal(rows, x[expected])
    assert n_seen == 50


def kept(seed: int, n: int, k: int, batch: int) -> np.ndarray[Any, Any]:
    state = Reservoir(k, seed=seed)
    for start in range(0, n, batch):
        state.update(torch.zeros(min(batch, n - start)))
    return state.compute().ids.numpy()


def test_each_row_is_equally_likely() -> None:
    """Over 900 seeds each of 40 rows is kept a quarter of the time (chi-squared, level .001)."""
    counts = np.zeros(40)
    for seed in range(900):
        counts[kept(seed, 40, 10, 16)] += 1
    # Without replacement: each count has variance 900 (1/4)(3/4), their sum none.
    chi2 = ((counts - 225) ** 2 / (900 * 3 / 16)).sum() * 39 / 40
    assert stats.chi2.sf(chi2, 39) > 0.001


def test_each_pair_is_equally_likely() -> None:
    """Over 2,000 seeds the two rows kept of seven are each of the 21 pairs alike (chi-squared, .001)."""
    counts = np.zeros((7, 7))
    for seed in range(2000):
        first, second = kept(seed, 7, 2, 7)
        counts[first, second] += 1
    assert stats.chisquare(counts[np.triu_indices(7, 1)]).pvalue > 0.001


def test_kept_rows_are_a_sample_of_the_values() -> None:
    """The 2,000 values kept of 60,000 sorted ones pass a Kolmogorov-Smirnov test against their law."""
    x = torch.randn(60_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64).sort().values
    state = Reservoir(2000)
    for part in x.split(999):
        state.update(part)
    assert stats.kstest(state.compute().rows.numpy(), "norm").pvalue > 0.001


def test_capture_keeps_the_same_examples() -> None:
    """A site's accumulator and a reservoir of the same seed keep the same examples: there is one sampler."""
    x = torch.randn(900, 4)
    site = SiteAccumulator(site=Site(path="s"), plan=Plan(max_samples=300, seed=5))
    state = Reservoir(300, seed=5)
    for first in (0, 300, 600):
        site.update(x[first : first + 300], 1, Batch(first=first, n_examples=300))
        state.update(x[first : first + 300])
    samples = site.compute()
    assert samples is not None
    order = np.argsort(samples.examples)
    assert samples.examples[order].tolist() == state.compute().ids.tolist()
    assert torch.equal(samples.values[order], state.compute().rows)
    assert sampling.row_keys is row_keys


def test_rows_are_numbered_on() -> None:
    """Rows without ids follow the largest id so far, from `start`, also after a merge and given ids."""
    state = Reservoir(100, start=10).update(torch.zeros(3, 2))
    state.update(torch.zeros(2, 2), ids=[40, 20]).update(torch.zeros(2, 2))
    state.merge([Reservoir(100, start=60).update(torch.zeros(2, 2))])
    state.update(torch.zeros(1, 2))
    assert state.compute().ids.tolist() == [10, 11, 12, 20, 40, 41, 42, 60, 61, 62]
    assert state.reset().update(torch.zeros(1, 2)).compute().ids.tolist() == [10]


def test_parts_of_processes_merge() -> None:
    """Four processes with a start each, rank << 40, merge into a sample in which each has its share."""
    parts = [Reservoir(400, start=rank << 40).update(torch.full((1000, 1), float(rank))) for rank in range(4)]
    rows, ids, n_seen = Reservoir(400).merge(parts).compute()
    assert n_seen == 4000
    assert torch.equal(rows[:, 0], (ids >> 40).float())
    assert stats.chisquare(torch.bincount(ids >> 40).numpy()).pvalue > 0.001


def test_an_id_that_comes_twice_is_refused() -> None:
    """Parts numbered alike, and an id twice in one stream, raise ValueError and change nothing."""
    state = Reservoir(50).update(torch.zeros(30, 2))
    before = state.state_dict()["ids"].tolist()
    with pytest.raises(ValueError, match=r"ids must differ .* start, or ids\); 30 came twice, such as 0"):
        state.merge(
            [Reservoir(50, start=100).update(torch.zeros(9, 2)), Reservoir(50).update(torch.zeros(40, 2))]
        )
    with pytest.raises(ValueError, match="1 came twice, such as 29"):
        state.update(torch.zeros(2, 2), ids=[29, 30])
    with pytest.raises(ValueError, match="1 came twice, such as 70"):
        state.update(torch.zeros(3, 2), ids=[70, 71, 70])
    with pytest.raises(ValueError, match="30 came twice"):
        state.merge([state])
    assert state.state_dict()["ids"].tolist() == before
    assert state.compute().n_seen == 30


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1], r"ids must be integers, one for each of 3 rows; got int64 of shape \(2,\)"),
        ([[0, 1, 2]], r"one for each of 3 rows; got int64 of shape \(1, 3\)"),
        ([0.0, 1.0, 2.0], "ids must be integers, one for each of 3 rows; got float64"),
        ([True, False, True], "ids must be integers, one for each of 3 rows; got bool"),
        (7, r"got int64 of shape \(\)"),
        (torch.tensor([-1, 0, 1]), r"ids must be from 0 to 2\^63 - 1; got -1 to 1"),
        (
            np.array([0, 1, 2**63], dtype=np.uint64),
            r"ids must be from 0 to 2\^63 - 1; got 0 to 9223372036854775808",
        ),
    ],
)
def test_bad_ids(ids: Any, message: str) -> None:
    """What is not one integer from 0 for each row raises ValueError."""
    with pytest.raises(ValueError, match=message):
        Reservoir(5).update(torch.zeros(3, 2), ids=ids)


def test_ids_of_any_kind() -> None:
    """Ids may be a range, a list, an array or a tensor of any integer type, to the largest there is."""
    for ids in (range(3), [0, 1, 2], np.arange(3, dtype=np.uint8), torch.arange(3, dtype=torch.int32)):
        assert Reservoir(5).update(torch.zeros(3), ids=ids).compute().ids.tolist() == [0, 1, 2]
    full = Reservoir(5).update(torch.zeros(1), ids=[2**63 - 1])
    with pytest.raises(ValueError, match="ids must be given: none are left"):
        full.update(torch.zeros(1))
    assert Reservoir(5).load_state_dict(full.state_dict()).compute().ids.tolist() == [2**63 - 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_samples": 0}, "max_samples must be an integer from 1"),
        ({"max_samples": 2.5}, "max_samples must be an integer from 1 .* got 2.5"),
        ({"max_samples": True}, "max_samples must be an integer from 1"),
        ({"max_samples": 5, "seed": -1}, "seed must be an integer from 0"),
        ({"max_samples": 5, "seed": 2**63}, "seed must be an integer from 0"),
        ({"max_samples": 5, "start": -1}, "start must be an integer from 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    """Options out of their range raise ValueError."""
    with pytest.raises(ValueError, match=message):
        Reservoir(**options)


def test_states_of_other_options_do_not_mix() -> None:
    """Merging or loading a reservoir of another seed or size raises ValueError."""
    state = Reservoir(5, seed=1)
    for other, name in ((Reservoir(6, seed=1), "max_samples"), (Reservoir(5, seed=2), "seed")):
        other.update(torch.zeros(3))
        with pytest.raises(ValueError, match=f"others must have {name}"):
            state.merge([other])
        with pytest.raises(ValueError, match=f"{name}.* must be .* as in this reservoir"):
            state.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("ids", torch.tensor([0, 1, 1]), "must differ from each other"),
        ("ids", torch.tensor([0, 1, 9]), "below 'next_id'"),
        ("ids", torch.tensor([0.0, 1.0, 2.0]), "ids must be integers"),
        ("n_seen", 2, r"rows.* must be float32 or float64 of shape \(2, 2\)"),
        ("n_seen", -3, "n_seen"),
        ("next_id", 2, "below 'next_id'"),
    ],
)
def test_state_dicts_that_no_reservoir_gives(entry: str, value: Any, message: str) -> None:
    """Entries that contradict each other raise ValueError."""
    broken = {**Reservoir(5).update(torch.zeros(3, 2)).state_dict(), entry: value}
    with pytest.raises(ValueError, match=message):
        Reservoir(5).load_state_dict(broken)


def test_type_of_the_rows() -> None:
    """Short types are kept as float32, others as float64; batches of both as float64, whichever rows stay."""
    x = torch.randn(40, 2)
    for dtype, expected in (
        *((torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32, torch.float32)),
        *((torch.int32, torch.float64), (torch.float64, torch.float64)),
    ):
        assert Reservoir(5).update(x.to(dtype)).compute().rows.dtype == expected
    mixed = Reservoir(2).update(x)
    later = int(np.argmax(row_keys(0, np.arange(100)))) + 1000  # an id whose row does not stay
    assert row_keys(0, np.array([later]))[0] > row_keys(0, mixed.compute().ids.numpy()).max()
    mixed.update(x[:1].double(), ids=[later])
    assert mixed.compute().rows.dtype == torch.float64
    assert later not in mixed.compute().ids.tolist()


def test_nonfinite_rows_are_rows() -> None:
    """Rows with NaN or infinity are kept as they are: the statistics of the sample will say so."""
    x = torch.tensor([[1.0, torch.nan], [-torch.inf, 2.0]])
    rows = Reservoir(5).update(x).compute().rows
    torch.testing.assert_close(rows, x, equal_nan=True, rtol=0, atol=0)
