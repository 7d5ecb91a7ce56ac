"""The layers, each beside its counterpart in torch.nn."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.nn.layers import Normality
from tests.nn import paper

Make = Callable[..., Any]

# Ours, the counterpart, arguments, shape of an input, dimensions that are normalized over.
PAIRS: dict[str, tuple[Make, Make, tuple[Any, ...], tuple[int, ...], tuple[int, ...]]] = {
    "BatchNorm1d": (gp.nn.BatchNormalNorm1d, nn.BatchNorm1d, (6,), (32, 6), (0,)),
    "BatchNorm1d with length": (gp.nn.BatchNormalNorm1d, nn.BatchNorm1d, (6,), (8, 6, 5), (0, 2)),
    "BatchNorm2d": (gp.nn.BatchNormalNorm2d, nn.BatchNorm2d, (6,), (4, 6, 5, 3), (0, 2, 3)),
    "BatchNorm3d": (gp.nn.BatchNormalNorm3d, nn.BatchNorm3d, (6,), (3, 6, 2, 3, 4), (0, 2, 3, 4)),
    "InstanceNorm1d": (gp.nn.InstanceNormalNorm1d, nn.InstanceNorm1d, (6,), (3, 6, 20), (2,)),
    "InstanceNorm2d": (gp.nn.InstanceNormalNorm2d, nn.InstanceNorm2d, (6,), (3, 6, 5, 4), (2, 3)),
    "InstanceNorm3d": (gp.nn.InstanceNormalNorm3d, nn.InstanceNorm3d, (6,), (2, 6, 3, 2, 4), (2, 3, 4)),
    "LayerNorm": (gp.nn.LayerNormalNorm, nn.LayerNorm, (12,), (4, 5, 12), (2,)),
    "LayerNorm of two dimensions": (gp.nn.LayerNormalNorm, nn.LayerNorm, ((4, 6),), (5, 4, 6), (1, 2)),
    "GroupNorm": (gp.nn.GroupNormalNorm, nn.GroupNorm, (3, 6), (4, 6, 5, 3), (2, 3, 4)),
}
AFFINE = {"InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"}


def options(name: str) -> dict[str, Any]:
    """With weights, where they are not there anyway."""
    return {"affine": True} if name in AFFINE else {}


def skewed(shape: tuple[int, ...], **how: Any) -> torch.Tensor:
    return torch.randn(shape, **how).mul(0.8).exp()


def randomised(layer: nn.Module) -> nn.Module:
    """With weights and biases that are not 1 and 0."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("name", PAIRS)
def test_training_is_the_papers_formulas(name: str) -> None:
    """float64, group by group as the paper writes them, weight and bias included, to 1e-10."""
    ours, _, arguments, shape, dims = PAIRS[name]
    layer = ours(*arguments, noise=0.0, dtype=torch.float64, **options(name)).train()
    randomised(layer)
    x = skewed(shape, dtype=torch.float64)
    apart = x.unflatten(1, (3, 2)) if name == "GroupNorm" else x
    groups = np.moveaxis(apart.numpy(), dims, range(-len(dims), 0))
    flat = groups.reshape(-1, math.prod(apart.shape[d] for d in dims))
    plain = np.stack([paper.normalize(row)[0] for row in flat]).reshape(groups.shape)
    plain = np.moveaxis(plain, range(-len(dims), 0), dims).reshape(shape)
    shaped = (-1, *[1] * (len(shape) - 2)) if "Layer" not in name else layer.weight.shape
    wanted = torch.from_numpy(plain.copy()) * layer.weight.view(shaped) + layer.bias.view(shaped)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("training", [True, False])
