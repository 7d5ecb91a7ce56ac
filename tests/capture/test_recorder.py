"""Hooks and the function mode."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.capture import Capture, Plan
from gaussprobe.types import Samples
from tests.networks import Residual, SharedFunctional, stock_mlp


def record(model: nn.Module, x: torch.Tensor, batch_size: int = 64, **options: object) -> dict[str, Samples]:
    """Samples by site name."""
    with torch.no_grad(), Capture(model, **options) as capture:  # type: ignore[arg-type]
        for batch in x.split(batch_size):
            with capture.forward(len(batch)):
                model(batch)
    return {s.site.name: s for s in capture.samples()}


def test_linear_before_relu_is_one_site_with_both_kinds() -> None:
    """The output of a Linear that an activation receives carries both kinds, in execution order of sites."""
    found = record(stock_mlp(), torch.randn(100, 32))
    assert {name: s.site.kinds for name, s in found.items()} == {
        "0": ("affine", "preactivation"),
        "1": ("activation",),
        "2": ("affine", "preactivation"),
        "3": ("activation",),
        "4": ("affine",),
    }
    assert list(found) == ["0", "1", "2", "3", "4"]


def test_values_are_those_before_the_inplace_activation() -> None:
    """An in-place ReLU does not overwrite the sample of the Linear before it."""
    model, x = stock_mlp(), torch.randn(100, 32)
    found = record(model, x, batch_size=100)
    rows = torch.from_numpy(found["0"].examples)
    expected = model[0](x).detach()[rows]
    assert torch.equal(found["0"].values, expected)
    assert torch.equal(found["1"].values, expected.clamp(min=0))


def test_functional_form_gives_the_same_sites_and_numbers() -> None:
    """F.relu_, torch.tanh and a Linear used twice: functional names, `#2`, bit-identical values."""
    first, second = nn.Linear(20, 24), nn.Linear(24, 24)
    modules = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.Tanh(), second)
    x = torch.randn(150, 20)
    by_module, by_function = record(modules, x), record(SharedFunctional(first, second), x)
    assert list(by_module) == ["0", "1", "2", "3", "2#2"]
    assert list(by_function) == ["first", ":relu", "second", ":tanh", "second#2"]
    for one, other in zip(by_module.values(), by_function.values(), strict=True):
        assert one.site.kinds == other.site.kinds
        assert torch.equal(one.values, other.values)
        assert one.n_seen == other.n_seen


@pytest.mark.parametrize(
    "relu",
    [
        F.relu,
        F.relu_,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        lambda x: F.relu(x, inplace=True),
        lambda x: F.relu(input=x),
    ],
)
def test_every_spelling_of_relu_is_seen(relu: object) -> None:
    """Each public spelling makes the site `:relu`, its input captured before it is overwritten."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return relu(x + 1)  # type: ignore[operator]

    x = torch.randn(50, 6)
    found = record(Model(), x, batch_size=50)
    assert list(found) == [":relu:input", ":relu"]
    assert torch.equal(found[":relu:input"].values, (x + 1)[torch.from_numpy(found[":relu"].examples)])


def test_sum_of_branches_is_the_input_site_of_the_second_call() -> None:
    """A pre-activation that no site produced is `path:input`, numbered by the call of its nonlinearity."""
    found = record(Residual().eval(), torch.randn(60, 3, 8, 8))
    assert list(found) == [
        "conv1", "norm", "act", "conv2", "act:input#2", "act#2", "head", ":sigmoid",
    ]  # fmt: skip
    assert found["norm"].site.kinds == ("preactivation", "norm")
    assert found["conv2"].site.kinds == ("affine",)
    assert found["act:input#2"].site.kinds == ("preactivation",)
    assert found["act:input#2"].sampling.num_features == 8


def test_a_view_of_an_output_is_the_same_site() -> None:
    """A reshape between a Linear and its activation does not make a second site."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.linear(x).view(-1, 2, 3))

    found = record(Model(), torch.randn(30, 4))
    assert found["linear"].site.kinds == ("affine", "preactivation")
    assert ":tanh:input" not in found


def test_a_changed_output_is_not_the_same_site() -> None:
    """An output added to in place before its activation is another tensor."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.linear(x).add_(10.0))

    found = record(Model(), torch.randn(30, 4))
    assert found["linear"].site.kinds == ("affine",)
    assert float(found[":tanh:input"].values.mean()) > 5


def test_functional_calls_inside_a_stock_layer_are_its_own_business() -> None:
    """`F.linear` in nn.Linear and `F.relu` in nn.ReLU make no functional site."""
    found = record(stock_mlp(), torch.randn(20, 32))
    assert not [name for name in found if ":" in name]


def test_matrix_product_with_a_parameter_is_affine_and_others_are_not() -> None:
    """`x @ parameter` is a layer; `x @ x.T` is not."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 7))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ x.T) @ x @ self.weight

    found = record(Model(), torch.randn(40, 5))
    assert list(found) == [":matmul"]
    assert found[":matmul"].site.kinds == ("affine",)


def test_submodule_owns_its_functional_calls() -> None:
    """A functional nonlinearity is named by the module whose forward calls it."""
    found = record(nn.Sequential(Residual(), nn.Linear(4, 2)).eval(), torch.randn(20, 3, 8, 8))
    assert "0:sigmoid" in found


def test_keyword_inputs_reach_the_hooks() -> None:
    """An activation called with `input=` has its pre-activation captured."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(input=x * 2)

    assert list(record(Model(), torch.randn(20, 3))) == ["act:input", "act"]


