"""Noise that carries from one layer to later ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gaussprobe as gp
from gaussprobe.errors import (
    CaptureError,
    DataError,
    ForwardError,
    GaussprobeWarning,
    SelectionError,
    UnsupportedError,
)
from gaussprobe.measured import Carried
from gaussprobe.measures import places
from gaussprobe.measures.robustness import add_noise, noise_robustness, squared_change
from gaussprobe.recipes.networks import build_mnist5k_cnn, build_mnist5k_vit
from tests import needs
from tests.capture.test_identity import assert_same, state
from tests.networks import Residual, SharedFunctional

LEVEL = 0.3
pytestmark = pytest.mark.usefixtures("one_thread")


def linear_chain(*widths: int) -> nn.Sequential:
    """Linear layers without biases."""
    return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))).double()


def table(found: tuple[Carried, ...]) -> dict[tuple[str, str], float]:
    return {(one.at, one.site): one.change for one in found}


def expected(x: torch.Tensor, weight: torch.Tensor, draws: int) -> tuple[float, float]:
    """Closed form of the squared change for a linear map of `(n, D)`, and the standard error of its estimate.

    `eta ~ N(0, s^2 I)` with `s^2 = level^2 |x|^2 / D` has `E |W eta|^2 = s^2 |W|_F^2` and variance
    `2 s^4 |W^T W|_F^2`.
    """
    n, size = x.shape
    variance = LEVEL**2 * x.square().sum(1) / size
    norm = (x @ weight.T).square().sum(1)
    mean = (variance * weight.square().sum() / norm).mean()
    spread = 2 * (variance / norm).square().sum() * (weight.T @ weight).square().sum()
    return float(mean), math.sqrt(float(spread) / draws) / n


def test_linear_network_is_its_closed_form() -> None:
    """Each pair of a chain of linear layers, and the output: within four standard errors."""
    draws, widths = 8, (12, 20, 16, 24, 5)
    model, x = linear_chain(*widths), torch.randn(400, 12, dtype=torch.float64)
    found = table(noise_robustness(model, x, level=LEVEL, draws=draws, max_examples=400))
    assert list(found) == [(str(i), s) for i in range(4) for s in [*map(str, range(i + 1, 4)), "output"]]
    model.requires_grad_(False)
    at = x
    for i in range(4):
        at, through = at @ model[i].weight.T, torch.eye(widths[i + 1], dtype=torch.float64)
        for j in range(i + 1, 5):
            site = "output" if j == 4 else str(j)
            if j < 4:
                through = model[j].weight @ through
            mean, error = expected(at, through, draws)
            assert abs(found[str(i), site] ** 2 - mean) < 4 * error
            assert error < 0.05 * mean


def test_convolutions_are_their_matrices() -> None:
    """The same where the later layers are convolutions, one of them read by positions in another order."""
    draws = 8
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(2, 3, 3, stride=2, bias=False), nn.ConvTranspose2d(3, 2, 2)
    ).double()
    nn.init.zeros_(model[2].bias)
    model[1].to(memory_format=torch.channels_last)
    x = torch.randn(100, 1, 9, 9, dtype=torch.float64)
    found = table(noise_robustness(model, x, level=LEVEL, at="0", draws=draws))
    with torch.no_grad():
        at = model[0](x)
        basis = torch.eye(at[0].numel(), dtype=torch.float64).view(-1, *at.shape[1:])
        for site, layers in (("1", model[1:2]), ("2", model[1:]), ("output", model[1:])):
            mean, error = expected(at.flatten(1), layers(basis).flatten(1).T, draws)
            assert abs(found["0", site] ** 2 - mean) < 4 * error


def test_large_sites_are_read_at_random_numbers() -> None:
    """8,192 numbers of size 1: the 4,096 read of the noise have mean square level^2, as all have."""
    model = nn.Sequential(*(nn.Conv2d(2, 2, 1, groups=2, bias=False) for _ in range(2)))
    for layer in model:
        nn.init.ones_(layer.weight)
    x = torch.randn(6, 2, 64, 64).sign().to(memory_format=torch.channels_last)
    found = table(noise_robustness(model, x, level=LEVEL, at="0", draws=3))
    # Of a chi-squared variable of 4,096 degrees of freedom over their number, in 18 draws.
    error = LEVEL**2 * math.sqrt(2 / places.MOST_NUMBERS / 18)
    assert abs(found["0", "1"] ** 2 - LEVEL**2) < 4 * error
    assert found["0", "1"] != found["0", "output"]  # numbers of its own


def test_reading_takes_the_same_numbers_of_any_format() -> None:
    """Numbers by index are those of the flattened tensors put side by side."""
    parts = [torch.randn(5, 3, 4, 6), torch.randn(5, 7), torch.randn(6, 5, 2).transpose(0, 1)]
    parts[0] = parts[0].to(memory_format=torch.channels_last)
    flat = torch.cat([part.flatten(1) for part in parts], 1)
    assert places.numbers(parts) == flat.shape[1]
    index = torch.randperm(flat.shape[1])[:40].sort().values
    assert torch.equal(places.taken(parts, 4, index), flat[:4, index].double())
    assert torch.equal(places.taken(parts, 4, None), flat[:4].double())


@pytest.mark.parametrize("build", [build_mnist5k_cnn, build_mnist5k_vit])
def test_change_grows_with_the_level(build: Callable[[], nn.Module]) -> None:
    """Next to nothing for next to no noise, and more for more: at every normalization, to every site."""
    model, images = build().double(), torch.randn(6, 1, 28, 28, dtype=torch.float64)
    levels = (1e-6, 0.05, 0.2, 0.8)
    found = [table(noise_robustness(model, images, level=level, draws=1)) for level in levels]
    sites = {name for name, module in model.named_modules() if "Norm" in type(module).__name__}
    assert {at for at, _ in found[0]} == sites
    for pair in found[0]:
        changes = [one[pair] for one in found]
        assert 0 < changes[0] < 1e-4
        assert changes == sorted(changes)


class Branches(nn.Module):
    """One branch leads nowhere, one to the sum; an encoder layer that torch would fuse comes last."""

    def __init__(self) -> None:
        super().__init__()
        self.dead, self.beside, self.sum = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64)
        self.encoder = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.dead(x)
        y = self.beside(x)
        y = F.dropout(self.sum(x) + y, 0.5, training=True)
        return self.encoder(y)


def test_dead_end_carries_nothing() -> None:
    """Exactly 0 from a dead end and to a branch beside; more to what follows, dropout or not."""
    model, x = Branches(), torch.randn(6, 10, 64)
    at, sites = ["dead", "beside", "encoder.norm1"], ["beside", "sum", "output"]
    found = table(noise_robustness(model, x, at=at, sites=sites, draws=2))
    assert [found["dead", site] for site in sites] == [0, 0, 0]
    assert found["beside", "sum"] == 0
    assert found["beside", "output"] > 0.01
    assert found["encoder.norm1", "output"] > 0.01
    assert len(found) == 6
    # With nothing of the encoder hooked, the pass must still be the same as with it.
    assert table(noise_robustness(model, x, at=at, sites="output", draws=2))["dead", "output"] == 0


def test_padded_batches_are_read() -> None:
    """An encoder that torch would run on nested tensors, without rows to read, runs on padded ones."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.layers(x, src_key_padding_mask=mask)

    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[2:, 3:] = True
    found = table(noise_robustness(Encoder(), [{"x": torch.randn(6, 5, 8), "mask": mask}]))
    assert len(found) == 5
    assert all(0.01 < change < 1 for change in found.values())


