"""Units of any model over random initializations, at one input."""

from __future__ import annotations

import io
import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe import stats, views
from gaussprobe.borrow import isolated_rng
from gaussprobe.capture import Capture, Plan
from gaussprobe.errors import (
    CaptureError,
    DataError,
    FactoryError,
    ForwardError,
    SelectionError,
)
from gaussprobe.initializations import draw_seed, drawing
from gaussprobe.reports import json_form
from gaussprobe.types import LayerScore, Run, Samples

pytestmark = pytest.mark.usefixtures("one_thread")


def by_name(run: Run) -> dict[str, LayerScore]:
    return {score.site: score for score in run.scores}


def gaussian_(model: nn.Module, scale: float = 1.0) -> nn.Module:
    """Weights from N(0, scale^2 / fan-in), no biases."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.normal_(module.weight, std=scale / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def build_cnn() -> nn.Module:
    return gaussian_(
        nn.Sequential(
            nn.Conv2d(1, 128, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128 * 16, 4, bias=False)
        )
    )


def build_small() -> nn.Module:
    """Stock layers of every sort: convolution, BatchNorm, an activation in place, pooling, a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6 * 9, 5),
    )


def deep(width: int, depth: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width, width, bias=False), nn.ReLU()]
        return gaussian_(nn.Sequential(*layers, nn.Linear(width, width, bias=False)), math.sqrt(2))

    return build


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Samples]:
    """The samples that were scored last, by site."""
    found: dict[str, Samples] = {}
    original = views.score

    def keep(samples: Samples, *, view: Any = "unit") -> Any:
        found[samples.site.name] = samples
        return original(samples, view=view)

    monkeypatch.setattr(drawing.views, "score", keep)
    return found


# -- what is measured


def test_agrees_with_a_loop_by_hand(kept: dict[str, Samples]) -> None:
    """Each row is what a hook reads of that network at the middle position, to the last digit."""
    x = torch.randn(1, 1, 6, 6)
    run = gp.signal.ensemble(build_small, x, draws=20, seed=3)
    read: dict[str, list[torch.Tensor]] = {name: [] for name in ("0", "1", "2", "4", "5", "7")}
    for draw in range(20):
        with isolated_rng(draw_seed(3, draw)):
            model = build_small()
        handles = []
        for name, middle in (("0", 3), ("1", 3), ("2", 3), ("4", 1), ("5", 1), ("7", None)):

            def hook(_m: Any, _i: Any, out: torch.Tensor, name: str = name, at: int | None = middle) -> None:
                read[name].append((out[0] if at is None else out[0, :, at, at]).detach().clone())

            handles.append(model.get_submodule(name).register_forward_hook(hook))
        model.eval()(x)
        for handle in handles:
            handle.remove()
    assert list(kept) == list(read) == [score.site for score in run.scores]
    for name, rows in read.items():
        assert torch.equal(kept[name].values, torch.stack(rows))
    assert kept["0"].examples.tolist() == list(range(20))
    first = by_name(run)["0"]
    assert (first.n_seen, first.n_tested, first.num_features) == (20, 20, 4)
    median = np.median(stats.skewness(kept["0"].values.double()).numpy())
    assert first.skewness == pytest.approx(float(median), abs=1e-6)
    assert (run.metadata.view, run.metadata.max_samples) == ("init", 20)
    assert first.notes[0] == "of 6 x 6 positions the middle one (3, 3), the same in every network"


def test_levels_hold_in_an_exactly_gaussian_first_layer(kept: dict[str, Samples]) -> None:
    """Of Gaussian weights, 1,280 units over 10 seeds are rejected at .05 as often as that, by four tests.

    The units are independent: one standard error is sqrt(.05 .95 / 1,280) = .0061.
    """
    x = torch.randn(1, 1, 4, 4)
    battery: tuple[Any, ...] = ("shapiro_wilk", "lilliefors", "anderson_darling", "dagostino_pearson")
    pvalues: dict[str, list[torch.Tensor]] = {name: [] for name in battery}
    for seed in range(10):
        run = gp.signal.ensemble(build_cnn, x, draws=200, seed=seed, include="0")
        for name, result in stats.battery(kept["0"].values, battery).items():
            pvalues[name].append(result.pvalue)
        assert run.scores[0].tests["shapiro_wilk"].pvalue is not None
        assert run.scores[0].departure == "none"
    error = math.sqrt(0.05 * 0.95 / 1280)
    for name in battery:
        rate = float((torch.cat(pvalues[name]) < 0.05).float().mean())
        assert rate == pytest.approx(0.05, abs=4 * error), name


