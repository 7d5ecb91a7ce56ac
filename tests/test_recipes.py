"""Built-in experiments."""

from __future__ import annotations

import itertools
import math
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gaussprobe as gp
from gaussprobe import recipes
from gaussprobe.capture.kinds import module_kind
from gaussprobe.errors import StoreError
from gaussprobe.nn.layers import Normality
from gaussprobe.recipes import RECIPES, gaussianize_with, variation
from gaussprobe.recipes.sweeps import at
from gaussprobe.recipes.training import shifted, train_digits
from tests.smallrecipe import SMALL


@pytest.fixture(name="small")
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe called `small`."""
    monkeypatch.setitem(RECIPES, "small", SMALL)


class Told:
    """A probe that only counts."""

    steps = 0

    def step(self, **metrics: Any) -> None:
        self.steps += 1

    def measure(self, batches: Any, **options: Any) -> None:
        """Nothing."""


def cnn() -> nn.Module:
    """The CNN of the first release, written out."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def mlp() -> nn.Module:
    """The MLP likewise."""
    hidden: list[nn.Module] = []
    for width in (784, 128, 128):
        hidden += [nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(inplace=True)]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))


def test_digits_are_all_there_and_standardised() -> None:
    """5,000 digits, 500 of each class, split 4,000 to 1,000; the training pixels have mean 0 and sd 1."""
    digits = recipes.load_mnist5k()
    labels = torch.cat([digits.train_labels, digits.test_labels])
    assert torch.bincount(labels).tolist() == [500] * 10
    assert digits.train_images.shape == (4000, 1, 28, 28)
    assert digits.test_images.shape == (1000, 1, 28, 28)
    assert abs(float(digits.train_images.mean())) < 1e-4
    assert abs(float(digits.train_images.std()) - 1) < 1e-4


def test_training_learns_and_leaves_the_generator_alone() -> None:
    """One epoch gets more than 90 % of held-out digits right; the global generator is as before."""
    state = torch.get_rng_state()
    trained = recipes.train_mnist5k(recipes.load_mnist5k(), epochs=1)
    assert trained.accuracy > 0.9
    assert not trained.model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "written_out"), [("mnist5k-cnn", cnn), ("digits-mlp", mlp)])
def test_networks_are_what_they_were(name: str, written_out: Any) -> None:
    """Without width and depth the same names, and the same initial weights to the last digit."""
    torch.manual_seed(3)
    expected = written_out().state_dict()
    torch.manual_seed(3)
    found = RECIPES[name].build().state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_training_is_what_it_was() -> None:
    """Without batch and shift: Adam at 2e-3, minibatches of 64, a cosine, to the last digit."""
    torch.manual_seed(3)
    model, expected = recipes.build_mnist5k_mlp(), mlp()
    expected.load_state_dict(model.state_dict())
    probe = Told()
    metrics = train_digits(model, probe, 5, epochs=1)  # type: ignore[arg-type]
    digits = recipes.load_mnist5k()
    optimizer = torch.optim.Adam(expected.parameters(), lr=2e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 63)
    for rows in torch.randperm(4000, generator=torch.Generator().manual_seed(5)).split(64):
        optimizer.zero_grad()
        F.cross_entropy(expected(digits.train_images[rows]), digits.train_labels[rows]).backward()
        optimizer.step()
        falling.step()
    assert probe.steps == 63
    for ours, theirs in zip(model.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    with torch.no_grad():
        right = expected.eval()(digits.test_images).argmax(1) == digits.test_labels
    assert metrics["accuracy"] == float(right.float().mean()) > 0.85


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("sweep", ["width", "depth"])
def test_networks_of_every_size(name: str, sweep: str) -> None:
    """Each value of a sweep is another network, larger than the one before, and gives ten scores."""
    sizes = []
    for value in RECIPES[name].values[sweep]:
        build, _ = at(RECIPES[name], sweep, value, epochs=1)
        model = build().eval()
        assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)
        sizes.append(sum(p.numel() for p in model.parameters()))
    if (name, sweep) == ("mnist5k-cnn", "depth"):  # pooling once makes a larger linear layer than twice
        del sizes[0]
    assert sizes == sorted(set(sizes))


