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
        module: a stock recurrent layer or `nn.MultiheadAttention`.
        args, kwargs: what its forward received.
        logits: whether attention logits are wanted, `(N, heads, T, S)`, a head being a unit.

    Returns:
        Its tensors, in the order torch keeps their weights.

    Raises:
        NotImplementedError: for inputs this cannot follow, saying which.
    """
    with torch.no_grad():
        if isinstance(module, nn.MultiheadAttention):
            yield from _attention(module, args, kwargs, logits=logits)
        elif isinstance(module, nn.RNNBase):
            yield from _recurrent(module, args, kwargs)
        else:
            raise NotImplementedError("a single cell shows its gates to nobody")


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


def _recurrent(module: nn.RNNBase, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Inner]:
    x = kwargs.get("input", args[0] if args else None)
    state = kwargs.get("hx", args[1] if len(args) > 1 else None)
    if not isinstance(x, torch.Tensor):
        raise NotImplementedError("its input is a packed sequence")
    if x.ndim != 3:
        raise NotImplementedError("its input is one sequence without a batch")
    if module.training and module.dropout:
        raise NotImplementedError("dropout between its layers cannot be followed")
    if module.batch_first:
        x = x.transpose(0, 1)
    directions = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            suffix = f"l{layer}" + ("_reverse" if direction else "")
            index = layer * directions + direction
            first = _first_states(module, state, index, x)
            flow = x.flip(0) if direction else x
            gates, h = _one_direction(module, suffix, flow, first)
            for name, gate in gates.items():
                gate = gate.flip(0) if direction else gate
                gate = gate.transpose(0, 1) if module.batch_first else gate
                yield Inner(f"{name}_{suffix}", gate, 2, before_nonlinearity=True)
            outputs.append(h.flip(0) if direction else h)
        x = torch.cat(outputs, dim=2)


def _first_states(module: nn.RNNBase, state: Any, index: int, x: torch.Tensor) -> list[torch.Tensor]:
    """What a layer's recurrence begins with: h, and c of an LSTM."""
    is_lstm = module.mode == "LSTM"
    if state is not None:
        return [part[index] for part in (state if is_lstm else (state,))]
    sizes = [module.proj_size or module.hidden_size] + ([module.hidden_size] if is_lstm else [])
    return [x.new_zeros((x.shape[1], size)) for size in sizes]


def _one_direction(
    module: nn.RNNBase, suffix: str, x: torch.Tensor, first: list[torch.Tensor]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Gates before their nonlinearity, `(T, N, hidden_size)` each, and the outputs, of a layer one way."""
    w_ih, w_hh = getattr(module, f"weight_ih_{suffix}"), getattr(module, f"weight_hh_{suffix}")
    b_ih, b_hh = (getattr(module, f"bias_{part}_{suffix}", None) for part in ("ih", "hh"))
    projection = getattr(module, f"weight_hr_{suffix}", None)
    count = len(_GATES[module.mode])
    from_input = F.linear(x, w_ih, b_ih).chunk(count, dim=2)
    h, c = first[0], first[1] if len(first) > 1 else None
    gates: list[list[torch.Tensor]] = [[] for _ in range(count)]
    outputs = []
    for t in range(len(x)):
        from_state = F.linear(h, w_hh, b_hh).chunk(count, dim=1)
        now = [part[t] + other for part, other in zip(from_input, from_state, strict=True)]
        if module.mode == "LSTM":
            assert c is not None
            c = torch.sigmoid(now[1]) * c + torch.sigmoid(now[0]) * torch.tanh(now[2])
            h = torch.sigmoid(now[3]) * torch.tanh(c)
            h = h if projection is None else F.linear(h, projection)
        elif module.mode == "GRU":
            reset, update = torch.sigmoid(now[0]), torch.sigmoid(now[1])
            now[2] = from_input[2][t] + reset * from_state[2]
            h = (1 - update) * torch.tanh(now[2]) + update * h
        else:
            h = torch.tanh(now[0]) if module.mode == "RNN_TANH" else torch.relu(now[0])
        outputs.append(h)
        for kept, gate in zip(gates, now, strict=True):
            kept.append(gate)
    named = zip(_GATES[module.mode], gates, strict=True)
    return {name: torch.stack(gate) for name, gate in named}, torch.stack(outputs)