def test_a_first_layer_of_gaussian_weights_is_called_gaussian() -> None:
    """With 1,000 networks the first layer's verdict is gaussian, and its sd that of the input's norm."""
    run = gp.signal.ensemble(build_cnn, torch.randn(1, 1, 4, 4), draws=1000, include="0")
    assert (run.scores[0].verdict, run.scores[0].departure) == ("gaussian", "none")
    assert run.scores[0].delta.high < 0.0025


def test_a_deep_narrow_network_is_heavy_tailed() -> None:
    """ReLU, width 10, depth 15, Gaussian He weights: the first layer is Gaussian, the last heavy-tailed."""
    run = gp.signal.ensemble(deep(10, 15), torch.randn(1, 10), draws=500, include=["0", "2", "30"])
    scores = by_name(run)
    assert scores["0"].departure == "none"
    assert (scores["30"].verdict, scores["30"].departure) == ("non-gaussian", "heavy-tailed")
    assert scores["2"].delta.median < scores["30"].delta.median


def test_a_very_narrow_network_dies_and_is_said_to_have_atoms() -> None:
    """Width 3: a layer is all 0 in one network of eight, so the tenth holds exact zeros in most."""
    run = gp.signal.ensemble(deep(3, 10), torch.randn(1, 3), draws=400, include="20")
    assert (run.scores[0].verdict, run.scores[0].departure) == ("non-gaussian", "atoms")


def test_the_default_weights_of_torch_are_reported_as_found() -> None:
    """A default Linear of one input and no bias is uniform: light-tailed; one of many inputs is Gaussian."""
    narrow = gp.signal.ensemble(lambda: nn.Linear(1, 32, bias=False), torch.ones(1, 1), draws=1000)
    assert (narrow.scores[0].verdict, narrow.scores[0].departure) == ("non-gaussian", "light-tailed")
    wide = gp.signal.ensemble(lambda: nn.Linear(400, 32), torch.ones(1, 400), draws=1000)
    assert wide.scores[0].verdict == "gaussian"


def test_one_position_is_normal_where_random_ones_are_a_mixture(kept: dict[str, Samples]) -> None:
    """With zero padding a pixel drawn anew in each network is heavy-tailed; the middle one is not.

    Of a kernel of 9 over 9 ones padded by 8, position k of 17 sums 9 - |k - 8| weights: variances from 1/9
    to 1, of mean 81/17 and mean square 489/17 ninths, so that the mixture's excess kurtosis is
    3 (489 * 17 / 81^2 - 1) = .801. One standard error of the mean over 64 units and 1,000 networks is
    sqrt(24 / 64,000) = .019 for normal values, not above .05 for the mixture.
    """

    def build() -> nn.Module:
        return gaussian_(nn.Conv1d(1, 64, 9, padding=8, bias=False))

    x = torch.ones(1, 1, 9)
    run = gp.signal.ensemble(build, x, draws=1000, seed=1)
    assert run.scores[0].verdict == "gaussian"
    middle = stats.excess_kurtosis(kept[""].values.double())
    assert float(middle.mean()) == pytest.approx(0.0, abs=4 * 0.019)
    assert float(kept[""].values.std()) == pytest.approx(1.0, abs=4 / math.sqrt(2 * 64_000))
    drawn = []
    generator = torch.Generator().manual_seed(0)
    for draw in range(1000):
        with isolated_rng(draw_seed(1, draw)), torch.no_grad():
            out = build()(x)
        drawn.append(out[0, :, torch.randint(17, (1,), generator=generator)[0]])
    mixed = stats.excess_kurtosis(torch.stack(drawn).double())
    assert float(mixed.mean()) == pytest.approx(3 * (489 * 17 / 81**2 - 1), abs=4 * 0.05)


def test_the_position_is_the_same_whatever_the_seed(kept: dict[str, Samples]) -> None:
    """Two seeds read the same position of a map that is not random there."""

    class Ramp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + 0 * self.scale)

    x = torch.arange(1.0, 36.0).view(1, 1, 5, 7)
    for seed in (0, 1, 2):
        run = gp.signal.ensemble(Ramp, x, draws=8, seed=seed)
        assert set(kept[":relu"].values.flatten().tolist()) == {2 * 7 + 3 + 1.0}
        assert run.scores[0].departure == "constant"
        assert run.scores[0].notes[0].startswith("no unit varies")


