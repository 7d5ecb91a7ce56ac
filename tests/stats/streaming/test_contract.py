"""What every streaming state promises, whatever it computes."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussprobe.errors import GaussprobeWarning, TooFewSamplesWarning
from gaussprobe.stats.streaming import Reservoir, State, StreamingMoments
from tests import needs

# The reservoirs hold fewer rows than pass, and more.
MAKE: dict[str, Callable[[], State[Any]]] = {
    "moments": StreamingMoments,
    "moments of 4": lambda: StreamingMoments(4),
    "reservoir": lambda: Reservoir(25, seed=3),
    "large reservoir": lambda: Reservoir(500),
}
N = 120

every = pytest.mark.parametrize("name", MAKE)


def data(dtype: torch.dtype = torch.float64, n: int = N) -> torch.Tensor:
    """Four units: skewed, far from zero, constant, and one with a NaN and an infinity."""
    x = torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    x[:, 0] = torch.exp(x[:, 0])
    x[:, 1] = 0.5 * x[:, 1] + 1000
    x[:, 2] = 0.1
    x[17, 3], x[71, 3] = torch.nan, -torch.inf
    return x.to(dtype)


def fed(name: str, x: torch.Tensor, first: int = 0) -> State[Any]:
    """A new state that saw `x`, whose first row is the `first` of all."""
    return feed(MAKE[name](), x, first)


def feed(state: State[Any], x: torch.Tensor, first: int) -> State[Any]:
    if isinstance(state, Reservoir):
        return state.update(x, ids=range(first, first + len(x)))
    return state.update(x)


def result(state: State[Any]) -> dict[str, Any]:
    """The computed fields, without the warnings that this data earns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaussprobeWarning)
        fields: dict[str, Any] = state.compute()._asdict()
    return fields


def snapshot(state: State[Any]) -> str:
    """Every number of a state, to the last digit."""
    entries = state.state_dict()
    return str({k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in entries.items()})


def agree(state: State[Any], other: State[Any], *, tolerance: float = 1e-10) -> None:
    """Equal results: a reservoir's to the bit, moments to rounding, counts and extremes always exactly."""
    exact = ("n_samples", "n_seen", "ids", "rows", "minimum", "maximum", "nan", "inf")
    mine, theirs = result(state), result(other)
    assert mine.keys() == theirs.keys()
    for field, value in mine.items():
        slack = 0.0 if field in exact else tolerance
        torch.testing.assert_close(value, theirs[field], rtol=slack, atol=slack, equal_nan=True, msg=field)


def cut(x: torch.Tensor, cuts: list[int]) -> list[tuple[int, torch.Tensor]]:
    """Parts of `x` with the number of their first row."""
    edges = [0, *sorted(set(cuts)), len(x)]
    return [(a, x[a:b]) for a, b in itertools.pairwise(edges)]


cuts_of = st.lists(st.integers(1, N - 1), max_size=12)


@every
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 3e-6)])
@given(cuts=cuts_of)
@settings(deadline=None, max_examples=10)
def test_batching_does_not_matter(name: str, dtype: torch.dtype, tolerance: float, cuts: list[int]) -> None:
    """Any cut of the rows into batches gives what one update gives."""
    x = data(dtype)
    state = MAKE[name]()
    for first, part in cut(x, cuts):
        feed(state, part, first)
    agree(state, fed(name, x), tolerance=tolerance)


@every
@given(cuts=cuts_of, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=10)
def test_merge_of_parts_is_the_whole(name: str, cuts: list[int], seed: int) -> None:
    """Parts merged in any order, all at once or one after another, give what one state of all gives."""
    x = data()
    parts = [fed(name, part, first) for first, part in cut(x, cuts)]
    order = np.random.default_rng(seed).permutation(len(parts))
    whole = fed(name, x)
    one_by_one = MAKE[name]()
    for i in order:
        one_by_one.merge([parts[i]])
    agree(one_by_one, whole)
    agree(MAKE[name]().merge(parts[i] for i in order), whole)


