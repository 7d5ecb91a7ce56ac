"""Capture of TorchScript programs: sites named by the parameters they use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.capture import Capture, Plan, of
from gaussprobe.capture.scripted import ScriptCapture, handles
from gaussprobe.models import open_model
from tests import needs
from tests.capture.test_graph import Layers, captured
from tests.networks import Residual, stock_mlp
from tests.programs import save_script


class Flattened(nn.Module):
    """A linear layer over tokens, a functional activation in a submodule, a cell before an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.cell = nn.GRUCell(8, 4)
        self.act = nn.ReLU()
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.head(self.act(self.cell(self.body(x).mean(1)))))


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.leaky_relu(self.fc(x))


NETS = {
    "residual": (Residual, (4, 3, 8, 8)),
    "flattened": (Flattened, (4, 5, 6)),
    "mlp": (stock_mlp, (4, 32)),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", list(NETS))
def test_sites_and_samples_are_those_of_the_eager_model(tmp_path: Path, name: str, traced: bool) -> None:
    """Names, kinds, counts and values of every site agree with hooks on the model it came from."""
    build, shape = NETS[name]
    eager = build().eval()
    example = torch.randn(shape)
    program = open_model(save_script(eager, tmp_path / "net.pt", example if traced else None)).module
    batches = [torch.randn(shape) for _ in range(8)]
    plan = Plan(max_samples=64)
    hooks, script = Capture(eager, plan=plan), of(program, plan=plan)
    assert isinstance(script, ScriptCapture)
    expected, found = captured(hooks, eager, batches), captured(script, program, batches)
    assert list(found) == list(expected)
    for site, samples in expected.items():
        assert found[site].site == samples.site
        assert found[site].sampling == samples.sampling
        torch.testing.assert_close(found[site].values, samples.values)
    assert {m.site for m in script.not_captured()} == {m.site for m in hooks.not_captured()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_frozen_program_names_functions(tmp_path: Path) -> None:
    """Parameters frozen into constants have no owner: sites are named by their function and counted."""
    frozen = torch.jit.freeze(torch.jit.script(stock_mlp().eval()))
    torch.jit.save(frozen, tmp_path / "net.pt")
    program = open_model(tmp_path / "net.pt").module
    found = captured(of(program), program, [torch.randn(32, 32) for _ in range(4)])
    assert list(found) == [":linear", ":relu", ":linear#2", ":tanh", ":linear#3"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_output_is_the_same_with_and_without_capture() -> None:
    """Watching leaves a program's output and torch's optimizer setting as they were, also after an error."""
    program = torch.jit.script(Layers().eval())
    batch = torch.randn(4, 5, 6)
    with torch.no_grad():
        before = program(batch)
        front = of(program)
        with front, front.forward(4):
            torch.testing.assert_close(program(batch), before)
        with pytest.raises(RuntimeError), front, front.forward(4):
            program(batch[..., :2])
        torch.testing.assert_close(program(batch), before)
    assert torch._C._get_graph_executor_optimize()
    assert not handles(Layers())


def vad() -> list[tuple[torch.Tensor, int]]:
    """Windows of noise as the voice detector takes them: samples and their rate."""
    generator = torch.Generator().manual_seed(0)
    return [(0.1 * torch.randn(1, 512, generator=generator), 16_000) for _ in range(48)]


def test_a_real_program_by_its_module_paths() -> None:
    """A published voice detector: every convolution by its path, and what did not run with the reason."""
    package = needs.asset("silero_vad")
    run = gp.scan(Path(package.__file__).parent / "data" / "silero_vad.jit", vad())
    sites = {score.site: score.kind for score in run.scores}
    assert len(sites) >= 6
    convolutions = {f"_model.encoder.{i}.reparam_conv" for i in range(4)} | {"_model.decoder.decoder.2"}
    assert convolutions <= sites.keys()
    assert all("preactivation" in sites[site] for site in convolutions)
    assert "_model.stft:conv1d" in sites
    reasons = {missing.site: missing.reason for missing in run.not_captured}
    assert "gates" in reasons["_model.decoder.rnn"]
    assert "never ran" in reasons["_model_8k.encoder.0.reparam_conv"]
