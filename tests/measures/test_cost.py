"""What a training step takes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe.errors import DataError, ForwardError, GaussprobeWarning
from gaussprobe.measures import cost
from gaussprobe.measures.cost import step_cost
from gaussprobe.recipes.networks import build_mnist5k_cnn
from tests import needs
from tests.capture.test_identity import assert_same, state

pytestmark = pytest.mark.usefixtures("one_thread")


class Clock:
    """A clock that models move: seconds go by where they say, nowhere else."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Wait(torch.autograd.Function):
    """The identity, which takes its time backward."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, wait: Callable[[], None]) -> torch.Tensor:
        ctx.wait = wait
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        ctx.wait()
        return gradient, None


class Slow(nn.Module):
    """A linear layer whose k-th step takes the k-th of some seconds forward, twice that backward."""

    def __init__(self, clock: Clock, seconds: list[float], log: list[str], name: str) -> None:
        super().__init__()
        self.layer, self.clock, self.name = nn.Linear(4, 4), clock, name
        self.seconds, self.log = seconds, log
        self.steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seconds = self.seconds[min(self.steps, len(self.seconds) - 1)]
        self.steps += 1
        self.log.append(self.name)
        self.clock.now += seconds
        return Wait.apply(self.layer(x), lambda: self.pass_by(2 * seconds))

    def pass_by(self, seconds: float) -> None:
        self.clock.now += seconds


def test_medians_after_the_warmup_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a known length: the first two do not count, the median of the rest does, models in turns."""
    clock, log = Clock(), []
    monkeypatch.setattr(cost, "time", clock)
    found = step_cost(
        {
            "a": Slow(clock, [100, 100, 1, 5, 2, 50, 3], log, "a"),
            "b": Slow(clock, [100, 100, 20, 20, 70, 10, 20], log, "b"),
        },
        torch.randn(8, 4),
        repeats=5,
    )
    assert (found["a"].forward, found["a"].backward) == (3, 6)
    assert (found["b"].forward, found["b"].backward) == (20, 40)
    assert "".join(log[:14]) == "ab" * 7
    assert list(found) == ["a", "b"]


def test_time_is_real() -> None:
    """A layer that sleeps 50 ms takes as long at least, in the direction in which it sleeps."""

    class Sleeper(nn.Module):
        def __init__(self, forward: float, backward: float) -> None:
            super().__init__()
            self.layer, self.seconds = nn.Linear(4, 4), (forward, backward)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(self.seconds[0])
            return Wait.apply(self.layer(x), lambda: time.sleep(self.seconds[1]))

    models = {"forward": Sleeper(0.05, 0), "backward": Sleeper(0, 0.1)}
    found = step_cost(models, torch.randn(8, 4), repeats=3, warmup=1)
    assert found["forward"].forward >= 0.05
    assert found["backward"].backward >= 0.1
    assert found["forward"].forward > 2 * found["backward"].forward
    assert found["backward"].backward > 2 * found["forward"].backward


class Masked(nn.Module):
    """A linear layer times a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 20)
        self.register_buffer("mask", torch.ones(16, 20))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.mask


class Sliced(nn.Module):
    """Two linear layers on halves of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x[:, :5]) + self.right(x[:, 5:])


def frozen_first() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    model[0].requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("build", "floats"),
    [
        # The input for the first weight, the output of ReLU for itself and the second weight: once.
        (lambda: nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5)), 10 + 20),
        (lambda: nn.Sequential(nn.Linear(10, 20), nn.ReLU(inplace=True), nn.Linear(20, 5)), 10 + 20),
        # The second weight wants the output of ReLU; nothing wants a gradient before it.
        (frozen_first, 20),
        # GELU keeps what it receives.
        (lambda: nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 5)), 10 + 20 + 20),
        # Saved by the product, and not counted: the buffer.
        (Masked, 10),
        # Two views of one storage.
        (Sliced, 10),
    ],
    ids=["relu", "in place", "frozen", "gelu", "buffer", "views"],
)
def test_saved_bytes_by_hand(build: Callable[[], nn.Module], floats: int) -> None:
    """Floats that each of 16 examples leaves for the backward pass, known from the derivatives."""
    found = step_cost({"model": build()}, torch.randn(16, 10), repeats=1, warmup=0)["model"]
    assert found.saved_bytes == 4 * 16 * floats
    assert isinstance(found.saved_bytes, int)
    assert math.isnan(found.peak_bytes)