class Tokens(nn.Module):
    """A linear map of tokens, with a mask of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.map = nn.Linear(6, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        out: torch.Tensor = self.map(self.embed(input_ids))
        return out


def test_padding_is_no_position(kept: dict[str, Samples]) -> None:
    """Of a padded sequence the middle one of the tokens that are data is taken; the whole one without."""
    ids = torch.tensor([[1, 2, 3, 4, 5, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
    alone = torch.tensor([[3]])
    run = gp.signal.ensemble(Tokens, {"input_ids": ids, "attention_mask": mask}, draws=12)
    padded = kept["map"].values
    gp.signal.ensemble(Tokens, {"input_ids": alone}, draws=12)
    assert torch.allclose(padded, kept["map"].values, atol=1e-6)
    assert run.scores[0].notes[0].startswith("of 5 positions that are no padding the middle one")
    gp.signal.ensemble(Tokens, (ids,), draws=12)
    fifth = kept["map"].values
    gp.signal.ensemble(Tokens, ids[:, 4:5], draws=12)
    assert torch.allclose(fifth, kept["map"].values, atol=1e-6)


@pytest.mark.parametrize("grid", [(1,), (2,), (7,), (4, 5), (3, 1, 6)])
def test_the_middle_is_the_middle(grid: tuple[int, ...]) -> None:
    """A capture of the middle reads index size // 2 along each dimension, of every example."""
    x = torch.arange(2.0 * math.prod(grid)).view(2, 1, *grid)
    with Capture(nn.ReLU(), plan=Plan(max_samples=9, middle=True)) as capture, capture.forward(2):
        capture.model(x)
    one = capture.samples()[0]
    at = tuple(size // 2 for size in grid)
    if len(grid) > 1:  # of images the channels are second
        assert one.values.flatten().tolist() == [float(x[(i, 0, *at)]) for i in range(2)]
    assert one.sampling.positions_per_example == 1


# -- networks are a sample, and nothing of the caller's changes


def test_same_seed_same_numbers_and_nothing_of_the_callers_is_touched() -> None:
    """Twice the same run to the letter; another seed differs; generators, input, flags stay as they were."""
    built: list[nn.Module] = []

    def build() -> nn.Module:
        model = build_small()
        with torch.no_grad():
            model[0].weight *= 1 + random.random() + np.random.rand()
        model[1].eval()
        built.append(model)
        return model

    x = torch.randn(1, 1, 6, 6)
    before = x.clone()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    runs = [gp.signal.ensemble(build, x, draws=10, seed=seed) for seed in (7, 7, 8)]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert torch.equal(x, before)
    texts = [json_form.dumps(run) for run in runs]
    assert texts[0] == texts[1] != texts[2]
    assert runs[0].scores != runs[2].scores
    assert len(built) == 30
    for model in built:
        assert [m.training for m in model.modules()] == [True, True, False, *[True] * 6]
        assert int(model[1].num_batches_tracked) == 0
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_input_written_into_is_fresh_for_each_network(kept: dict[str, Samples]) -> None:
    """A model that overwrites its input disturbs neither the next network nor the caller."""

    def build() -> nn.Module:
        return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))

    x = torch.tensor([[-1.0, 2.0, -3.0]])
    gp.signal.ensemble(build, x, draws=8)
    assert torch.equal(kept["0:input"].values, x.expand(8, 3))
    assert torch.equal(x, torch.tensor([[-1.0, 2.0, -3.0]]))


def fixed_seed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


ONE = nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (fixed_seed, r"fixed_seed: gave the same weights twice, .*no sample.*\n.*fixed seed"),
        (lambda: ONE, r"build: gave one and the same module twice"),
        (nn.ReLU, r"ReLU: its networks have no weights"),
        (lambda: 3, r"draw 0 returned int, not a torch.nn.Module"),
        (lambda: 1 / 0, r"building the network of draw 0 failed: ZeroDivisionError: division by zero"),
        ("tests.signal.test_ensemble:ONE", r"is one network; name the function"),
        ("tests.signal.test_ensemble:nothing", r"has no 'nothing'"),
    ],
)
def test_what_is_no_sample_of_networks_is_refused(build: Any, match: str) -> None:
    """One network again and again, no weights, no module: each is refused and named."""
    with pytest.raises(FactoryError, match=match):
        gp.signal.ensemble(build, torch.ones(1, 3), draws=8)