def test_without_strength_and_noise_it_is_the_counterpart(name: str, training: bool) -> None:
    """Values, gradients and running averages equal torch.nn's to rounding."""
    make, counterpart, arguments, shape, _ = PAIRS[name]
    theirs = randomised(counterpart(*arguments, **options(name))).train(training)
    ours = make(*arguments, noise=0.0, strength=0.0, **options(name)).train(training)
    ours.load_state_dict(theirs.state_dict())
    for _ in range(2):
        x = skewed(shape)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, z = ours(a), theirs(b)
        torch.testing.assert_close(y, z, rtol=2e-5, atol=2e-5)
        given = torch.randn_like(y)
        y.backward(given)
        z.backward(given)
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=2e-5)
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-4, msg=key)
    for key, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(key), buffer, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_averages(name: str, momentum: float | None) -> None:
    """Mean, unbiased variance and lambda as defined, momentum None the plain mean; evaluation uses them."""
    make, counterpart, arguments, shape, _ = PAIRS[name]
    layer = make(*arguments, momentum=momentum, noise=0.3).train()
    theirs = counterpart(*arguments, momentum=momentum).train()
    average = torch.ones(6)
    buffers = {key: buffer.data_ptr() for key, buffer in layer.named_buffers()}
    for step in range(1, 5):
        x = skewed(shape)
        layer(x)
        theirs(x)
        factor = 1 / step if momentum is None else momentum
        average = (1 - factor) * average + factor * layer.last_lambda.flatten()
    assert int(layer.num_batches_tracked) == 4
    assert {key: buffer.data_ptr() for key, buffer in layer.named_buffers()} == buffers
    torch.testing.assert_close(layer.running_lambda, average)
    torch.testing.assert_close(layer.running_mean, theirs.running_mean)
    torch.testing.assert_close(layer.running_var, theirs.running_var)
    x, shaped = skewed(shape), (1, 6, *[1] * (len(shape) - 2))
    h = (x - layer.running_mean.view(shaped)) / (layer.running_var.view(shaped) + layer.eps).sqrt()
    wanted = gp.nn.functional.yeo_johnson(h, layer.running_lambda.view(shaped))
    layer.eval()
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(layer(x), layer(x))  # no noise