@pytest.mark.parametrize("mode", [True, False])
def test_models_are_left_as_found(mode: bool) -> None:
    """Gradients, the tensors and what they hold, running statistics, flags, hooks, generator and data."""
    model = nn.Sequential(build_mnist5k_cnn(), nn.Dropout()).train(mode)
    model[0][1].train(not mode)
    x = torch.randn(4, 1, 28, 28, requires_grad=True)
    first = next(model.parameters())
    first.grad = torch.randn_like(first)
    gradient, content = first.grad, first.grad.clone()
    before, data, generator = copy.deepcopy(state(model)), x.detach().clone(), torch.get_rng_state()
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            step_cost({"one": model, "the same": model}, x, repeats=1)
    assert_same(before, state(model))
    assert first.grad is gradient
    assert torch.equal(gradient, content)
    assert all(p.grad is None for p in list(model.parameters())[1:])
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(x, data)
    assert x.grad is None


def test_models_run_as_they_are_flagged() -> None:
    """Dropout keeps a mask in training mode, and nothing in evaluation mode."""
    models = {
        name: nn.Sequential(nn.Linear(10, 20), nn.Dropout()).train(mode)
        for name, mode in (("train", True), ("eval", False))
    }
    found = step_cost(models, torch.randn(16, 10), repeats=1)
    assert found["train"].saved_bytes > found["eval"].saved_bytes == 4 * 16 * 10


def test_every_step_begins_without_gradients() -> None:
    """As after zero_grad: what accumulates from step to step would cost another sum."""
    model, seen = nn.Linear(4, 2), []
    model.weight.grad = torch.ones(2, 4)
    handle = model.register_forward_pre_hook(lambda m, _args: seen.append(m.weight.grad))
    step_cost({"model": model}, torch.randn(8, 4), repeats=2, warmup=1)
    handle.remove()
    assert seen == [None] * 4
    assert torch.equal(model.weight.grad, torch.ones(2, 4))


def test_left_as_found_after_an_error() -> None:
    """Also where a later model fails: gradients and running statistics are back."""
    good, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), torch.randn(8, 4)
    good[0].weight.grad = torch.ones(4, 4)
    before = copy.deepcopy(state(good))
    with pytest.raises(ForwardError, match="model 'bad': its backward pass failed\nRuntimeError: stuck"):
        step_cost({"good": good, "bad": Returns(lambda y: Wait.apply(y, stuck))}, x)
    assert_same(before, state(good))
    assert torch.equal(good[0].weight.grad, torch.ones(4, 4))


def stuck() -> None:
    raise RuntimeError("stuck")