@every
def test_merge_is_associative_and_leaves_others_alone(name: str) -> None:
    """a + (b + c) = (a + b) + c = (c + b) + a, and b and c stay as they were."""
    a, b, c = (fed(name, part, first) for first, part in cut(data(), [30, 95]))
    before = [snapshot(part) for part in (a, b, c)]
    left = copy.copy(a).merge([b]).merge([c])
    right = copy.copy(a).merge([copy.copy(b).merge([c])])
    turned = copy.copy(c).merge([b]).merge([a])
    agree(left, right)
    agree(left, turned)
    assert [snapshot(part) for part in (a, b, c)] == before


@every
def test_empty_states_are_neutral(name: str) -> None:
    """Merging nothing, or empty states, changes nothing; an empty state takes over what it merges."""
    x = data()
    plain = fed(name, x)
    agree(fed(name, x).merge([]), plain, tolerance=0)
    agree(fed(name, x).merge([MAKE[name](), MAKE[name]()]), plain, tolerance=0)
    agree(MAKE[name]().merge([MAKE[name](), plain]), plain, tolerance=0)
    assert_empty(MAKE[name]().merge([MAKE[name]()]))


def assert_empty(state: State[Any]) -> None:
    with pytest.warns(
        TooFewSamplesWarning, match=f"{type(state).__name__} needs at least .*; got 0"
    ) as caught:
        empty = state.compute()
    assert caught[0].filename == __file__
    for field, value in empty._asdict().items():
        if isinstance(value, int):
            assert value == 0, field
        elif value.is_floating_point():
            assert value.isnan().all(), field
        else:
            assert not value.any(), field


@every
def test_reset_is_a_new_state(name: str) -> None:
    """After reset a state is empty, takes units of any shape it took when new, and counts from the start."""
    state = fed(name, data()).reset()
    assert_empty(state)
    assert snapshot(state) == snapshot(MAKE[name]())
    other = torch.randn(9, 2, 2)
    agree(state.update(other), MAKE[name]().update(other), tolerance=0)


def through_file(state: State[Any], name: str) -> State[Any]:
    """A state from a state_dict that went through a file without pickled classes."""
    buffer = io.BytesIO()
    torch.save(state.state_dict(), buffer)
    buffer.seek(0)
    return MAKE[name]().load_state_dict(torch.load(buffer, weights_only=True))


COPIES: dict[str, Callable[[State[Any], str], State[Any]]] = {
    "file": through_file,
    "pickle": lambda state, _: pickle.loads(pickle.dumps(state)),
    "copy": lambda state, _: copy.copy(state),
    "deepcopy": lambda state, _: copy.deepcopy(state),
}


@every
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("n", [0, 70])
def test_copies_go_on_by_themselves(name: str, how: str, n: int) -> None:
    """A copy answers as the original, goes on as it would, and neither notices what the other does."""
    x = data()
    state = fed(name, x[:n]) if n else MAKE[name]()
    twin = COPIES[how](state, name)
    agree(twin, state, tolerance=0)
    feed(twin, x[n:], n)
    agree(twin, feed(fed(name, x[:n]) if n else MAKE[name](), x[n:], n), tolerance=0)
    agree(state, fed(name, x[:n]) if n else MAKE[name](), tolerance=0)


@every
def test_state_dict_is_plain_and_its_own(name: str) -> None:
    """A state_dict holds tensors, numbers and lists only; writing to it or to a result is harmless."""
    state, untouched = fed(name, data()), fed(name, data())
    for value in state.state_dict().values():
        assert isinstance(value, torch.Tensor | int | list | None)
    for value in [*state.state_dict().values(), *result(state).values()]:
        if isinstance(value, torch.Tensor):
            value.zero_()
    agree(state, untouched, tolerance=0)
    given_dict = state.state_dict()
    loaded = MAKE[name]().load_state_dict(given_dict)
    for value in given_dict.values():
        if isinstance(value, torch.Tensor):
            value.zero_()
    agree(loaded, untouched, tolerance=0)


