"""How torch really behaves: one test for each trap of hooks, functional calls, wrappers and compilation."""

from __future__ import annotations

import copy
import pickle
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from gaussprobe import borrow
from gaussprobe.capture import Capture
from gaussprobe.types import CaptureRecord, Samples
from tests.capture.test_recorder import record


def watch(model: nn.Module, *args: Any, size: int) -> tuple[dict[str, Samples], dict[str, CaptureRecord]]:
    """Samples and records by site of one pass without gradients."""
    with torch.no_grad(), borrow.eagerly(), Capture(model) as capture, capture.forward(size):
        model(*args)
    return {s.site.name: s for s in capture.samples()}, {r.site: r for r in capture.records()}


def test_aliases_are_one_site() -> None:
    """A module under two names has its first one, its calls numbered."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.other = self.one

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.other(self.one(x))

    found, records = watch(Model(), torch.randn(20, 4), size=20)
    assert list(found) == ["one", "one#2"]
    assert [records[name].calls for name in found] == [1, 1]


def test_strided_views_of_an_output_are_copied_before_they_are_overwritten() -> None:
    """An in-place activation on half of an output changes neither the sample nor goes unnoticed."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            F.relu_(y[:, ::2])
            return y

    model, x = Model(), torch.randn(50, 4)
    found, records = watch(model, x, size=50)
    expected = model.linear(x).detach()[torch.from_numpy(found["linear"].examples)]
    assert torch.equal(found["linear"].values, expected)
    assert records["linear"].overwritten == 1
    assert records[":relu:input"].overwritten == 1


def test_a_model_can_be_copied_and_pickled_afterwards() -> None:
    """Neither a copy nor a pickle of the model carries anything of the capture."""
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    record(model, torch.randn(10, 3))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in other.modules())


def test_transformer_layers_leave_their_fast_path() -> None:
    """In eval without gradients the layers inside fire, and the output is the fast path's to rounding."""
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(20, 5, 8)
    with torch.no_grad():
        expected = model(x)
    with torch.no_grad(), Capture(model) as capture, capture.forward(20):
        got = model(x)
    names = [s.site.name for s in capture.samples()]
    for i in (0, 1):
        for name in ("linear1", "linear2", "norm1", "norm2"):
            assert f"layers.{i}.{name}" in names
    assert any(name.endswith(":relu") for name in names)
    torch.testing.assert_close(got, expected)


class Unhooked(nn.Module):
    """Three ways past a hook: `.forward()`, a weight used directly, a module in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.used = nn.Linear(4, 4), nn.Linear(4, 4)
        self.hidden = [nn.Linear(4, 4)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.called.forward(x)
        x = F.linear(x, self.used.weight)
        return F.tanh(self.hidden[0](x))


def test_calls_past_the_hooks_are_seen_as_functions() -> None:
    """What no hook sees is a functional site of the module that calls it, the silent modules are listed."""
    model = Unhooked()
    with torch.no_grad(), Capture(model) as capture, capture.forward(20):
        model(torch.randn(20, 4))
    found = {s.site.name: s.site.kinds for s in capture.samples()}
    assert found == {
        ":linear": ("affine",),
        ":linear#2": ("affine",),
        ":linear#3": ("affine", "preactivation"),
        ":tanh": ("activation",),
    }
    assert {m.site: m.reason for m in capture.not_captured()} == {
        "called": "never called in the forward pass",
        "used": "never called in the forward pass",
    }


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_fires_once(use_reentrant: bool) -> None:
    """What activation checkpointing computes again in the backward pass is counted, and is no sample."""
    block = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    head = nn.Linear(6, 1)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = block, head

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(checkpoint(self.block, x, use_reentrant=use_reentrant))

    model, x = Model(), torch.randn(30, 4, requires_grad=True)
    with Capture(model) as capture, capture.forward(30):
        model(x).sum().backward()
    records = {r.site: r for r in capture.records()}
    assert list(records) == ["block.0", "block.1", "head"]
    assert {r.calls for r in records.values()} == {1}
    assert [records[name].recomputed for name in records] == [1, 1, 0]
    assert {s.n_seen for s in capture.samples()} == {30}


class Wrapper(nn.Module):
    """A model whose own child is called module."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)