def test_noise_depends_on_its_site_alone() -> None:
    """What else is asked for changes nothing; another seed does."""
    model, x = build_mnist5k_cnn(), torch.randn(4, 1, 28, 28)
    whole = table(noise_robustness(model, x))
    part = table(noise_robustness(model, x, at=["5", "9"], sites=["1[24]", "output"]))
    assert part == {pair: whole[pair] for pair in part}
    assert list(part) == [(at, site) for at in ("5", "9") for site in ("12", "14", "output")]
    other = table(noise_robustness(model, x, at="9", sites="output", seed=1))
    assert other["9", "output"] != whole["9", "output"]


def test_sites_have_noise_of_their_own() -> None:
    """Two identities in a row: the same noise would give the same change."""
    model = linear_chain(4, 4, 4)
    for layer in model:
        nn.init.eye_(layer.weight)
    found = table(noise_robustness(model, torch.randn(8, 4, dtype=torch.float64), sites="output"))
    assert found["0", "output"] != found["1", "output"]


def test_settings_of_one_seed_get_the_same_noise() -> None:
    """A layer of another class at the same site is given the same directions."""
    x, seen = torch.randn(8, 6, dtype=torch.float64), []
    for norm in (nn.BatchNorm1d(6), nn.LayerNorm(6)):
        model = nn.Sequential(norm, nn.Identity()).double().eval()
        noise = []
        with torch.no_grad():
            clean = norm(x)
            handle = model[1].register_forward_pre_hook(lambda _m, args, kept=noise: kept.append(args[0]))
            noise_robustness(model, x, draws=1)
            handle.remove()
        scale = clean.norm(dim=1, keepdim=True)
        seen.append((noise[-1] - clean) / scale)
    torch.testing.assert_close(*seen)