@every
@pytest.mark.parametrize("damage", ["missing", "surplus", "shape", "dtype", "type", "count", "negative"])
def test_damaged_state_dicts_are_refused(name: str, damage: str) -> None:
    """A state_dict that no state gives raises ValueError naming the entry, and changes nothing."""
    state = fed(name, data())
    broken = fed(name, data()).state_dict()
    entry, counter = ("mean", "n_samples") if "mean" in broken else ("rows", "n_seen")
    if damage == "missing":
        del broken[entry]
    elif damage == "surplus":
        broken["surplus"] = 1
    elif damage == "shape":
        broken[entry] = broken[entry][:-1]
    elif damage == "dtype":
        broken[entry] = broken[entry].to(torch.float16)
    elif damage == "type":
        broken[entry] = broken[entry].tolist()
    elif damage == "count":
        broken[counter] = 0
    else:
        broken["shape"] = [-4]
    with pytest.raises(ValueError, match="state_dict"):
        state.load_state_dict(broken)
    with pytest.raises(ValueError, match="state_dict must have the keys"):
        state.load_state_dict([])  # type: ignore[arg-type]
    agree(state, fed(name, data()), tolerance=0)


@every
def test_compute_changes_nothing(name: str) -> None:
    """Asking, twice or between batches, does not change later answers."""
    x = data()
    asked = fed(name, x[:50])
    before = snapshot(asked)
    result(asked)
    result(asked)
    assert snapshot(asked) == before
    agree(feed(asked, x[50:], 50), feed(fed(name, x[:50]), x[50:], 50), tolerance=0)


@every
@pytest.mark.parametrize("kind", ["tensor", "float64 tensor", "transposed", "array", "half"])
def test_input_is_left_alone_and_let_go(name: str, kind: str) -> None:
    """update does not write to its input, and what is later written there does not reach the state."""
    x: Any = data(torch.float64 if "64" in kind else torch.float32)
    if kind == "transposed":
        x = x.t().contiguous().t()
    elif kind == "half":
        x = x.to(torch.float16)
    elif kind == "array":
        x = x.numpy()
    kept = copy.deepcopy(x)
    state = MAKE[name]().update(x)
    np.testing.assert_array_equal(np.asarray(x), np.asarray(kept))
    x[...] = 7
    agree(state, MAKE[name]().update(kept), tolerance=0)


@every
def test_any_dimension_and_shape_of_units(name: str) -> None:
    """Samples along any dimension give what they give along the first, in the shape of the others."""
    x = torch.randn(40, 2, 2)
    first = result(MAKE[name]().update(x))
    for dim in (1, 2, -1):
        other = result(MAKE[name]().update(x.movedim(0, dim), dim=dim))
        for field, value in first.items():
            torch.testing.assert_close(value, other[field], rtol=1e-6, atol=1e-6)
    units = next(value for field, value in first.items() if field in ("mean", "rows"))
    assert units.shape[-2:] == (2, 2)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.int64])
def test_dtypes(name: str, dtype: torch.dtype) -> None:
    """Every real dtype, array or tensor, gives what its exact copy in float64 gives."""
    x = (torch.randn(60, 4) * 20).to(dtype)
    short = MAKE[name]().update(x)
    wide = result(MAKE[name]().update(x.double()))
    for field, value in result(short).items():
        expected = wide[field]
        if isinstance(value, torch.Tensor):
            value, expected = value.double(), expected.double()
        torch.testing.assert_close(value, expected, rtol=2e-6, atol=2e-6, msg=field)


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, np.uint16, ">f8"])
def test_arrays(name: str, dtype: Any) -> None:
    """An array of any real dtype is taken for its values; read-only and reversed ones too."""
    x = (np.random.default_rng(0).normal(size=(60, 4)) * 20 + 100).astype(dtype)
    tensors = result(MAKE[name]().update(torch.from_numpy(x.astype(np.float64))))
    arrays = result(MAKE[name]().update(x))
    x.flags.writeable = False
    backwards = result(MAKE[name]().update(x[::-1].copy()[::-1]))
    for field, value in arrays.items():
        np.testing.assert_allclose(np.asarray(value), np.asarray(tensors[field]), rtol=2e-6, atol=2e-6)
        np.testing.assert_array_equal(np.asarray(value), np.asarray(backwards[field]))
    MAKE[name]().update(x)