def test_the_draw_that_fails_is_named() -> None:
    """A function that raises in its sixth call is told of draw 5; a forward likewise."""
    calls = itertools.count()

    def build() -> nn.Module:
        if next(calls) == 5:
            raise OSError("no more")
        return nn.Linear(3, 2)

    with pytest.raises(FactoryError, match="network of draw 5 failed: OSError: no more"):
        gp.signal.ensemble(build, torch.ones(1, 3), draws=8)
    sizes = iter([3, 3, 4])
    with pytest.raises(ForwardError, match=r"draw 2: the model's forward failed .*\(1, 3\) float32"):
        gp.signal.ensemble(lambda: nn.Linear(next(sizes), 2), torch.ones(1, 3), draws=8)


def test_the_same_module_with_weights_drawn_anew_is_a_sample() -> None:
    """One module whose weights are drawn again in each call gives what new modules give."""
    one = nn.Linear(3, 2)

    def again() -> nn.Module:
        one.reset_parameters()
        return one

    x = torch.ones(1, 3)
    first = gp.signal.ensemble(again, x, draws=20)
    assert first.scores == gp.signal.ensemble(lambda: nn.Linear(3, 2), x, draws=20).scores
    assert first.warnings == ()


def test_seeds_of_draws_differ_in_what_generators_take() -> None:
    """No two of 20,000 draws agree in the last 32 bits, which is all that torch's CPU generator takes."""
    for seed in (0, 2, 2**40):
        seeds = [draw_seed(seed, draw) for draw in range(20_000)]
        assert len({one % 2**32 for one in seeds}) == len(seeds)
        assert all(0 <= one < 2**63 for one in seeds)
    # Of no two neighbours more alike than of strangers: each bit of the 32 differs in half of them.
    words = np.array([one % 2**32 for one in seeds], dtype=np.uint64)
    flipped = [float(np.mean((words[1:] ^ words[:-1]) >> np.uint64(bit) & np.uint64(1))) for bit in range(32)]
    assert flipped == pytest.approx([0.5] * 32, abs=4 * 0.5 / math.sqrt(20_000))


def test_repeated_networks_are_dependent_and_said_so(kept: dict[str, Samples]) -> None:
    """Of three networks gone through again and again, rows belong to three groups and have no p-value."""
    seeds = itertools.cycle([4, 5, 6])

    def build() -> nn.Module:
        torch.manual_seed(next(seeds))
        return nn.Linear(3, 2)

    run = gp.signal.ensemble(build, torch.ones(1, 3), draws=30)
    assert kept[""].examples.tolist() == [0, 1, 2] * 10
    score = run.scores[0]
    assert score.verdict == "undetermined"
    assert score.tests["shapiro_wilk"].pvalue is None
    assert run.warnings[0].startswith("27 of 30 networks have the weights of an earlier one")


def test_weights_that_stay_are_named() -> None:
    """A pretrained body under a new head: the body's weights are named, and its sites called constant."""
    body = nn.Linear(3, 4)

    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        model[0].load_state_dict(body.state_dict())
        return model

    run = gp.signal.ensemble(build, torch.ones(1, 3), draws=40)
    assert run.warnings == (
        "the same in every network: 0.weight; what depends on nothing else does not vary",
    )
    scores = by_name(run)
    assert scores["0"].departure == "constant"
    assert scores["1"].departure != "constant"


