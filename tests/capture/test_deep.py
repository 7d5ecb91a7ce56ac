"""Inside recurrent layers and attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe.capture import Capture
from gaussprobe.capture.deep import CannotFollowError, inside
from gaussprobe.types import NotCaptured, Samples


def deep(
    model: nn.Module, *args: Any, size: int, **options: Any
) -> tuple[dict[str, Samples], list[NotCaptured]]:
    """Samples by site name, and what is missing, of one pass that looks inside."""
    with torch.no_grad(), Capture(model, deep=True, **options) as capture, capture.forward(size):
        model(*args)
    return {s.site.name: s for s in capture.samples()}, capture.not_captured()


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (nn.LSTM, {"num_layers": 2}),
        (nn.LSTM, {"proj_size": 3, "bias": False}),
        (nn.GRU, {"num_layers": 2}),
        (nn.RNN, {"nonlinearity": "tanh"}),
        (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
    ],
)
def test_gates_give_the_layers_own_output(
    layer: type[nn.RNNBase], options: dict[str, Any], bidirectional: bool, batch_first: bool
) -> None:
    """The last layer's gates, put through the cell's equations, give what torch's fused call gives."""
    torch.manual_seed(1)
    model = layer(4, 5, batch_first=batch_first, bidirectional=bidirectional, **options).eval()
    x = torch.randn(6, 7, 4)
    expected, _ = model(x)
    found = {i.name: i.tensor for i in inside(model, (x,), {})}
    time, width = (1, 0) if batch_first else (0, 1)
    outputs = []
    for suffix in ("", "_reverse") if bidirectional else ("",):
        end = f"_l{model.num_layers - 1}{suffix}"
        gates = {n.removesuffix(end): t for n, t in found.items() if n.endswith(end)}
        assert all(t.shape == (6, 7, 5) for t in gates.values())
        steps = range(x.shape[time])
        h: Any = torch.zeros(x.shape[width], model.proj_size or 5)
        c: Any = torch.zeros(x.shape[width], 5)
        out = []
        for t in reversed(steps) if suffix else steps:
            at = {name: gate.select(time, t) for name, gate in gates.items()}
            if layer is nn.LSTM:
                c = at["forget_gate"].sigmoid() * c + at["input_gate"].sigmoid() * at["cell_gate"].tanh()
                h = at["output_gate"].sigmoid() * c.tanh()
                h = h @ getattr(model, f"weight_hr{end}").T if model.proj_size else h
            elif layer is nn.GRU:
                z = at["update_gate"].sigmoid()
                h = (1 - z) * at["new_gate"].tanh() + z * h
            else:
                h = at["hidden"].tanh() if model.mode == "RNN_TANH" else at["hidden"].relu()
            out.append(h)
        outputs.append(torch.stack(out[::-1] if suffix else out, dim=time))
    torch.testing.assert_close(torch.cat(outputs, dim=2), expected)


@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize(
    "cell",
    [
        nn.LSTMCell(4, 5),
        nn.GRUCell(4, 5),
        nn.RNNCell(4, 5),
        nn.RNNCell(4, 5, nonlinearity="relu", bias=False),
    ],
)
def test_gates_of_a_cell(cell: nn.RNNCellBase, state: bool) -> None:
    """A cell's gates, put through its equations, give what torch's fused call gives."""
    x, h, c = torch.randn(6, 4), torch.randn(6, 5) * state, torch.randn(6, 5) * state
    is_lstm = isinstance(cell, nn.LSTMCell)
    given = (x, ((h, c) if is_lstm else h)) if state else (x,)
    at = {i.name: i.tensor for i in inside(cell, given, {})}
    if is_lstm:
        after = at["forget_gate"].sigmoid() * c + at["input_gate"].sigmoid() * at["cell_gate"].tanh()
        result = at["output_gate"].sigmoid() * after.tanh()
    elif isinstance(cell, nn.GRUCell):
        z = at["update_gate"].sigmoid()
        result = (1 - z) * at["new_gate"].tanh() + z * h
    else:
        result = at["hidden"].tanh() if cell.nonlinearity == "tanh" else at["hidden"].relu()  # type: ignore[union-attr]
    expected = cell(*given)
    torch.testing.assert_close(result, expected[0] if is_lstm else expected)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_one_sequence_without_a_batch(layer: type[nn.RNNBase]) -> None:
    """A sequence by itself has the gates it has in a batch of one, with a state and without."""
    model, x = layer(4, 5, num_layers=2), torch.randn(7, 4)
    h = torch.randn(2, 5)
    state: Any = (h, 2 * h) if layer is nn.LSTM else h
    batched: Any = tuple(part[:, None] for part in state) if layer is nn.LSTM else state[:, None]
    for alone, together in (((x,), (x[:, None],)), ((x, state), (x[:, None], batched))):
        found = [i.tensor for i in inside(model, alone, {})]
        expected = [i.tensor[:, 0] for i in inside(model, together, {})]
        assert [t.shape for t in found] == [(7, 5)] * len(found)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