@pytest.fixture
def process_group(tmp_path: Any) -> Iterator[None]:
    """A process group of one process."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_wrappers_leave_no_trace_in_names() -> None:
    """DataParallel, DistributedDataParallel, AveragedModel and compiled models have their own names."""
    x = torch.randn(20, 4)
    for wrap in (
        nn.DataParallel,
        nn.parallel.DistributedDataParallel,
        torch.optim.swa_utils.AveragedModel,
        torch.compile,
    ):
        inner = nn.Sequential(Wrapper(), nn.Linear(2, 2))
        assert list(watch(wrap(inner), x, size=20)[0]) == ["0.module", "1"], wrap  # type: ignore[operator]


def test_compiled_in_place_and_warmed_up() -> None:
    """A model compiled in place and already run is captured all the same."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    model.compile(backend="eager")
    x = torch.randn(20, 4)
    with torch.no_grad():
        expected = model(x)
    found, _ = watch(model, x, size=20)
    assert list(found) == ["0", "1"]
    torch.testing.assert_close(found["1"].values, expected[torch.from_numpy(found["1"].examples)])


def test_lazy_modules() -> None:
    """A layer that learns its size in the first call is a site from the first call on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.ReLU()).eval()
    found = record(model, torch.randn(64, 3), batch_size=32)
    assert {name: s.site.kinds for name, s in found.items()} == {
        "0": ("affine",),
        "1": ("preactivation", "norm"),
        "2": ("activation",),
    }
    assert found["0"].n_seen == 64


def test_autocast() -> None:
    """Under autocast the sites hold what bfloat16 gave, as float32."""
    model, x = nn.Linear(8, 4), torch.randn(20, 8)
    with (
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16),
        Capture(model) as capture,
        capture.forward(20),
    ):
        expected = model(x)
    (samples,) = capture.samples()
    assert samples.values.dtype == torch.float32
    assert torch.equal(samples.values, expected.float()[torch.from_numpy(samples.examples)])


def test_quantized_tensors_are_dequantized() -> None:
    """A quantized pre-activation is scored by the numbers it stands for."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)).dequantize()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = record(Model(), torch.randn(40, 3), batch_size=40)
    values = found[":relu:input"].values / 0.1
    torch.testing.assert_close(values, values.round(), atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantized_layers_are_sites() -> None:
    """Dynamically quantized Linear layers are affine sites by their own names."""
    stock = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    model = torch.ao.quantization.quantize_dynamic(stock, {nn.Linear}, dtype=torch.qint8)
    found, _ = watch(model, torch.randn(50, 8), size=50)
    assert {name: samples.site.kinds for name, samples in found.items()} == {
        "0": ("affine", "preactivation"),
        "1": ("activation",),
        "2": ("affine",),
    }


def test_containers_as_outputs() -> None:
    """Modules that give tuples, dicts and records pass, and the layers inside are sites."""
    from dataclasses import dataclass

    @dataclass
    class Result:
        hidden: torch.Tensor

    class Gives(nn.Module):
        def __init__(self, form: str) -> None:
            super().__init__()
            self.form, self.linear = form, nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.linear(x)
            return {"tuple": (y, x), "dict": {"y": y}, "record": Result(y)}[self.form]

    for form in ("tuple", "dict", "record"):
        assert list(watch(Gives(form), torch.randn(20, 4), size=20)[0]) == ["linear"]


NAMES = (
    "celu elu gelu hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu silu softplus"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_every_function_is_seen_and_its_result_unchanged(name: str) -> None:
    """Functional nonlinearities of torch make their site, and give what they give without capture."""
    function = getattr(F, name)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(self.linear(x))

    model, x = Model(), torch.randn(20, 4)
    with torch.no_grad():
        expected = model(x)
        with Capture(model) as capture, capture.forward(20):
            got = model(x)
    found = {s.site.name: s for s in capture.samples()}
    assert list(found) == ["linear", f":{name}"]
    assert found["linear"].site.kinds == ("affine", "preactivation")
    assert torch.equal(got, expected)


def test_scaled_dot_product_attention_passes() -> None:
    """What attention computes inside one call is no site, and disturbs none."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(self.q(x), self.k(x), x)

    assert list(watch(Model(), torch.randn(20, 5, 4), size=20)[0]) == ["q", "k"]


def test_no_activation_outlives_its_hook() -> None:
    """While a forward pass goes on, tensors that the model has dropped are gone, watched or not."""
    alive: list[int] = []
    seen: list[weakref.ref[torch.Tensor]] = []

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            alive.append(sum(reference() is not None for reference in seen))
            y = self.linear(x)
            seen.append(weakref.ref(y))
            return torch.tanh(y)

    model = nn.Sequential(*(Layer() for _ in range(6)))
    watch(model, torch.randn(64, 4), size=64)
    assert alive == [0] * 6
    assert [reference() for reference in seen] == [None] * 6


def test_time_and_calls_grow_with_sites_alone() -> None:
    """Twice as many layers make twice as many sites, each seen once a pass, and nothing else."""
    for layers in (10, 20):
        model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
        _, records = watch(model, torch.randn(16, 4), size=16)
        assert [record.calls for record in records.values()] == [1] * layers
