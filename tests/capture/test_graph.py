"""Capture of exported programs: the same sites and samples as of the eager model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.capture import Capture, FrontEnd, Plan, of
from gaussprobe.capture.graph import GraphCapture, handles
from gaussprobe.errors import UnsupportedError
from gaussprobe.models import open_model
from gaussprobe.types import Samples
from tests.networks import Residual, SharedFunctional
from tests.programs import save_export


class Padded(nn.Linear):
    """A layer of the user's own class, derived from a stock one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.pad(x, (0, 1)), self.weight, self.bias)


class Layers(nn.Module):
    """Layers that decompose, that repeat, that are fused, and functional calls in a module of the root."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.tokens = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.Softsign(), nn.Dropout())
        self.shared = SharedFunctional(nn.Linear(8, 8), nn.Linear(8, 8))
        self.group = nn.GroupNorm(2, 8)
        self.rnn = nn.LSTM(8, 4, batch_first=True)
        self.padded = Padded(5, 4)
        self.prob = nn.Softmax(dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(self.tokens(F.gelu(self.embed(x))))
        x = self.group(x.transpose(1, 2)).transpose(1, 2)
        hidden, _ = self.rnn(torch.tanh(x))
        hidden = self.padded(hidden)
        return self.prob(hidden @ hidden.transpose(1, 2))


def captured(front: FrontEnd, model: nn.Module, batches: list[torch.Tensor]) -> dict[str, Samples]:
    with torch.no_grad(), front:
        for batch in batches:
            with front.forward(len(batch)):
                model(batch)
    return {samples.site.name: samples for samples in front.samples()}


NETS = {
    "residual": (Residual, (4, 3, 8, 8), False),
    "residual-decomposed": (Residual, (4, 3, 8, 8), True),
    "layers": (Layers, (4, 5, 6), False),
    "layers-decomposed": (Layers, (4, 5, 6), True),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each network as a program."""
    folder = tmp_path_factory.mktemp("programs")
    torch.manual_seed(0)
    return {
        name: save_export(
            build().eval(), folder / f"{name}.pt2", torch.randn(shape), dynamic=False, decomposed=decomposed
        )
        for name, (build, shape, decomposed) in NETS.items()
    }


@pytest.mark.parametrize("name", list(NETS))
def test_sites_and_samples_are_those_of_the_eager_model(files: dict[str, Path], name: str) -> None:
    """Names, kinds, order, counts and values of every site agree with hooks on the model it came from."""
    build, shape, decomposed = NETS[name]
    program = open_model(files[name]).module
    eager = build().eval()
    eager.load_state_dict(program.state_dict())
    batches = [torch.randn(shape) for _ in range(8)]
    plan = Plan(max_samples=64)
    hooks, graph = Capture(eager, plan=plan), of(program, plan=plan)
    assert isinstance(graph, GraphCapture)
    expected, found = captured(hooks, eager, batches), captured(graph, program, batches)
    if (
        name == "layers-decomposed"
    ):  # gates are operators of their own there, in a layer that is fused elsewhere
        assert "rnn" in {missing.site for missing in graph.not_captured()}
    assert list(found) == list(expected)
    for site, samples in expected.items():
        assert found[site].site == samples.site
        assert found[site].sampling == samples.sampling
        torch.testing.assert_close(found[site].values, samples.values)
        if not decomposed:
            assert torch.equal(found[site].values, samples.values)
    assert {m.site: m.reason for m in graph.not_captured()} == {
        m.site: m.reason for m in hooks.not_captured()
    }


def test_output_is_the_same_with_and_without_capture(files: dict[str, Path]) -> None:
    """Watching changes no bit of the output and leaves no observer, also after an error."""
    program = open_model(files["residual"]).module
    batch = torch.randn(4, 3, 8, 8)
    before = program(batch)
    front = of(program)
    with front, front.forward(4):
        assert torch.equal(program(batch), before)
    with pytest.raises(ValueError, match="exported for"), front, front.forward(3):
        program(batch[:3])
    assert program.observer is None  # type: ignore[union-attr]


def test_patterns_select_sites(files: dict[str, Path]) -> None:
    """Include and exclude work on the names of a program's sites."""
    program = open_model(files["residual"]).module
    front = of(program, include=["conv*"], exclude=["*2"])
    assert list(captured(front, program, [torch.randn(4, 3, 8, 8)])) == ["conv1"]
    assert not handles(Residual())
    with pytest.raises(UnsupportedError, match="compiled program"):
        of(program, deep=True)