@every
def test_memory_is_bounded(name: str) -> None:
    """A state that saw 300 batches is no larger than one that saw 20, and holds no memory of a batch."""
    sizes = []
    for batches in (20, 300):
        state = MAKE[name]()
        for i in range(batches):
            feed(state, torch.randn(40, 4), 40 * i)
        sizes.append(len(pickle.dumps(state)))
    assert sizes[1] <= sizes[0] + 16  # numbers may take more digits
    assert sizes[1] < 30_000


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "complex": (
        torch.zeros(9, 4, dtype=torch.complex64),
        {},
        "x must hold real numbers; got dtype torch.complex64",
    ),
    "bool": (np.zeros((9, 4), dtype=bool), {}, "x must hold real numbers; got dtype bool"),
    "strings": (np.array(["a"] * 4), {}, "x must hold real numbers"),
    "empty": (torch.zeros(0, 4), {}, r"x must not be empty; got shape \(0, 4\)"),
    "a number": (torch.tensor(1.0), {}, "x must have at least one dimension"),
    "sparse": (torch.eye(4).to_sparse(), {}, "x must be a dense tensor"),
    "masked": (np.ma.masked_array(np.zeros((9, 4))), {}, "x must not be a masked array"),
    "dim": (torch.zeros(9, 4), {"dim": 2}, "dim must be from -2 to 1"),
    "features": (torch.zeros(9, 5), {}, r"x must have units of shape \(4,\) in every batch; got \(5,\)"),
    "shape": (torch.zeros(9, 2, 2), {}, r"x must have units of shape \(4,\) in every batch; got \(2, 2\)"),
}


@every
@pytest.mark.parametrize("bad", BAD)
def test_bad_input(name: str, bad: str) -> None:
    """A batch that cannot be used raises ValueError, and the state goes on as if it had not come."""
    x, options, message = BAD[bad]
    state = fed(name, data()[:60])
    with pytest.raises(ValueError, match=message):
        state.update(x, **options)
    agree(feed(state, data()[60:], 60), feed(fed(name, data()[:60]), data()[60:], 60), tolerance=0)


@every
def test_bad_merges(name: str) -> None:
    """What is no collection of fitting states raises ValueError, and none of them is taken in."""
    state, fits = fed(name, data()[:60]), fed(name, data()[60:], 60)
    stranger = MAKE["reservoir" if "moments" in name else "moments"]()
    narrow = (
        Reservoir(state.max_samples, state.seed) if isinstance(state, Reservoir) else StreamingMoments()
    ).update(torch.zeros(9, 2))
    for others, message in (
        (fits, "others must be an iterable of states; got"),
        (None, "others must be an iterable of states; got NoneType"),
        ([fits, stranger], f"others must hold only {type(state).__name__}; got {type(stranger).__name__}"),
        ([fits, None], f"others must hold only {type(state).__name__}; got NoneType"),
        ([fits, narrow], r"others must have units of shape \(4,\); got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            state.merge(others)  # type: ignore[arg-type]
    agree(state, fed(name, data()[:60]), tolerance=0)


@every
def test_methods_return_the_state(name: str) -> None:
    """update, merge, reset, load_state_dict and to can be chained."""
    state = MAKE[name]()
    assert state.update(data()) is state
    assert state.merge([]) is state
    assert state.load_state_dict(state.state_dict()) is state
    assert state.to("cpu") is state
    assert state.reset() is state


@every
def test_gradients_are_not_followed(name: str) -> None:
    """A tensor that requires grad is taken for its values, and the state holds no graph."""
    x = torch.randn(30, 4, requires_grad=True)
    state = MAKE[name]().update(x)
    for value in [*state.state_dict().values(), *result(state).values()]:
        assert not (isinstance(value, torch.Tensor) and value.requires_grad)


@pytest.mark.gpu
@needs.CUDA
@every
def test_cuda_equals_cpu(name: str) -> None:
    """A state on a GPU answers there, as one on the CPU does, and moves between them."""
    x = data(torch.float32)
    there = fed(name, x.cuda())
    fields = result(there)
    assert all(value.is_cuda for value in fields.values() if isinstance(value, torch.Tensor))
    agree(copy.copy(there).to("cpu"), fed(name, x), tolerance=3e-6)
    # Batches may come from anywhere; the state stays where it was put.
    moved = feed(fed(name, x[:50]).to("cuda"), x[50:], 50)
    agree(moved, there, tolerance=3e-6)