def test_instances_are_averaged() -> None:
    """An InstanceNorm that tracks keeps means over instances, and evaluates by them."""
    layer = gp.nn.InstanceNormalNorm1d(6, track_running_stats=True, noise=0.0).train()
    theirs = nn.InstanceNorm1d(6, track_running_stats=True).train()
    x = skewed((3, 6, 20))
    layer(x)
    theirs(x)
    torch.testing.assert_close(layer.running_mean, theirs.running_mean)
    torch.testing.assert_close(layer.running_var, theirs.running_var)
    lmbda = 0.9 + 0.1 * layer.last_lambda.mean(0).flatten()
    torch.testing.assert_close(layer.running_lambda, lmbda)
    assert layer.eval()(x).shape == x.shape


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "LayerNorm", "GroupNorm", "InstanceNorm2d"])
def test_gradients_in_both_modes(name: str) -> None:
    """gradcheck and gradgradcheck in training and in evaluation."""
    make, _, arguments, shape, _ = PAIRS[name]
    layer = randomised(make(*arguments, noise=0.0, dtype=torch.float64, **options(name)))
    layer(skewed(shape, dtype=torch.float64))
    x = skewed(shape, dtype=torch.float64).requires_grad_()
    for mode in (True, False):
        layer.train(mode)
        assert torch.autograd.gradcheck(layer, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(layer, (x,), fast_mode=True)


@pytest.mark.parametrize("name", PAIRS)
def test_noise_in_training_alone(name: str) -> None:
    """Training differs from call to call, evaluation does not."""
    make, _, arguments, shape, _ = PAIRS[name]
    layer, x = make(*arguments).train(), skewed(shape)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_output_has_the_type_of_the_input(name: str, dtype: torch.dtype) -> None:
    """Weights in float32 or in the same type; gradients have the types of what they are of."""
    make, _, arguments, shape, _ = PAIRS[name]
    for weights in (torch.float32, dtype):
        layer = make(*arguments, **options(name)).to(weights).train()
        x = skewed(shape).to(dtype).requires_grad_()
        y = layer(x)
        assert y.dtype == dtype
        y.float().square().sum().backward()
        assert x.grad is not None
        assert x.grad.dtype == dtype
        assert {p.grad.dtype for p in layer.parameters() if p.grad is not None} == {weights}
        assert layer.eval()(x).dtype == dtype


def test_autocast() -> None:
    """Under autocast statistics are float32's: the result is that of the unrounded computation, rounded."""
    layer = gp.nn.BatchNormalNorm2d(4, noise=0.0).train()
    conv = nn.Conv2d(3, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = conv(torch.randn(8, 3, 9, 9))
        y = layer(x)
    assert (x.dtype, y.dtype, layer.running_lambda.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    torch.testing.assert_close(y, layer(x.float()).to(torch.bfloat16))


@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d", "GroupNorm"])
def test_memory_format_is_kept(name: str) -> None:
    """channels-last in, channels-last out, with the numbers of contiguous memory; of BatchNorm also back."""
    make, _, arguments, shape, _ = PAIRS[name]
    layer = randomised(make(*arguments, noise=0.0, **options(name))).train()
    x = skewed(shape)
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = layer(last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, layer(x), rtol=1e-5, atol=1e-5)
    if name == "BatchNorm2d":
        assert torch.autograd.grad(y.sum(), last)[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", PAIRS)
def test_state_of_the_counterpart_loads(name: str) -> None:
    """What torch.nn saved loads, and evaluates to what it was: lambda starts at 1. Ours loads into ours."""
    make, counterpart, arguments, shape, _ = PAIRS[name]
    theirs = randomised(counterpart(*arguments, **options(name))).train()
    theirs(skewed(shape))
    layer = make(*arguments, **options(name))
    layer.load_state_dict(theirs.state_dict())
    if "Batch" in name:
        x = skewed(shape)
        torch.testing.assert_close(layer.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)
    layer.train()(skewed(shape))
    again = make(*arguments, **options(name))
    again.load_state_dict(layer.state_dict())
    x = skewed(shape)
    assert torch.equal(again.eval()(x), layer.eval()(x))


def test_a_state_without_averages_does_not_pass_for_one() -> None:
    """A strict load still misses what is missing."""
    layer = gp.nn.BatchNormalNorm1d(4)
    with pytest.raises(RuntimeError, match="running_mean"):
        layer.load_state_dict({"weight": torch.ones(4), "bias": torch.zeros(4)})


def test_layers_are_copied_and_pickled() -> None:
    """After a forward pass, graph and all: a copy computes the same."""
    layer = gp.nn.BatchNormalNorm1d(4).train()
    layer(torch.randn(8, 4, requires_grad=True))
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    x = torch.randn(3, 4)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(other.eval()(x), layer.eval()(x))


def test_without_averages_evaluation_uses_the_batch() -> None:
    """`track_running_stats=False`: no buffers; evaluation normalizes by the batch, without noise."""
    layer = gp.nn.BatchNormalNorm1d(4, track_running_stats=False).eval()
    assert not list(layer.buffers())
    x = skewed((64, 4))
    torch.testing.assert_close(layer(x), gp.nn.functional.normality_normalize(x, 0))


def test_what_a_layer_says_of_itself() -> None:
    """Its representation, the last lambda, and how often lambda was held."""
    layer = gp.nn.BatchNormalNorm1d(4, noise=0.2)
    assert repr(layer) == repr(layer).replace("\n", "")
    assert "4, eps=1e-05" in repr(layer)
    assert "noise=0.2, strength=1.0" in repr(layer)
    assert layer.last_lambda is None
    assert math.isnan(layer.held_share)
    x = (0.5 * torch.randn(64, 4)).exp()
    x[:, 2] = 1.0
    layer(x)
    assert layer.last_lambda.shape == (1, 4)
    assert layer.held_share == 0.25
    assert float(layer.last_lambda[0, 0]) < 0.7


def test_everything_is_a_layer_of_its_kind() -> None:
    """Code that asks for LayerNorm, GroupNorm, InstanceNorm, or whether a batch is normalized, finds ours."""
    for name, (make, counterpart, arguments, _, _) in PAIRS.items():
        layer = make(*arguments)
        assert isinstance(layer, Normality)
        assert "Batch" in name or isinstance(layer, counterpart)


def test_torchs_sync_conversion_leaves_them_alone() -> None:
    """`convert_sync_batchnorm` would otherwise put plain standardising in their place, silently."""
    model = nn.Sequential(nn.Linear(3, 4), gp.nn.BatchNormalNorm1d(4), nn.BatchNorm1d(4))
    found = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(found[1]) is gp.nn.BatchNormalNorm1d
    assert type(found[2]) is nn.SyncBatchNorm


@pytest.mark.parametrize(
    ("name", "shape", "error"),
    [
        ("BatchNorm1d", (2, 6, 3, 3), ValueError),
        ("BatchNorm2d", (2, 6, 3), ValueError),
        ("BatchNorm3d", (2, 6), ValueError),
        ("BatchNorm2d", (2, 5, 3, 3), RuntimeError),
        ("BatchNorm1d", (1, 6), ValueError),
        ("InstanceNorm2d", (6, 4), ValueError),
        ("InstanceNorm2d", (2, 5, 3, 3), ValueError),
        ("InstanceNorm1d", (2, 6, 1), ValueError),
        ("LayerNorm", (4, 5), RuntimeError),
        ("GroupNorm", (2, 5, 3), RuntimeError),
        ("GroupNorm", (2, 9, 3), RuntimeError),
    ],
)
def test_bad_input_is_refused_as_torch_does(
    name: str, shape: tuple[int, ...], error: type[Exception]
) -> None:
    """Wrong rank, wrong number of channels, one value per channel: torch.nn's error in its words."""
    make, counterpart, arguments, _, _ = PAIRS[name]
    x = torch.randn(shape)
    with pytest.raises(error) as theirs:
        counterpart(*arguments, **options(name)).train()(x)
    with pytest.raises(error) as ours:
        make(*arguments, **options(name)).train()(x)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d"])
def test_evaluation_takes_gradients_in_any_layout(name: str) -> None:
    """Of what permutes its output, and after the running averages have moved on."""
    make, counterpart, arguments, shape, _ = PAIRS[name]
    how = {"track_running_stats": True}
    layer, theirs = make(*arguments, **how).eval(), counterpart(*arguments, **how).eval()
    found = []
    for each in (layer, theirs):
        x = torch.linspace(-1, 1, math.prod(shape)).view(shape).requires_grad_()
        y = each(x).permute(0, 2, 3, 1).flatten(2)
        if each is layer:  # torch's would then go by the new averages
            each.train()(skewed(shape))
        y.square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_a_layer_that_is_used_twice() -> None:
    """The gradient of its weight is the same with a graph as without."""
    layer, other = gp.nn.LayerNormalNorm(4, noise=0.0).double(), nn.Linear(4, 4).double()
    x = torch.randn(6, 4, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return layer(other(layer(x))).pow(3).sum()

    plain = torch.autograd.grad(loss(), layer.weight)[0]
    torch.testing.assert_close(plain, torch.autograd.grad(loss(), layer.weight, create_graph=True)[0])


def test_statistics_can_be_frozen() -> None:
    """`track_running_stats = False` on a layer that has averages stops them, as in torch.nn."""
    for make, counterpart in ((gp.nn.BatchNormalNorm1d, nn.BatchNorm1d),):
        ours, theirs = make(3), counterpart(3)
        ours.track_running_stats = theirs.track_running_stats = False
        x = torch.randn(9, 3) + 4
        for layer in (ours, theirs):
            layer(x)
        assert torch.equal(ours.running_mean, theirs.running_mean)
        assert int(ours.num_batches_tracked) == int(theirs.num_batches_tracked) == 0
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_whole_numbers_are_refused() -> None:
    """Not cut off."""
    with pytest.raises(ValueError, match="x must be a floating-point tensor"):
        gp.nn.LayerNormalNorm(4)(torch.ones(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="x must be a floating-point tensor"):
        gp.nn.BatchNormalNorm1d(4).eval()(torch.ones(2, 4, dtype=torch.int64))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_the_last_lambda_outlives_transforms() -> None:
    """Within vmap none is kept."""
    layer = gp.nn.LayerNormalNorm(4, noise=0.0)
    layer(torch.randn(2, 4))
    torch.func.vmap(layer)(torch.randn(3, 6, 4))
    assert layer.last_lambda.shape == (2, 1)
    tangent = torch.func.jvp(layer, (torch.randn(2, 4),), (torch.ones(2, 4),))[1]
    assert tangent.shape == (2, 4)


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "InstanceNorm2d", "LayerNorm", "GroupNorm"])
def test_an_empty_batch_passes(name: str) -> None:
    """As in torch.nn; running averages stay."""
    make, _, arguments, shape, _ = PAIRS[name]
    layer = make(*arguments).train()
    before = copy.deepcopy(layer.state_dict())
    assert layer(torch.empty(0, *shape[1:])).shape == (0, *shape[1:])
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("bad", [{"noise": -1}, {"strength": 2.0}, {"noise_kind": "none"}])
def test_bad_options(bad: dict[str, Any]) -> None:
    """Refused when the layer is made."""
    for make, _, arguments, _, _ in PAIRS.values():
        with pytest.raises(ValueError, match=next(iter(bad))):
            make(*arguments, **bad)


def test_normality_rises() -> None:
    """Q-Q R^2 after the layer is above that after its counterpart, in every channel of three skewed laws."""
    for law in ("lognormal", "gamma", "skew-normal"):
        x = torch.randn(4096, 16)
        if law == "lognormal":
            x = (0.6 * x).exp()
        elif law == "gamma":
            x = torch.distributions.Gamma(2.0, 1.0).sample((4096, 16))
        else:
            x = x.abs() * 0.95 + torch.randn(4096, 16) * 0.3
        before = gp.stats.qq_r2(nn.BatchNorm1d(16, affine=False)(x))
        after = gp.stats.qq_r2(gp.nn.BatchNormalNorm1d(16, noise=0.0)(x).detach())
        assert bool((after > before).all()), law


def test_symmetric_heavy_tails_are_beyond_it() -> None:
    """lambda of t(3) values stays near 1 and Q-Q R^2 where it was: a limit of the transform, documented."""
    x = torch.distributions.StudentT(3.0).sample((20_000, 8))
    layer = gp.nn.BatchNormalNorm1d(8, noise=0.0)
    after = gp.stats.qq_r2(layer(x).detach())
    before = gp.stats.qq_r2(x)
    assert float((after - before).abs().max()) < 0.1
    assert float(after.max()) < 0.97