@settings(max_examples=20, deadline=None)
@given(width=st.sampled_from([0.25, 0.5, 1, 2]), depth=st.integers(1, 6))
def test_what_width_and_depth_count(width: float, depth: int) -> None:
    """Convolutions, hidden layers and encoder layers by number; channels, units and tokens in proportion."""
    convs = [m for m in recipes.build_mnist5k_cnn(width=width, depth=depth) if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [int(16 * width), *[int(32 * width)] * (depth - 1)]
    units = [m for m in recipes.build_mnist5k_mlp(width=width, depth=depth) if isinstance(m, nn.Linear)]
    assert [u.out_features for u in units] == [*[int(128 * width)] * depth, 10]
    vit = recipes.build_mnist5k_vit(width=width, depth=depth)
    assert (len(vit.layers), vit.head.in_features) == (depth, int(64 * width))


@pytest.mark.parametrize(("batch", "steps", "rate"), [(16, 250, 1e-3), (64, 63, 2e-3), (256, 16, 4e-3)])
def test_minibatches(monkeypatch: pytest.MonkeyPatch, batch: int, steps: int, rate: float) -> None:
    """The same epochs, and a learning rate that goes with the root of the size."""
    rates = []

    class Adam(torch.optim.Adam):
        def __init__(self, parameters: Any, lr: float) -> None:
            rates.append(lr)
            super().__init__(parameters, lr=lr)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    probe = Told()
    train_digits(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), probe, 0, epochs=1, batch=batch)  # type: ignore[arg-type]
    assert (probe.steps, rates) == (steps, [pytest.approx(rate)])


@settings(max_examples=25, deadline=None)
@given(most=st.integers(0, 5), seed=st.integers(0, 2**31))
def test_shifts(most: int, seed: int) -> None:
    """Each image is one of those that slicing makes of it in a frame of its darkest value."""
    images = torch.arange(3 * 2 * 6 * 7).reshape(3, 2, 6, 7).float().sin()
    found = shifted(images, most, torch.Generator().manual_seed(seed))
    framed = torch.full((3, 2, 6 + 2 * most, 7 + 2 * most), float(images.min()))
    framed[:, :, most : most + 6, most : most + 7] = images
    for one, frame in zip(found, framed, strict=True):
        places = itertools.product(range(2 * most + 1), repeat=2)
        assert any(torch.equal(one, frame[:, y : y + 6, x : x + 7]) for y, x in places)


def test_shifts_are_all_there() -> None:
    """Along both axes, each as often as others: chi-squared over 25 places is below its .999 quantile."""
    images = torch.zeros(5000, 1, 9, 9)
    images[:, :, 4, 4] = 1
    found = shifted(images, 2, torch.Generator().manual_seed(0)).sum(0)[0]
    assert torch.equal(found.nonzero().unique(), torch.arange(2, 7))
    assert float(((found[2:7, 2:7] - 200) ** 2 / 200).sum()) < 51.2  # scipy.stats.chi2(24).ppf(.999)


def layer(of: str, kind: Any, noise: float) -> tuple[nn.Module, torch.Tensor]:
    """A layer with weight 2 and bias 3, and an input: one group of 200,000 skewed values to a channel."""
    model: nn.Module = nn.BatchNorm1d(3) if of == "batch" else nn.LayerNorm(200_000)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 3.0)
    shape = (200_000, 3) if of == "batch" else (3, 200_000)
    return gaussianize_with(nn.Sequential(model), kind, noise), torch.randn(shape).exp()