def test_examples_are_the_first() -> None:
    """As many as wanted are used, of a part of a batch if need be, and no further batch is fetched."""
    model, x = linear_chain(4, 4, 4), torch.randn(12, 4, dtype=torch.float64)
    fetched = []

    def batches(rest: torch.Tensor) -> Iterator[torch.Tensor]:
        for part in (*x[:8].split(4), rest, rest):
            fetched.append(part)
            yield part

    other = x[8:].clone()
    other[2:] = math.nan
    whole = noise_robustness(model, batches(x[8:]), max_examples=10)
    assert len(fetched) == 3
    assert noise_robustness(model, batches(other), max_examples=10) == whole
    assert noise_robustness(model, batches(x[8:]), max_examples=9) != whole


@pytest.mark.parametrize("mode", [True, False])
def test_model_is_left_as_found(mode: bool) -> None:
    """Weights, buffers, flags, hooks, gradients, the generator and the data, also after an error."""
    model, x = Residual().train(mode), torch.randn(4, 3, 8, 8)
    model.norm.eval()
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    before, data, generator = copy.deepcopy(state(model)), x.clone(), torch.get_rng_state()
    noise_robustness(model, x)
    with pytest.raises(ForwardError, match="boom"):
        noise_robustness(Raising(model), x)
    assert_same(before, state(model))
    assert torch.equal(model.conv1.weight.grad, torch.ones_like(model.conv1.weight))
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(x, data)
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


class Raising(nn.Module):
    """Runs a model, and raises from the third call on: with noise."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        y = self.model(x)
        if self.calls > 2:
            raise RuntimeError("boom")
        return y


def test_error_names_the_site() -> None:
    """A model that cannot stand the noise: the message says where it was added."""
    with pytest.raises(ForwardError, match=r"with noise at 'model\.norm'\nRuntimeError: boom"):
        noise_robustness(Raising(Residual()), torch.randn(4, 3, 8, 8))


def test_in_place_changes_nothing() -> None:
    """Nonlinearities in place, after sites and first of all, give what they give out of place."""
    results = []
    x = torch.randn(8, 6, dtype=torch.float64)
    data = x.clone()
    for inplace in (False, True):
        torch.manual_seed(1)
        act = nn.LeakyReLU(0.1, inplace)
        model = nn.Sequential(act, nn.Linear(6, 6), nn.LayerNorm(6), act, nn.Linear(6, 3)).double()
        found = noise_robustness(model, x, at=["0", "1", "2"], sites=["[1-4]", "output"], draws=2)
        results.append(table(found))
        assert torch.equal(x, data)
    assert results[0] == results[1]
    assert results[0]["1", "2"] > 0.1


def test_noise_is_at_the_output_alone() -> None:
    """Whoever else holds the tensor that a nonlinearity in place returns sees it without noise."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.one, self.other = nn.ReLU(inplace=True), nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            held = x + 1
            return self.one(self.act(held)) + self.other(held)

    found = table(noise_robustness(Shared(), torch.randn(8, 6), at="act"))
    assert found["act", "other"] == 0
    assert found["act", "one"] > 0.05