def test_outputs_and_generator_and_flags_are_untouched() -> None:
    """A captured model's outputs are bit-identical, and it draws nothing from the global generator."""
    model = nn.Sequential(Residual(), nn.Dropout(0.5))
    model.train()
    model[0].eval()
    x = torch.randn(16, 3, 8, 8)
    torch.manual_seed(7)
    expected = model(x)
    state = torch.get_rng_state()
    torch.manual_seed(7)
    with Capture(model) as capture, capture.forward(16):
        got = model(x)
    assert torch.equal(got, expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert model[1].training
    assert not model[0].training


def test_no_hook_and_no_attribute_is_left_after_an_error() -> None:
    """An exception in the forward leaves the model as it was, and a deep copy carries no hook."""

    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(str(self.linear(x).shape))

    model = Failing()
    before = {name: set(vars(m)) for name, m in model.named_modules()}
    with pytest.raises(RuntimeError), Capture(model) as capture, capture.forward(2):
        model(torch.randn(2, 3))
    assert {name: set(vars(m)) for name, m in model.named_modules()} == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in copy.deepcopy(model).modules())
    assert capture.last_site == "linear"


def test_a_caught_exception_does_not_shift_later_owners() -> None:
    """A module that raises and is caught unwinds the stack: later functional calls keep their owner."""

    class Raises(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad = Raises()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with contextlib.suppress(ValueError):
                self.bad(x)
            return torch.tanh(x)

    assert list(record(Model(), torch.randn(10, 3))) == [":tanh:input", ":tanh"]


def test_not_captured_names_what_never_fired_and_why() -> None:
    """Layers that are never called, or hidden in a fused call, are listed with the reason."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)
            self.lstm = nn.LSTM(4, 4, batch_first=True)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x, _ = self.lstm(self.used(x))
            return self.attention(x, x, x, need_weights=False)[0]

    model = Model()
    with torch.no_grad(), Capture(model) as capture, capture.forward(3):
        model(torch.randn(3, 5, 4))
    reasons = {m.site: m.reason for m in capture.not_captured()}
    assert reasons == {
        "unused": "never called in the forward pass",
        "lstm": "its gates are computed inside one fused call (deep looks inside)",
        "attention": "its projections are computed inside one fused call (deep looks inside)",
        "attention.out_proj": "inside a fused layer",
    }


def test_unusable_tensors_are_reported_with_the_reason() -> None:
    """Complex outputs are not scored and not dropped silently."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(torch.complex(x, x)).real

    model = Model()
    with Capture(model) as capture, capture.forward(5):
        model(torch.randn(5, 3))
    assert capture.samples() == []
    assert {m.site: m.reason for m in capture.not_captured()} == {
        ":tanh:input": "its tensor is complex64, not real floating point",
        ":tanh": "its tensor is complex64, not real floating point",
    }


def test_include_and_exclude_select_by_site_name() -> None:
    """Patterns work on site names, functional ones included."""
    x = torch.randn(20, 3, 8, 8)
    model = Residual().eval()
    assert list(record(model, x, include=["conv*"])) == ["conv1", "conv2"]
    assert list(record(model, x, exclude=["*:*", "act*"])) == ["conv1", "norm", "conv2", "head"]


def test_half_precision_is_upcast_and_double_is_kept() -> None:
    """Samples are float32 for bfloat16 models and float64 for double ones."""
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        found = record(nn.Linear(3, 4).to(dtype), torch.randn(10, 3, dtype=dtype))
        assert found[""].values.dtype == expected


def test_nonfinite_values_are_counted_over_everything_that_passed() -> None:
    """One NaN and two infinities among 16,000 values are counted though only 8 rows are sampled."""
    x = torch.randn(1000, 16)
    x[3, 5], x[400, 5], x[999, 2] = float("nan"), float("inf"), float("-inf")
    found = record(nn.Tanh(), x, plan=Plan(max_samples=8))
    counts = found[":input"].nonfinite
    assert (counts.nan, counts.inf, counts.total) == (1, 2, 16_000)
    assert counts.any
    assert found[":input"].n_samples == 8


def test_tensors_that_cannot_be_read_do_not_break_the_forward() -> None:
    """Under vmap the forward goes on, and its sites are listed with the reason."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(torch.func.vmap(torch.tanh)(x))

    model = Model()
    with torch.no_grad(), Capture(model) as capture, capture.forward(10):
        model(torch.randn(10, 3))
    assert [s.site.name for s in capture.samples()] == ["linear"]
    reasons = {m.site: m.reason for m in capture.not_captured()}
    assert set(reasons) == {":tanh:input", ":tanh"}
    assert all("could not be read" in reason for reason in reasons.values())


def test_softmax_is_listed_with_its_reason() -> None:
    """A Softmax module is no nonlinearity of a unit, and is not dropped silently."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Softmax(dim=-1))
    with torch.no_grad(), Capture(model) as capture, capture.forward(10):
        model(torch.randn(10, 3))
    assert capture.samples()[0].site.kinds == ("affine",)
    assert [(m.site, m.reason) for m in capture.not_captured()] == [
        ("1", "acts across units, not on each by itself")
    ]