def test_dropout_between_layers_cannot_be_followed() -> None:
    """In training mode a layer that drops values between its layers is refused, saying so."""
    model = nn.LSTM(4, 5, num_layers=2, dropout=0.5)
    with pytest.raises(CannotFollowError, match="drops values between its layers"):
        list(inside(model, (torch.randn(7, 3, 4),), {}))
    assert len(list(inside(model.eval(), (torch.randn(7, 3, 4),), {}))) == 8


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("separate", [True, False])
def test_attention_from_its_projections(batch_first: bool, separate: bool) -> None:
    """Softmax of the logits times v, projected out, is what torch's attention gives."""
    torch.manual_seed(2)
    sizes = {"kdim": 5, "vdim": 7} if separate else {}
    model = nn.MultiheadAttention(6, 2, batch_first=batch_first, **sizes).eval()
    q, k, v = (
        torch.randn(3, 4, 6),
        torch.randn(3, 4, 5 if separate else 6),
        torch.randn(3, 4, 7 if separate else 6),
    )
    expected, _ = model(q, k, value=v)
    found = {i.name: i.tensor for i in inside(model, (q, k), {"value": v}, logits=True)}
    weights = found["logits"].softmax(dim=3)
    values = found["v"] if batch_first else found["v"].transpose(0, 1)
    heads = values.reshape(*values.shape[:2], 2, 3).transpose(1, 2)
    mixed = (weights @ heads).transpose(1, 2).flatten(2)
    output = model.out_proj(mixed)
    torch.testing.assert_close(output if batch_first else output.transpose(0, 1), expected)


def test_sites_of_a_model_with_both() -> None:
    """Gates are affine and pre-activations, projections affine, named in the module; nothing is missing."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, batch_first=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x, _ = self.lstm(x)
            return self.attention(x, x, x, need_weights=False)[0]

    model, x = Model().eval(), torch.randn(30, 5, 4)
    found, missing = deep(model, x, size=30)
    gates = [f"lstm:{gate}_l0" for gate in ("input_gate", "forget_gate", "cell_gate", "output_gate")]
    assert list(found) == [*gates, "attention:q", "attention:k", "attention:v", "attention.out_proj"]
    assert found[gates[0]].site.kinds == ("affine", "preactivation")
    assert found["attention:q"].site.kinds == ("affine",)
    assert found["attention:q"].sampling.positions_available == 5
    assert missing == []
    with_logits, _ = deep(model, x, size=30, logits=True)
    assert with_logits["attention:logits"].sampling.num_features == 2


def test_what_cannot_be_followed_is_said() -> None:
    """A packed sequence is not looked into, and the reason is listed; the forward goes on."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 3, batch_first=True)
            self.head = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            lengths = torch.full((len(x),), 5)
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.head(self.gru(packed)[1][0])

    found, missing = deep(Model(), torch.randn(20, 5, 4), size=20)
    assert list(found) == ["head"]
    assert missing == [
        NotCaptured(site="gru", reason="its inside cannot be computed again: its input is a packed sequence")
    ]


def test_outputs_are_bit_identical() -> None:
    """Looking inside changes nothing of what the model gives."""
    model = nn.LSTM(4, 6, batch_first=True).eval()
    x = torch.randn(10, 5, 4)
    expected, _ = model(x)
    with torch.no_grad(), Capture(model, deep=True) as capture, capture.forward(10):
        got, _ = model(x)
    assert torch.equal(got, expected)