def test_evaluation_mode_whatever_the_flags() -> None:
    """A model in training mode gives what it gives in evaluation mode."""
    model, x = (
        nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 6)),
        torch.randn(8, 6),
    )
    assert noise_robustness(model.train(), x) == noise_robustness(model.eval(), x)


def test_calls_of_one_module_are_apart() -> None:
    """Noise at the second call of a shared layer leaves what came before alone."""
    model = SharedFunctional(nn.Linear(6, 5), nn.Linear(5, 5))
    found = table(noise_robustness(model, torch.randn(8, 6), at="second", sites="sec*"))
    assert list(found) == [("second", "second#2")]
    found = table(noise_robustness(model, torch.randn(8, 6), at=["second", "second#2"], sites="output"))
    assert found["second#2", "output"] == pytest.approx(LEVEL, rel=0.2)  # it is the output
    assert found["second", "output"] < found["second#2", "output"]


class Keywords(nn.Module):
    """Takes two inputs by name, returns what `pack` makes of two tensors."""

    def __init__(self, pack: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
        super().__init__()
        self.pack, self.left, self.right = pack, nn.Linear(4, 3), nn.Linear(5, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Any:
        return self.pack(self.left(left), self.right(right))


def test_batches_and_outputs_of_any_form() -> None:
    """Dicts and tuples in and out: the output is all its floating tensors as one vector."""
    inputs = {"left": torch.randn(8, 4), "right": torch.randn(8, 5), "labels": torch.arange(8)}
    forms: list[Callable[..., Any]] = [
        lambda a, b: torch.cat([a, b], 1),
        lambda a, b: (a, [b]),
        lambda a, b: {"a": a, "n": 3, "ids": a.argmax(1), "b": b},
    ]
    found = []
    for pack in forms:
        torch.manual_seed(2)
        model = Keywords(pack)
        found += [
            noise_robustness(model, [inputs]),
            noise_robustness(model, [(inputs["left"], inputs["right"], inputs["labels"])]),
        ]
    assert all(one == found[0] for one in found)
    assert table(found[0])["left", "right"] == 0
    assert 0 < table(found[0])["left", "output"] < LEVEL
    with pytest.warns(GaussprobeWarning, match="output: 1 tensors have no row to each example"):
        beside = noise_robustness(Keywords(lambda a, b: (a, b, a.mean())), [inputs])
    assert len(beside) == 3


def test_sequence_first_is_read_by_example() -> None:
    """Examples along the second dimension are the examples."""
    x, results = torch.randn(5, 7, 4), []
    for batch_first in (True, False):
        torch.manual_seed(3)
        model = Recurrent(batch_first)
        data = x if batch_first else x.transpose(0, 1).contiguous()
        results.append(noise_robustness(model, [data]))
    assert [(one.at, one.site) for one in results[0]] == [
        ("first", "second"),
        ("first", "output"),
        ("second", "output"),
    ]
    for one, other in zip(*results, strict=True):
        assert one.change == pytest.approx(other.change, rel=1e-5)


class Recurrent(nn.Module):
    """LSTM and two linear layers at every step."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=batch_first)
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.lstm(x)[0]))


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_examples_without_a_direction_are_left_out(bad: float) -> None:
    """An example of norm 0 or not finite is named and counts for nothing; of nothing else comes NaN."""
    model, x = linear_chain(4, 4, 4, 4), torch.randn(8, 4, dtype=torch.float64)
    x[-1] = bad
    with pytest.warns(GaussprobeWarning) as said:
        found = noise_robustness(model, x)
    heads = {str(one.message).split(":")[0] for one in said}
    assert heads == {"0", "1", "2"}
    assert all("1 of 8 examples left out: a norm of 0" in str(one.message) for one in said)
    # The noise of the others is theirs: no example of eight is needed for the first seven.
    assert noise_robustness(model, x, max_examples=7) == found
    with pytest.warns(GaussprobeWarning, match="8 of 8"):
        nothing = noise_robustness(model, torch.full_like(x, bad))
    assert len(nothing) == 6
    assert all(math.isnan(one.change) for one in nothing)


def test_examples_without_a_norm_at_the_start_do_not_count() -> None:
    """Also where a bias makes something of them further on."""
    model, x = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4)).double(), torch.ones(8, 4).double()
    x[-1] = 0
    with pytest.warns(GaussprobeWarning, match="0: 1 of 8 examples left out: a norm of 0"):
        found = noise_robustness(model, x, at="0")
    assert noise_robustness(model, x, at="0", max_examples=7) == found


class Unruly(nn.Module):
    """Its second layer is reached by an even call alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.calls = nn.Linear(4, 4), nn.Linear(4, 4), 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.first(x)
        return x if self.calls % 2 else self.second(x)


def test_sites_not_reached_are_told() -> None:
    """A site that is not passed every time has no change, and a warning says so."""
    with pytest.warns(GaussprobeWarning, match="second: 8 of 8 examples left out: not reached in every pass"):
        found = table(noise_robustness(Unruly(), torch.randn(8, 4), at="first"))
    assert math.isnan(found["first", "second"])
    assert found["first", "output"] > 0


def test_rows_that_are_no_examples_are_told() -> None:
    """A layer over rows whose examples cannot be told gives NaN, as a site and as a start."""

    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x)[:5]).sum() + x

    with pytest.warns(GaussprobeWarning, match="second: 8 of 8 examples left out: .* without a row"):
        found = table(noise_robustness(Ragged(), torch.randn(8, 4)))
    assert math.isnan(found["first", "second"])
    assert math.isnan(found["second", "output"])
    assert found["first", "output"] > 0