class Returns(nn.Module):
    """A linear layer, and what `pack` makes of what it gives."""

    def __init__(self, pack: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.pack = nn.Linear(4, 4), pack

    def forward(self, x: torch.Tensor) -> Any:
        return self.pack(self.layer(x))


@pytest.mark.parametrize(
    ("pack", "counted"),
    [
        (lambda y: (y, y.argmax(1)), lambda y: [y]),
        (lambda y: {"scores": y, "parts": [y.sum(), None, 3]}, lambda y: [y, y.sum()]),
        (lambda y: (y.detach(), y.double(), y.bfloat16()), lambda y: [y, y.bfloat16().float()]),
    ],
    ids=["tuple", "dict", "dtypes"],
)
def test_gradient_is_that_of_all_outputs(
    pack: Callable[[torch.Tensor], Any], counted: Callable[[torch.Tensor], list[torch.Tensor]]
) -> None:
    """Backward starts from the sum of the mean squares of all floating tensors that hang on a parameter."""
    model, x = Returns(pack), torch.randn(8, 4)
    seen: list[torch.Tensor] = []
    handle = model.layer.weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    step_cost({"model": model}, x, repeats=1, warmup=0)
    handle.remove()
    loss = sum(term.square().mean() for term in counted(model.layer(x)))
    (wanted,) = torch.autograd.grad(loss, model.layer.weight)
    torch.testing.assert_close(seen[0], wanted)


@pytest.mark.parametrize(
    "pack",
    [lambda y: y.argmax(1), lambda y: y.detach(), lambda y: None, lambda y: {"loss": 1.0}],
    ids=["integers", "detached", "nothing", "numbers"],
)
def test_outputs_without_gradient_are_refused_by_name(pack: Callable[[torch.Tensor], Any]) -> None:
    """There is nothing to go backward from: the model at fault is named."""
    models = {"good": nn.Linear(4, 4), "bad": Returns(pack)}
    with pytest.raises(ValueError, match="'bad' returns none"):
        step_cost(models, torch.randn(8, 4))


def test_failures_name_the_model() -> None:
    """A batch that does not fit, and a forward that raises."""
    models = {"good": nn.Linear(4, 4), "bad": nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(5, 2))}
    with pytest.raises(ForwardError, match="model 'bad': its forward pass failed\nRuntimeError"):
        step_cost(models, torch.randn(8, 4))
    with pytest.raises(DataError, match=r"model 'bilinear': .*input2"):
        step_cost({"bilinear": nn.Bilinear(4, 4, 2)}, torch.randn(8, 4))


def test_batches_of_any_form() -> None:
    """A dict, a tuple with its target and a tensor are one batch, as in a scan."""
    x, labels = torch.randn(16, 4), torch.arange(16)
    for batch in (x, x.numpy(), (x, labels), [x, labels], {"input": x, "labels": labels}):
        found = step_cost({"model": nn.Linear(4, 2)}, batch, repeats=1, warmup=0)
        assert found["model"].saved_bytes == 4 * 16 * 4


def test_batch_is_not_overwritten_between_steps() -> None:
    """A nonlinearity in place that comes first meets the same batch in every step."""
    x, seen = torch.randn(8, 4), []
    model = nn.Sequential(nn.Hardtanh(0.1, 1, inplace=True), nn.Linear(4, 2))
    handle = model[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0].clone()))
    step_cost({"model": model}, x, repeats=2, warmup=1)
    handle.remove()
    assert len(seen) == 4
    assert all(torch.equal(one, x) for one in seen)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_tensors_are_told() -> None:
    """What has no storage to count is not counted in silence."""

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sparse.mm(torch.eye(8).to_sparse(), self.layer(x))

    with pytest.warns(GaussprobeWarning, match=r"model 'graph': 1 saved tensors \(sparse_coo\)"):
        found = step_cost({"graph": Graph()}, torch.randn(8, 4), repeats=1)
    assert found["graph"].saved_bytes == 4 * 8 * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": {}}, "models must be one module at least, by name"),
        ({"models": [nn.Linear(4, 4)]}, "models must be"),
        ({"models": {"a": "b"}}, "models must be modules by name; got 'a': str"),
        ({"models": {1: nn.Linear(4, 4)}}, "models must be modules by name; got 1: Linear"),
        ({"repeats": 0}, "repeats must be an integer of at least 1; got 0"),
        ({"repeats": True}, "repeats"),
        ({"warmup": -1}, "warmup must be an integer of at least 0; got -1"),
        ({"warmup": 0.5}, "warmup"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    """Refused by name."""
    with pytest.raises(ValueError, match=message):
        step_cost(**({"models": {"a": nn.Linear(4, 4)}, "batch": torch.randn(8, 4)} | arguments))


@pytest.mark.gpu
@needs.CUDA
def test_peak_is_that_of_the_device() -> None:
    """At the peak there are the saved tensors at least, and one gradient as large as the largest."""
    model, x = (
        nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512)).cuda(),
        torch.randn(4096, 512),
    )
    found = step_cost({"model": model}, x)["model"]
    assert found.saved_bytes == 4 * 4096 * (512 + 2048)
    # The input is there before the step; ReLU's output and the gradient of it are made within.
    assert 4 * 4096 * 2 * 2048 <= found.peak_bytes < 8 * found.saved_bytes
    assert torch.cuda.memory_allocated() < 4 * found.saved_bytes
