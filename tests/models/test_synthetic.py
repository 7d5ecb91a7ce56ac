"""Made-up inputs: shapes that fit the model, reproducible numbers, no trace on the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe.errors import DataError
from gaussprobe.models import call_arguments, first_tensor, infer
from gaussprobe.models.batches import leaves


class Flattened(nn.Module):
    """Convolution, then a Linear that fits one image side only."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * side * side, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))


class Images(nn.Module):
    """A Linear over images, which must come as images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, _, _ = x.shape
        return self.layer(x.reshape(n, -1))


class Positions(nn.Module):
    """Embeddings of tokens and of at most twenty positions."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 8)
        self.positions = nn.Embedding(20, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))


class DataDependent(nn.Module):
    """Control flow on a number, which a forward pass without numbers cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x) if x.sum().item() < 1e9 else x


class Stochastic(nn.Module):
    """Noise in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum().item() > 1e9:
            return x
        return self.layer(x + torch.randn_like(x))


def _encoder(*, batch_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(7, 3), nn.ReLU()), (2, 7)),
    "nested mlp": (lambda: nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(7, 3))), (2, 7)),
    "image mlp": (Images, (2, 1, 28, 28)),
    "cnn": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (2, 3, 224, 224)),
    "cnn of 32": (lambda: Flattened(3, 32), (2, 3, 32, 32)),
    "cnn of 28": (lambda: Flattened(1, 28), (2, 1, 28, 28)),
    "cnn of 9": (lambda: Flattened(2, 9), (2, 2, 9, 9)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3), (2, 2, 128)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 3), (2, 1, 16, 16, 16)),
    "transposed": (lambda: nn.ConvTranspose1d(4, 2, 2), (2, 4, 128)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), (2, 128)),
    "positions": (Positions, (2, 16)),
    "bag": (lambda: nn.EmbeddingBag(9, 4), (2, 128)),
    "lstm": (lambda: nn.LSTM(3, 4, batch_first=True), (2, 128, 3)),
    "gru": (lambda: nn.GRU(3, 4), (128, 2, 3)),
    "cell": (lambda: nn.LSTMCell(3, 4), (2, 3)),
    "encoder": (lambda: _encoder(batch_first=True), (2, 128, 8)),
    "encoder, sequence first": (lambda: _encoder(batch_first=False), (128, 2, 8)),
    "batch norm": (lambda: nn.BatchNorm1d(5), (2, 5)),
    "layer norm": (lambda: nn.LayerNorm(6), (2, 6)),
    "group norm": (lambda: nn.GroupNorm(2, 6), (2, 6)),
    "half": (lambda: nn.Linear(4, 4).bfloat16(), (2, 4)),
    "data dependent": (DataDependent, (2, 5)),
    "stochastic": (Stochastic, (2, 5)),
    "compiled": (lambda: torch.compile(nn.Sequential(nn.Linear(7, 3)), backend="eager"), (2, 7)),
    "parallel": (lambda: nn.DataParallel(nn.Linear(7, 3)), (2, 7)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shape_is_inferred_without_a_trace(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The inferred shape runs, and flags, buffers, global random state and stderr are as before."""
    build, shape = ARCHITECTURES[name]
    module = build().train()
    list(module.modules())[-1].eval()
    flags = [child.training for child in module.modules()]
    state = {key: value.clone() for key, value in module.state_dict().items()}
    random = torch.get_rng_state()
    inputs = infer(module, seed=0, n=2)
    assert torch.equal(torch.get_rng_state(), random)
    assert [child.training for child in module.modules()] == flags
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in state.items())
    (batch,) = inputs.batches
    assert tuple(first_tensor(batch).shape) == shape
    assert inputs.description["synthetic"] is True
    assert "made up" in inputs.notes[0]
    args, kwargs, _ = call_arguments(module, batch)
    with torch.no_grad():
        module.eval()(*args, **kwargs)
    assert capfd.readouterr() == ("", "")


def test_numbers_are_seeded_and_standard_normal() -> None:
    """The same seed gives the same numbers on every walk, another seed others; they are N(0, 1)."""
    module = nn.Linear(40, 2)
    first, second, other = infer(module, seed=1), infer(module, seed=1), infer(module, seed=2)
    joined = [torch.cat(list(each.batches)) for each in (first, first, second, other)]
    assert torch.equal(joined[0], joined[1])
    assert torch.equal(joined[0], joined[2])
    assert not torch.equal(joined[0], joined[3])
    assert joined[0].shape == (2_048, 40)
    assert abs(joined[0].mean()) < 0.02
    assert abs(joined[0].std() - 1) < 0.02


def test_large_inputs_are_fewer_and_in_smaller_batches() -> None:
    """Images of 224 give between 256 and 2,048 examples and at most 2^26 numbers, in batches under 2^23."""
    inputs = infer(nn.Conv2d(3, 2, 3), seed=0)
    assert inputs.n_examples == 2**26 // (3 * 224 * 224)
    assert inputs.description["batch_size"] * 3 * 224 * 224 <= 2**23
    assert infer(nn.Conv2d(64, 2, 3), seed=0).n_examples == 256


@pytest.mark.parametrize("attribute", ["example_inputs", "dummy_inputs", "example_input_array"])
@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict", "function"])
def test_examples_of_the_author_come_first(attribute: str, kind: str) -> None:
    """An example kept on the model decides shapes, dtypes, and the range of integers."""
    module = nn.Linear(3, 3)
    example = torch.zeros(1, 5, 3)
    forms: dict[str, Any] = {
        "tensor": example,
        "tuple": (example,),
        "dict": {"input": example},
        "function": lambda: example,
    }
    setattr(module, attribute, forms[kind])
    inputs = infer(module, seed=0)
    assert first_tensor(next(iter(inputs.batches))).shape == (128, 5, 3)
    assert attribute in inputs.notes[0]


def test_several_inputs_from_an_example() -> None:
    """A model of several inputs works with an example; its masks keep their values."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.dummy_inputs = {"x": torch.zeros(2, 4, 3), "mask": torch.ones(2, 4, dtype=torch.int64)}

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * mask.unsqueeze(-1)

    batch = next(iter(infer(Masked(), seed=0).batches))
    x, mask = leaves(batch)
    assert x.shape == (128, 4, 3)
    assert torch.equal(mask, torch.ones(128, 4, dtype=torch.int64))


def test_example_that_does_not_fit_is_noted() -> None:
    """An example the model itself refuses is not used, and that is said."""
    module = nn.Linear(3, 3)
    module.example_inputs = torch.ones(1, 4)  # type: ignore[assignment]
    inputs = infer(module, seed=0)
    assert first_tensor(next(iter(inputs.batches))).shape == (128, 3)
    assert any("example_inputs did not fit" in note for note in inputs.notes)


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Bilinear(2, 2, 1), r"needs 2 inputs \(input1, input2\)"),
        (nn.MultiheadAttention(4, 2), r"needs 3 inputs \(query, key, value\)"),
        (nn.Sequential(nn.ReLU()), "no parameters"),
        (nn.LazyLinear(3), "LazyLinear takes its shape"),
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(3, 4)), "none of .* usual sizes fits"),
    ],
)
def test_models_that_tell_no_shape(module: nn.Module, match: str) -> None:
    """A model whose input cannot be told is an error with a way out."""
    with pytest.raises(DataError, match=match) as caught:
        infer(module, seed=0)
    assert "--data" in str(caught.value)
    assert str(caught.value).count("\n") <= 1


@pytest.mark.parametrize("n", [0, -3, 2.0, True])
def test_bad_number_of_examples_is_a_value_error(n: Any) -> None:
    """A number of examples that is not a positive integer is a bad argument."""
    with pytest.raises(ValueError, match="n must be"):
        infer(nn.Linear(2, 2), seed=0, n=n)


def test_hooks_of_the_owner_do_not_see_trials() -> None:
    """A function hooked on the model by its owner is not called with tensors that have no numbers."""
    module = nn.Linear(3, 3)
    seen: list[Any] = []
    handle = module.register_forward_hook(lambda *given: seen.append(given))
    infer(module, seed=0)
    handle.remove()
    assert seen == []