@pytest.mark.parametrize("of", ["batch", "layer"])
@pytest.mark.parametrize("kind", ["scaled", "unscaled", "gaussian_dropout"])
def test_moments_of_noise(of: str, kind: str) -> None:
    """Between the transform and the affine step: of variance `x^2 (1 - p) / p` for dropout, of sd
    `xi sqrt(2 / pi)` unscaled and `xi mean|x - mean(x)|` scaled; of mean 0; none in evaluation."""
    p = 0.8
    xi = math.sqrt((1 - p) / p)
    noisy, x = layer(of, kind, xi)
    clean, _ = layer(of, kind, 0.0)
    dim = 0 if of == "batch" else 1
    with torch.no_grad():
        y = (clean.train()(x) - 3) / 2
        added = (noisy.train()(x) - 3) / 2 - y
        if kind == "gaussian_dropout":
            size, wanted = (added / y).square().mean(dim), torch.full((3,), (1 - p) / p)
        else:
            size = added.square().mean(dim)
            away = (y - y.mean(dim, keepdim=True)).abs().mean(dim)
            wanted = (xi * (away if kind == "scaled" else torch.full((3,), math.sqrt(2 / math.pi)))) ** 2
        # The mean of n squares of normal numbers has a relative sd of sqrt(2 / n).
        torch.testing.assert_close(size, wanted, rtol=5 * math.sqrt(2 / 200_000), atol=0)
        assert float((added.mean(dim) / added.std(dim)).abs().max()) < 5 / math.sqrt(200_000)
        torch.testing.assert_close(noisy.eval()(x), clean.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["scaled", "unscaled"])
def test_no_gradient_through_the_size_of_noise(kind: Any) -> None:
    """The gradient of the input is that without noise."""
    found = []
    for noise in (0.0, 1.0):
        model = gaussianize_with(nn.Sequential(nn.BatchNorm1d(4)), kind, noise).double().train()
        torch.manual_seed(1)
        x = torch.randn(50, 4, dtype=torch.float64).exp().requires_grad_()
        weights = torch.randn(50, 4, dtype=torch.float64)
        found.append(torch.autograd.grad((model(x) * weights).sum(), x)[0])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", [name for name, one in RECIPES.items() if one.normalizes])
def test_layers_with_other_noise_are_what_capture_and_checkpoints_know(name: str) -> None:
    """Of kind `norm`, with the names of `gaussianize`, and its noise."""
    usual = gp.nn.gaussianize(RECIPES[name].build())
    other = gaussianize_with(RECIPES[name].build(), "unscaled")
    assert list(other.state_dict()) == list(usual.state_dict())
    changed = [
        (a, b) for a, b in zip(usual.modules(), other.modules(), strict=True) if isinstance(a, Normality)
    ]
    assert changed
    for ours, theirs in changed:
        assert module_kind(theirs) == "norm"
        assert isinstance(theirs, Normality)
        assert (theirs.noise, theirs.noise_kind) == (ours.noise, "unscaled")


def test_unknown_noise() -> None:
    """Refused before anything is changed."""
    model = nn.Sequential(nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match=r"noise_kind must be one of .*; got 'pink'"):
        gaussianize_with(model, "pink")  # type: ignore[arg-type]
    assert type(model[0]) is nn.BatchNorm1d


def changed_by(setting: Any) -> Normality | nn.Module:
    """The first normalization layer of the MLP in a setting."""
    model = recipes.build_mnist5k_mlp()
    return next(m for m in ((setting or (lambda same: same))(model)).modules() if module_kind(m) == "norm")


def test_variations() -> None:
    """What differs between the settings of each, and nothing else."""
    found = {name: variation(RECIPES["digits-mlp"], name) for name in recipes.VARIATIONS}
    assert list(found["ablation"]) == ["BatchNorm", "BatchNormalNorm, no noise", "BatchNormalNorm"]
    plain, without, whole = (changed_by(setting) for setting in found["ablation"].values())
    assert type(plain) is nn.BatchNorm1d
    assert (without.noise, without.strength, whole.noise, whole.strength) == (0, 1, 0.4, 1)
    for name, setting in found["strength"].items():
        one = changed_by(setting)
        assert (f"alpha {one.strength:g}", one.noise) == (name, 0.4)
    kinds = [changed_by(setting).noise_kind for setting in found["noise"].values()]
    assert kinds == ["scaled", "gaussian_dropout", "unscaled"]
    with pytest.raises(ValueError, match="name must be one of ablation, strength, noise; got 'width'"):
        variation(RECIPES["digits-mlp"], "width")
    with pytest.raises(ValueError, match="recipe must have normalization layers to vary; got three conv"):
        variation(RECIPES["plain-cnn"], "ablation")


