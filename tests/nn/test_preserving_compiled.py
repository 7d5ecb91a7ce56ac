"""phi_theta under compilers and exporters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gaussprobe.nn import GaussianPreserving
from gaussprobe.nn.preserving_table import Kind
from tests import needs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

KINDS: tuple[Kind, ...] = ("odd", "positive")
SPECIAL = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 16.0, -16.0, 1e30, -1e30, -38.0])


@pytest.fixture(autouse=True)
def no_hook_left() -> None:
    """Not asked here: compilers and exporters hold hooks of their own."""


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own; nothing compiled is left for another test."""
    monkeypatch.setenv("GAUSSPROBE_CACHE", str(tmp_path))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_export(kind: Kind) -> None:
    """An exported module gives the same, for any number of rows."""
    layer = GaussianPreserving(3, kind)
    rows = {"x": {0: torch.export.Dim("rows", min=2)}}
    made = torch.export.export(layer, (torch.randn(4, 5),), dynamic_shapes=rows).module()
    x = torch.cat((torch.randn(6, 5) * 9, SPECIAL.view(2, 5)))
    torch.testing.assert_close(made(x), layer(x), equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_traced_whole(kind: Kind) -> None:
    """A compiler gets one graph of a network of several, with gradients, and no second for other sizes."""
    from torch._dynamo.testing import CompileCounter

    model = torch.nn.Sequential(GaussianPreserving(3, kind), GaussianPreserving(5, kind))
    counter = CompileCounter()
    run = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    for size in (5, 6, 7, 12):
        x = torch.randn(size, 3, requires_grad=True)
        y = run(x)
        torch.testing.assert_close(y, model(x))
        (found,) = torch.autograd.grad(y.sum(), x)
        (expected,) = torch.autograd.grad(model(x).sum(), x)
        torch.testing.assert_close(found, expected)
    assert counter.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled(kind: Kind) -> None:
    """What torch.compile makes of it gives the same values and slopes."""
    layer = GaussianPreserving(2.5, kind)
    x = torch.cat((torch.randn(500, generator=torch.manual_seed(4)) * 8, SPECIAL[:2])).requires_grad_()
    y = torch.compile(layer, fullgraph=True)(x)
    torch.testing.assert_close(y, layer(x))
    (found,) = torch.autograd.grad(y.sum(), x)
    (expected,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_onnx(kind: Kind, tmp_path: Path) -> None:
    """ONNX by `dynamo=True`, run by the reference implementation."""
    onnx = needs.package("onnx")
    needs.package("onnxscript")
    from onnx.reference import ReferenceEvaluator

    layer = GaussianPreserving(2.5, kind).eval()
    x = torch.randn(40, 5, generator=torch.manual_seed(5)) * 8
    torch.onnx.export(layer, (x,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    graph = ReferenceEvaluator(onnx.load(tmp_path / "model.onnx"))
    (found,) = graph.run(None, {graph.input_names[0]: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), layer(x))
