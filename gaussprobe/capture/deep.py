"""Inside fused layers: gates of recurrent layers and projections of attention.

torch computes these in one call that shows nothing. They are computed again here, from what the layer
received and its own weights: the same numbers but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Inner(NamedTuple):
    """A tensor inside a fused layer.

    Args:
        name: what it is, as `q` or `forget_gate_l0`.
        tensor: as it would stand there.
        unit_dim: dimension of its units.
        before_nonlinearity: whether a nonlinearity of each unit receives it.
    """

    name: str
    tensor: torch.Tensor
    unit_dim: int
    before_nonlinearity: bool


class CannotFollowError(Exception):
    """What a fused layer received cannot be followed; the message says why."""


_GATES = {
    "LSTM": ("input_gate", "forget_gate", "cell_gate", "output_gate"),
    "GRU": ("reset_gate", "update_gate", "new_gate"),
    "RNN_TANH": ("hidden",),
    "RNN_RELU": ("hidden",),
}


def inside(
    module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], *, logits: bool = False
) -> Iterator[Inner]:
    """What a fused layer computes on the way to its output.

    Args:
        module: a stock recurrent layer or cell, or `nn.MultiheadAttention`.
        args, kwargs: what its forward received.
        logits: whether attention logits are wanted, `(N, heads, T, S)`, a head being a unit.

    Returns:
        Its tensors, in the order torch keeps their weights.

    Raises:
        CannotFollowError: for a packed sequence, and for dropout between layers.
    """
    with torch.no_grad():
        if isinstance(module, nn.MultiheadAttention):
            yield from _attention(module, args, kwargs, logits=logits)
        elif isinstance(module, nn.RNNCellBase):
            yield from _cell(module, args, kwargs)
        elif isinstance(module, nn.RNNBase):
            yield from _recurrent(module, args, kwargs)


def _attention(
    module: nn.MultiheadAttention, args: Sequence[Any], kwargs: dict[str, Any], *, logits: bool
) -> Iterator[Inner]:
    names = ("query", "key", "value")
    given = [kwargs[name] if name in kwargs else args[i] for i, name in enumerate(names)]
    together: Any = module.in_proj_weight
    if together is None:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    else:
        weights = together.chunk(3)
    bias: Any = module.in_proj_bias
    biases = (None, None, None) if bias is None else bias.chunk(3)
    projected = [
        F.linear(tensor, weight, b) for tensor, weight, b in zip(given, weights, biases, strict=True)
    ]
    for name, tensor in zip("qkv", projected, strict=True):
        yield Inner(name, tensor, tensor.ndim - 1, before_nonlinearity=False)
    if logits:
        yield Inner("logits", _logits(module, *projected[:2]), 1, before_nonlinearity=False)


def _logits(module: nn.MultiheadAttention, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Scaled products of queries and keys, `(N, heads, T, S)`, before any mask."""
    if q.ndim == 2:
        q, k = q[None], k[None]
    elif not module.batch_first:
        q, k = q.transpose(0, 1), k.transpose(0, 1)
    heads = (module.num_heads, module.head_dim)
    q, k = (t.reshape(*t.shape[:2], *heads).transpose(1, 2) for t in (q, k))
    return q @ k.transpose(2, 3) / math.sqrt(module.head_dim)


def _cell(module: nn.RNNCellBase, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Inner]:
    x, state = _received(args, kwargs)
    mode = "LSTM" if isinstance(module, nn.LSTMCell) else "GRU"
    if isinstance(module, nn.RNNCell):
        mode = f"RNN_{module.nonlinearity.upper()}"
    if state is None:
        h = c = x.new_zeros((*x.shape[:-1], module.hidden_size))
    else:
        h, c = state if mode == "LSTM" else (state, state)
    count = len(_GATES[mode])
    from_input = F.linear(x, module.weight_ih, module.bias_ih).chunk(count, dim=-1)
    from_state = F.linear(h, module.weight_hh, module.bias_hh).chunk(count, dim=-1)
    gates, _, _ = _step(mode, from_input, from_state, h, c)
    for name, gate in zip(_GATES[mode], gates, strict=True):
        yield Inner(name, gate, gate.ndim - 1, before_nonlinearity=True)


