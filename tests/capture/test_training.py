"""The passes of a training loop, captured as it makes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from gaussprobe.capture import Passing, Plan, TrainingCapture
from tests.networks import Residual, stock_mlp


def describe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Passing | None:
    """The first argument's first dimension."""
    return Passing(len(args[0])) if args and isinstance(args[0], torch.Tensor) else None


def watched(model: nn.Module, **options: Any) -> TrainingCapture:
    """A capture of training passes."""
    return TrainingCapture(model, describe=describe, **options)


def seen(capture: TrainingCapture) -> dict[str, int]:
    """Samples per unit that passed each site."""
    return {samples.site.name: samples.n_seen for samples in capture.samples()}


def test_a_pass_and_its_backward_are_what_they_are_without() -> None:
    """Output, gradients, buffers and the generator are bit for bit those of an unwatched model."""
    x = torch.randn(16, 3, 8, 8)
    found = []
    for watch in (False, True):
        torch.manual_seed(1)
        model = Residual().train()
        capture = watched(model)
        if watch:
            capture.__enter__()
        out = model(x)
        out.square().sum().backward()
        if watch:
            capture.__exit__(None, None, None)
        found.append([out.detach(), *(p.grad for p in model.parameters()), *model.buffers()])
        found[-1].append(torch.rand(3))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    assert capture.passes == 1
    assert set(seen(capture)) >= {"conv1", "norm", "conv2", "head"}


def test_several_passes_of_a_step_are_added_up() -> None:
    """Gradient accumulation: three passes of 10, 10 and 4 examples are 24 samples."""
    model = stock_mlp().train()
    with watched(model) as capture:
        for size in (10, 10, 4):
            model(torch.randn(size, 32)).sum().backward()
    assert capture.passes == 3
    assert set(seen(capture).values()) == {24}
    assert "0#2" not in seen(capture)


def test_passes_in_evaluation_mode_are_none() -> None:
    """A validation loop between two training steps leaves no sample."""
    model = stock_mlp()
    with watched(model) as capture:
        model.eval()(torch.randn(50, 32))
        assert capture.passes == 0
        model.train()(torch.randn(7, 32))
    assert set(seen(capture).values()) == {7}


def test_a_part_of_the_model_called_by_itself_is_seen() -> None:
    """A loop that calls encoder and head one after the other sees both, by their names in the model."""
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(4, 6), nn.ReLU()), "head": nn.Linear(6, 2)})
    with watched(model) as capture:
        model["head"](model["encoder"](torch.randn(9, 4)))
    assert seen(capture) == {"encoder.0": 9, "encoder.1": 9, "head": 9}


class Checkpointed(nn.Module):
    """A block that is computed again in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.inner = nn.Sequential(nn.Linear(5, 8), nn.Tanh())
        self.head = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=self.reentrant)
        return self.head(kept)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_blocks_count_once(reentrant: bool) -> None:
    """What activation checkpointing computes again is no further sample, and is reported."""
    model = Checkpointed(reentrant).train()
    with watched(model) as capture:
        model(torch.randn(11, 5, requires_grad=True)).sum().backward()
    assert set(seen(capture).values()) == {11}
    again = {record.site: record.recomputed for record in capture.records()}
    assert again["inner.0"] == 1
    assert again["head"] == 0


def test_autocast_passes_are_sampled() -> None:
    """Under bfloat16 autocast samples are the bfloat16 values, as float32."""
    model = stock_mlp().train()
    x = torch.randn(20, 32)
    with watched(model) as capture, torch.autocast("cpu", dtype=torch.bfloat16):
        model(x)
        expected = model[0](x)
    first = capture.samples()[0]
    assert first.values.dtype == torch.float32
    assert torch.equal(first.values[:20], expected.detach().float())


def test_a_pass_that_raises_leaves_nothing_open() -> None:
    """After an error in the forward the next pass is captured as any other."""
    model = stock_mlp().train()
    with watched(model) as capture:
        with pytest.raises(RuntimeError, match="shapes"):
            model(torch.randn(3, 5))
        model(torch.randn(6, 32))
    assert seen(capture)["4"] == 6


class Interrupted(nn.Module):
    """Presses Ctrl-C in the middle of its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.layer(x)
        raise KeyboardInterrupt


def test_an_interrupt_leaves_no_mode_behind() -> None:
    """Ctrl-C in the forward passes no hook; leaving the capture still takes everything off."""
    depth = torch._C._len_torch_function_stack()
    model = Interrupted()
    with pytest.raises(KeyboardInterrupt), watched(model):
        model(torch.randn(3, 4))
    assert torch._C._len_torch_function_stack() == depth


def test_inputs_that_cannot_be_counted_are_told() -> None:
    """A pass without a tensor among its arguments is run, not sampled, and counted as unread."""

    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, n: int) -> torch.Tensor:
            return self.layer(torch.ones(n, 4))

    with watched(Made()) as capture:
        Made.__call__(capture.model, 3)
    assert capture.unread == 1


@pytest.mark.parametrize("compiled_first", [False, True])
def test_compiled_training_runs_recorded_steps_eagerly(compiled_first: bool) -> None:
    """With the stance set, a compiled model's passes are seen, warmed up or not."""
    model = torch.compile(stock_mlp().train(), backend="eager")
    x = torch.randn(12, 32)
    if compiled_first:
        model(x)
    with torch.compiler.set_stance("force_eager"), watched(model, plan=Plan()) as capture:
        model(x).sum().backward()
    assert set(seen(capture).values()) == {12}
    assert {"0", "2", "4"} <= set(seen(capture))