def test_networks_of_different_sites_are_told_apart() -> None:
    """A layer that some networks lack, or have of another width, is scored over the others, and named."""

    def build() -> nn.Module:
        layers = [nn.Linear(3, 4)]
        kind = int(torch.randint(3, (1,)))
        return nn.Sequential(*layers, *([nn.Linear(4, 5 + kind)] if kind else []))

    run = gp.signal.ensemble(build, torch.ones(1, 3), draws=60, seed=0)
    widths = []
    for draw in range(60):
        with isolated_rng(draw_seed(0, draw)):
            made = list(build())  # type: ignore[call-overload]
            widths.append(made[1].out_features if len(made) > 1 else None)
    like = next(width for width in widths if width)
    scores = by_name(run)
    assert scores["0"].n_seen == 60
    reasons = [item.reason for item in run.not_captured if item.site == "1"]
    assert len(reasons) == 2
    assert any("there was no such site" in reason for reason in reasons)
    assert any("units, not" in reason for reason in reasons)
    count = widths.count(like)
    assert (scores["1"].n_seen, scores["1"].num_features) == (count, like)
    assert any(f"{count} of 60 networks have this site" in note for note in scores["1"].notes)
    absent = [draw for draw, width in enumerate(widths) if width is None]
    assert any(f"in {len(absent)} of 60 networks (draws {absent[0]}, {absent[1]}" in r for r in reasons)
    assert run.warnings[-1].startswith("the networks differ in their sites: 1 not alike")


def test_nonfinite_activations_are_counted_and_their_networks_named() -> None:
    """Infinite weights in some networks make the site non-finite, with their draws among the notes."""

    def build() -> nn.Module:
        model = nn.Linear(3, 4)
        with torch.no_grad():
            if torch.rand(()) < 0.2:
                model.weight[1] = math.inf
        return model

    run = gp.signal.ensemble(build, torch.ones(1, 3), draws=40)
    score = run.scores[0]
    assert (score.verdict, score.departure) == ("undetermined", "non-finite")
    assert "in 1 of 4 units" in score.notes[0]
    broken = []
    for draw in range(40):
        with isolated_rng(draw_seed(0, draw)):
            if not bool(torch.isfinite(build().weight).all()):
                broken.append(draw)
    assert f"in {len(broken)} of 40 networks (draws {', '.join(map(str, broken[:6]))}" in score.notes[1]


def test_lazy_modules_are_drawn_when_they_first_run(kept: dict[str, Samples]) -> None:
    """Weights that take their shape from the input come from the draw's own seed."""
    x = torch.ones(1, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.showwarning", lambda *args, **kwargs: None)
        gp.signal.ensemble(lambda: nn.LazyLinear(2), x, draws=10)
    lazy = kept[""].values
    gp.signal.ensemble(lambda: nn.Linear(3, 2), x, draws=10)
    assert torch.equal(lazy, kept[""].values)


# -- modes, options, other forms of input


def test_training_mode_of_one_example() -> None:
    """Images are normalized by their own pixels; a dense BatchNorm cannot be, and the error says why."""
    x = torch.randn(1, 1, 6, 6)
    run = gp.signal.ensemble(build_small, x, draws=20, mode="train")
    assert run.metadata.mode == "train"
    assert "the model ran in training mode" in run.warnings
    assert run.scores[0].tests["shapiro_wilk"].pvalue is not None
    with pytest.raises(ForwardError, match=r"draw 0: .*after site '0'.*\n.*more than 1 value.*one example"):
        gp.signal.ensemble(
            lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), torch.ones(1, 3), draws=8, mode="train"
        )


def test_units_are_drawn_where_there_are_many(kept: dict[str, Samples]) -> None:
    """The same random units in every network, noted; memory is that of those."""
    run = gp.signal.ensemble(lambda: nn.Linear(3, 50), torch.ones(1, 3), draws=16, max_units=5)
    assert kept[""].values.shape == (16, 5)
    assert "5 of 50 units were drawn at random and scored" in run.scores[0].notes


@pytest.mark.parametrize(
    "x",
    [np.ones((1, 3)), [torch.ones(1, 3)], (torch.ones(1, 3), torch.tensor([1])), {"input": torch.ones(1, 3)}],
)
def test_a_batch_is_what_the_house_calls_one(x: Any) -> None:
    """Arrays, lists, tuples with a target and dicts give what the tensor gives."""
    run = gp.signal.ensemble(lambda: nn.Linear(3, 2), x, draws=12)
    assert run.scores == gp.signal.ensemble(lambda: nn.Linear(3, 2), torch.ones(1, 3), draws=12).scores