def test_the_name_output_is_the_models() -> None:
    """A module called so is not read, which is said."""
    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 4))
    model.add_module("output", nn.Linear(4, 4))
    model.add_module("last", nn.Tanh())
    with pytest.warns(GaussprobeWarning, match="the module of that name is not read"):
        found = noise_robustness(model, torch.randn(8, 4))
    assert [(one.at, one.site) for one in found] == [("first", "output"), ("output", "output")]


def test_functional_sites_are_refused_by_name() -> None:
    """What is no module's output is refused where it is named and skipped where a pattern meets it."""
    model, x = SharedFunctional(nn.Linear(6, 5), nn.Linear(5, 5)), torch.randn(8, 6)
    for argument in ("at", "sites"):
        with pytest.raises(SelectionError, match=rf"{argument} ':relu' must be the output of a module"):
            noise_robustness(model, x, **{argument: ["first", ":relu"]})
        with pytest.raises(SelectionError, match=rf"{argument} 'frist' matches none of 5 sites\n.*first"):
            noise_robustness(model, x, **{argument: ["second", "frist"]})
    with pytest.warns(GaussprobeWarning, match="at: not the output of a module, skipped: :relu, :tanh"):
        found = noise_robustness(model, x, at="*", sites="output")
    assert [one.at for one in found] == ["first", "second", "second#2"]
    with (
        pytest.warns(GaussprobeWarning, match="skipped"),
        pytest.raises(SelectionError, match="no output of a module"),
    ):
        noise_robustness(model, x, at=":*")
    with pytest.warns(GaussprobeWarning, match="'second#2': none of the sites to be read runs after it"):
        assert noise_robustness(model, x, at="second#2", sites="first") == ()


def test_without_normalization_linear_layers_are_taken() -> None:
    """Where noise goes by default, and that a model with neither kind is refused."""
    found = noise_robustness(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(8, 4))
    assert [(one.at, one.site) for one in found] == [("0", "2"), ("0", "output"), ("2", "output")]
    with pytest.raises(CaptureError, match="no module that normalizes"):
        noise_robustness(nn.Sequential(nn.Tanh()), torch.randn(8, 4))
    with pytest.raises(CaptureError, match="nothing was captured"):
        noise_robustness(nn.Identity(), torch.randn(8, 4))