def _received(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Input and state that a recurrent layer was called with."""
    return kwargs.get("input", args[0] if args else None), kwargs.get(
        "hx", args[1] if len(args) > 1 else None
    )


def _recurrent(module: nn.RNNBase, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Inner]:
    x, state = _received(args, kwargs)
    if not isinstance(x, torch.Tensor):
        raise CannotFollowError("its input is a packed sequence")
    if module.training and module.dropout:
        raise CannotFollowError("it drops values between its layers")
    batched = x.ndim == 3
    if not batched:
        x = x[:, None]
        if state is not None:
            state = tuple(part[:, None] for part in state) if module.mode == "LSTM" else state[:, None]
    elif module.batch_first:
        x = x.transpose(0, 1)
    directions = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            suffix = f"l{layer}" + ("_reverse" if direction else "")
            first = _first_states(module, state, layer * directions + direction, x)
            gates, h = _one_direction(module, suffix, x.flip(0) if direction else x, first)
            for name, gate in gates.items():
                gate = gate.flip(0) if direction else gate
                if not batched:
                    gate = gate[:, 0]
                elif module.batch_first:
                    gate = gate.transpose(0, 1)
                yield Inner(f"{name}_{suffix}", gate, gate.ndim - 1, before_nonlinearity=True)
            outputs.append(h.flip(0) if direction else h)
        x = torch.cat(outputs, dim=2)


def _first_states(
    module: nn.RNNBase, state: Any, index: int, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a layer's recurrence begins with: h, and c, which only an LSTM reads."""
    if state is not None:
        h, c = state if module.mode == "LSTM" else (state, state)
        return h[index], c[index]
    h = x.new_zeros((x.shape[1], module.proj_size or module.hidden_size))
    return h, x.new_zeros((x.shape[1], module.hidden_size))


def _one_direction(
    module: nn.RNNBase, suffix: str, x: torch.Tensor, first: tuple[torch.Tensor, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Gates before their nonlinearity, `(T, N, hidden_size)` each, and the outputs, of a layer one way."""
    w_ih, w_hh = getattr(module, f"weight_ih_{suffix}"), getattr(module, f"weight_hh_{suffix}")
    b_ih, b_hh = (getattr(module, f"bias_{part}_{suffix}", None) for part in ("ih", "hh"))
    projection = getattr(module, f"weight_hr_{suffix}", None)
    names = _GATES[module.mode]
    from_input = F.linear(x, w_ih, b_ih).chunk(len(names), dim=2)
    h, c = first
    steps, outputs = [], []
    for t in range(len(x)):
        from_state = F.linear(h, w_hh, b_hh).chunk(len(names), dim=1)
        gates, h, c = _step(module.mode, [part[t] for part in from_input], from_state, h, c)
        h = h if projection is None else F.linear(h, projection)
        steps.append(gates)
        outputs.append(h)
    by_gate = zip(names, zip(*steps, strict=True), strict=True)
    return {name: torch.stack(gate) for name, gate in by_gate}, torch.stack(outputs)


def _step(
    mode: str,
    from_input: Sequence[torch.Tensor],
    from_state: Sequence[torch.Tensor],
    h: torch.Tensor,
    c: torch.Tensor,
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """One step of a recurrence: the gates before their nonlinearity, and h and c after it."""
    gates = [one + other for one, other in zip(from_input, from_state, strict=True)]
    if mode == "LSTM":
        c = torch.sigmoid(gates[1]) * c + torch.sigmoid(gates[0]) * torch.tanh(gates[2])
        return gates, torch.sigmoid(gates[3]) * torch.tanh(c), c
    if mode == "GRU":
        update = torch.sigmoid(gates[1])
        gates[2] = from_input[2] + torch.sigmoid(gates[0]) * from_state[2]
        return gates, (1 - update) * torch.tanh(gates[2]) + update * h, c
    return gates, torch.tanh(gates[0]) if mode == "RNN_TANH" else torch.relu(gates[0]), c