def test_a_sequence_first_model_has_its_one_example_second(kept: dict[str, Samples]) -> None:
    """Of (7, 1, 3) into an LSTM the seven are positions; (1, 7, 3) is seven examples."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.lstm(x)[0])
            return out

    run = gp.signal.ensemble(Recurrent, torch.randn(7, 1, 3), draws=12)
    assert kept["head"].values.shape == (12, 2)
    assert [item.site for item in run.not_captured] == ["lstm"]
    with pytest.raises(ValueError, match=r"x must hold one example.* got 7 along dimension 1"):
        gp.signal.ensemble(Recurrent, torch.randn(1, 7, 3), draws=12)


def test_tokens_merged_into_the_first_dimension_are_positions_and_rows_independent() -> None:
    """(9, 3) inside a model of one example is read as nine positions, and p-values stay."""

    class Merged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.map(x.flatten(0, 1))
            return out

    score = gp.signal.ensemble(Merged, torch.randn(1, 9, 3), draws=20).scores[0]
    assert score.tests["shapiro_wilk"].pvalue is not None
    assert score.notes[0] == "its first dimension is 9 times the batch's, read as 9 positions of each example"
    assert not any("p-value" in note for note in score.notes)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"x": torch.ones(2, 3)},
            ValueError,
            r"x must hold one example, .* got 2 along dimension 0 .*x\[None",
        ),
        ({"x": torch.ones(0, 3)}, ValueError, "got 0 along"),
        ({"x": torch.tensor(1.0)}, DataError, "a batch is a single number"),
        ({"x": "x.npy"}, DataError, "a batch is 'str'"),
        ({"x": torch.ones(1, 4)}, ForwardError, r"draw 0: .*\(1, 4\) float32"),
        ({"draws": 7}, ValueError, "draws must be an integer of at least 8; got 7"),
        ({"draws": 8.0}, ValueError, "draws must be an integer .* got 8.0"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"mode": "test"}, ValueError, "mode must be"),
        ({"kind": "relu"}, ValueError, "kind must be among"),
        ({"kind": "norm"}, SelectionError, "no site is of kind norm"),
        ({"include": "nope"}, SelectionError, "matches none of 1 sites"),
        ({"max_units": 0}, ValueError, "max_units must be"),
        ({"deep": "gates"}, ValueError, "deep must be"),
        ({"device": "meta"}, DataError, "device 'meta' cannot be used"),
        ({"build": ONE}, ValueError, "build must be a function .* got Linear, which is one network"),
        ({"build": 3}, ValueError, "build must be a function .* got int"),
        (
            {"build": lambda: nn.Embedding(3, 2), "x": torch.tensor([[1]])},
            CaptureError,
            "nothing was captured",
        ),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], error: type[Exception], match: str) -> None:
    """What cannot be used is refused by name."""
    given: dict[str, Any] = {"build": lambda: nn.Linear(3, 2), "x": torch.ones(1, 3), "draws": 8, **options}
    with pytest.raises(error, match=match):
        gp.signal.ensemble(given.pop("build"), given.pop("x"), **given)


def test_progress_goes_through_all_networks() -> None:
    """Each network is told of before it is drawn."""
    told: list[tuple[str, int, int | None]] = []
    gp.signal.ensemble(
        lambda: nn.Linear(3, 2), torch.ones(1, 3), draws=9, progress=lambda *what: told.append(what)
    )
    assert told[:9] == [("drawing networks", draw, 9) for draw in range(9)]


# -- what becomes of a run


def test_a_run_is_kept_and_told_of_in_every_form(tmp_path: Path) -> None:
    """Stored and read again it is equal; page, table and JSON speak of initializations, not of examples."""
    from rich.console import Console

    from gaussprobe.reports import html, terminal

    run = gp.signal.ensemble(build_small, torch.randn(1, 1, 6, 6), draws=40)
    run.save(tmp_path / "run.sqlite")
    again = gp.load(tmp_path / "run.sqlite")
    assert json_form.dumps(again) == json_form.dumps(run)
    console = Console(width=100, record=True, file=io.StringIO())
    terminal.render(again, console)
    table, page = console.export_text(), html.render(again)
    assert "40 initializations" in table
    assert "each in every network" in table
    assert "the middle one was taken, the same in every network" in " ".join(table.split())
    assert "20 groups of initializations" in page
    assert "40 initializations tested of 40 seen" in page
    assert "<dt>Initializations</dt><dd>40</dd>" in page
    assert "view init (each unit across random initializations, at one input)" in page
    assert "units rejected" in page
    for text in (table, page):
        assert "examples" not in text.replace("n_examples", "")
    frame = run.to_frame()
    assert list(frame["n_tested"]) == [40] * len(run.scores)
    assert frame["tests_shapiro_wilk_pvalue"].notna().all()