def test_normality_normalization_is_a_start() -> None:
    """Its layers are normalization layers, and add no noise of their own in evaluation."""
    model = gp.nn.gaussianize(build_mnist5k_cnn())
    found = table(noise_robustness(model, torch.randn(4, 1, 28, 28), level=1e-4, sites="output", draws=1))
    assert [at for at, _ in found] == ["1", "5", "9"]
    assert all(0 < change < 1e-3 for change in found.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_programs_are_refused() -> None:
    """A compiled program has no modules to hook."""
    program = torch.jit.trace(nn.Sequential(nn.Linear(4, 4)), torch.randn(2, 4))
    with pytest.raises(UnsupportedError, match="compiled program"):
        noise_robustness(program, torch.randn(8, 4))


def test_nothing_is_made_up() -> None:
    """Without data it is refused, as by the other measures."""
    with pytest.raises(ValueError, match="batches must be given"):
        noise_robustness(nn.Sequential(nn.Linear(4, 4)), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 0}, "level must be a positive number; got 0"),
        ({"level": -1.0}, "level"),
        ({"level": math.nan}, "level"),
        ({"level": math.inf}, "level"),
        ({"level": True}, "level"),
        ({"level": "1"}, "level"),
        ({"draws": 0}, "draws must be an integer of at least 1; got 0"),
        ({"draws": 1.5}, "draws"),
        ({"max_examples": 0}, "max_examples"),
        ({"max_examples": True}, "max_examples"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"at": 3}, "at must be patterns"),
        ({"sites": ["0", 1]}, "sites must be patterns"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    """Refused by name."""
    with pytest.raises(ValueError, match=message):
        noise_robustness(nn.Linear(4, 4), torch.randn(8, 4), **options)


def test_what_is_no_model_or_no_data() -> None:
    """Refused before anything runs."""
    with pytest.raises(ValueError, match="model must be"):
        noise_robustness(lambda x: x, torch.randn(8, 4))  # type: ignore[arg-type]
    for data in ([], torch.empty(0, 4), [torch.tensor(1.0)]):
        with pytest.raises(DataError):
            noise_robustness(nn.Linear(4, 4), data)


@settings(deadline=None, max_examples=30)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    scale=st.sampled_from([1e-18, 0.5, 4.0, 1e17]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_noise_goes_with_the_scale(shape: list[int], scale: float, dtype: torch.dtype) -> None:
    """Noise of c x is c times that of x, and no example's norm is lost for being small or large."""
    x = torch.randn(shape).to(dtype)
    one, other = x.clone(), x * scale
    assert add_noise(one, LEVEL, torch.Generator().manual_seed(5)).all()
    assert add_noise(other, LEVEL, torch.Generator().manual_seed(5)).all()
    assert not torch.equal(one, x)
    # Rounded once in x * scale and once in the sum.
    rtol = 4 * torch.finfo(dtype).eps
    norm = float(one.double().norm())
    torch.testing.assert_close(other.double() / scale, one.double(), rtol=rtol, atol=rtol * norm)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 4), k=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_change_is_of_ratios(n: int, k: int, seed: int) -> None:
    """As written in its formula, whatever the scale and the order of numbers; examples stay apart."""
    generator = torch.Generator().manual_seed(seed)
    y, z = torch.randn(2, n, k, dtype=torch.float64, generator=generator)
    found = squared_change(y, z)
    rows = [float(sum((z[i] - y[i]) ** 2) / sum(y[i] ** 2)) for i in range(n)]
    assert found.tolist() == pytest.approx(rows, rel=1e-9)
    order = torch.randperm(k, generator=generator)
    torch.testing.assert_close(squared_change(8 * y[:, order], 8 * z[:, order]), found)
    y[0] = 0
    assert squared_change(y, z).isnan().tolist() == [True] + [False] * (n - 1)


@pytest.mark.gpu
@needs.CUDA
def test_cuda_is_its_closed_form() -> None:
    """On a GPU the noise has its level too, and the generators there are as before."""
    model, x = linear_chain(12, 20, 16), torch.randn(400, 12, dtype=torch.float64)
    model.requires_grad_(False)
    mean, error = expected(x @ model[0].weight.T, model[1].weight, 8)
    before = torch.cuda.get_rng_state()
    found = table(noise_robustness(model.cuda(), x, level=LEVEL, at="0", draws=8, max_examples=400))
    assert abs(found["0", "1"] ** 2 - mean) < 4 * error
    assert found["0", "1"] == found["0", "output"]
    assert torch.equal(torch.cuda.get_rng_state(), before)