@pytest.mark.parametrize("name", RECIPES)
def test_other_processes_can_have_them(name: str) -> None:
    """Settings, those of variations, and the functions of sweeps can be pickled: what `jobs` needs."""
    for which in recipes.VARIATIONS:
        if RECIPES[name].normalizes:
            pickle.dumps(variation(RECIPES[name], which))
    pickle.dumps(RECIPES[name].settings)
    for which in recipes.SWEEPS:
        build, train = pickle.loads(pickle.dumps(at(RECIPES[name], which, 2, epochs=1)))
        assert isinstance(build(), nn.Module)
        assert train.keywords["epochs"] == 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["width", "depth", "batch"])
def test_a_sweep_compares_at_each_value(name: str) -> None:
    """Another network or minibatch at each, and progress over all of them."""
    told: list[tuple[str, int, int | None]] = []
    found = recipes.sweep("small", name, seeds=range(2), progress=lambda *said: told.append(said))
    accuracies = [point.found.metrics["plain"]["accuracy"].values[0] for point in found.points]
    _, train = at(RECIPES["small"], name, 1, epochs=1)
    assert isinstance(train, partial)
    assert accuracies[0] < accuracies[1]
    assert [done for _, done, _ in told] == list(range(1, 9))
    assert {total for *_, total in told} == {8}
    assert told[0][0].startswith(f"{name} {found.points[0].value:g}: plain, seed 0")


@pytest.mark.usefixtures("small")
def test_a_sweep_goes_on(tmp_path: Path) -> None:
    """A folder to each value; what it has is not run again, other epochs are refused, so is a comparison."""
    told: list[str] = []
    first = recipes.sweep("small", "width", seeds=range(2), store=tmp_path, values=[1])
    assert [path.name for path in tmp_path.iterdir()] == ["width-1"]
    again = recipes.sweep(
        "small", "width", seeds=range(2), store=tmp_path, progress=lambda what, *_: told.append(what)
    )
    assert len(told) == 4
    assert all(what.startswith("width 2: ") for what in told)
    assert again.points[0].found.metrics == first.points[0].found.metrics
    with pytest.raises(StoreError, match="holds another comparison: epochs 1, not 7"):
        recipes.sweep("small", "width", seeds=[0], store=tmp_path, epochs=7)
    with pytest.raises(StoreError, match="holds a comparison, not a sweep"):
        recipes.sweep("small", "width", seeds=[0], store=tmp_path / "width-1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("minst", "width"), "recipe must be one of mnist5k-cnn, .*; got 'minst'"),
        (("digits-mlp", "hue"), "name must be one of width, depth, batch; got 'hue'"),
        (("digits-mlp", "width", []), r"values must be distinct positive numbers, one at least; got \[\]"),
        (("digits-mlp", "width", [1, 1]), r"got \[1, 1\]"),
        (("digits-mlp", "width", [math.nan]), r"got \[nan\]"),
        (("digits-mlp", "depth", [1.5]), r"values must be distinct positive integers, .*; got \[1.5\]"),
        (("digits-mlp", "depth", [math.inf]), r"got \[inf\]"),
        (("digits-mlp", "batch", [0, 16]), r"got \[0, 16\]"),
    ],
)
def test_bad_sweeps(arguments: tuple[Any, ...], message: str) -> None:
    """Named, with what came, before anything is trained."""
    recipe, name, *values = arguments
    with pytest.raises(ValueError, match=message):
        recipes.sweep(recipe, name, values=values[0] if values else None)


@pytest.mark.parametrize("name", ["width", "depth"])
@pytest.mark.parametrize("name_of", ["cnn", "mlp", "vit"])
def test_bad_sizes(name: str, name_of: str) -> None:
    """A network without units or layers, or too large to mean it."""
    build = getattr(recipes, f"build_mnist5k_{name_of}")
    for value in (0, -1, 1.5 if name == "depth" else 1e6):
        with pytest.raises(ValueError, match=f"{name} must .*; got {value}"):
            build(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("batch", 0), ("batch", 4001), ("shift", -1), ("shift", 28)])
def test_bad_training(name: str, value: int) -> None:
    """Said before a step is made of it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(ValueError, match=f"must lie between .* got {value}"):
        train_digits(model, Told(), 0, epochs=1, **{name: value})  # type: ignore[arg-type]
