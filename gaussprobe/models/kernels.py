"""Stock modules whose native kernels trust their attributes: parameters must be as constructors make them.

torch's recurrent and attention kernels take sizes from attributes and read that far into the weights; a file
in which the two differ would crash the process or read memory that is not the tensor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gaussprobe.nn.functional import How, check
from gaussprobe.nn.layers import Normality

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_CELL_GATES: dict[type[nn.Module], int] = {nn.RNNCell: 1, nn.GRUCell: 3, nn.LSTMCell: 4}
Shape = tuple[int, ...]


def misfit(module: nn.Module) -> str | None:
    """What is wrong between a module's attributes and its parameters.

    Args:
        module: a module of a stock class, loaded from a file.

    Returns:
        What is wrong, None when nothing is or the class's kernels check for themselves.
    """
    try:
        if isinstance(module, nn.RNNBase):
            return _recurrent(module)
        if isinstance(module, nn.RNNCellBase):
            return _cell(module)
        if isinstance(module, nn.MultiheadAttention):
            return _attention(module)
        if isinstance(module, nn.TransformerEncoderLayer):
            return _encoder_layer(module)
        if isinstance(module, Normality):
            return _normality(module)
    except KeyError as error:
        return f"it lacks {error.args[0]}"
    return None


def _normality(module: Normality) -> str | None:
    state: Mapping[str, Any] = vars(module)
    eps, strength, noise = (state[name] for name in ("eps", "strength", "noise"))
    if any(type(number) not in (int, float) for number in (eps, strength, noise)):
        return "its eps, strength or noise is no number"
    if type(state["compiled"]) is not bool or state["_last"] is not None:
        return "it holds what its class never saves"
    try:
        check(How(eps, strength, noise, state["noise_kind"]))
    except ValueError as error:
        return str(error)
    return None


def _recurrent(module: nn.RNNBase) -> str | None:
    state = vars(module)
    wrong = _counts(state, "input_size", "hidden_size", "num_layers")
    wrong = wrong or _flags(state, "bias", "batch_first", "bidirectional")
    if wrong:
        return wrong
    gates = _GATES.get(state["mode"]) if isinstance(state["mode"], str) else None
    suits = {nn.LSTM: ("LSTM",), nn.GRU: ("GRU",), nn.RNN: ("RNN_TANH", "RNN_RELU")}.get(type(module))
    if gates is None or (suits is not None and state["mode"] not in suits):
        return "its mode is not its class's"
    hidden, projected = state["hidden_size"], state["proj_size"]
    if type(projected) is not int or not 0 <= projected < hidden or (projected and gates != 4):
        return "its proj_size is impossible"
    dropout = state["dropout"]
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
        return "its dropout is no probability"
    if state["num_layers"] > len(module._parameters):
        return "its parameters are not those of its class"
    layers = _recurrent_layers(state, gates)
    expected = {name: shape for layer in layers for name, shape in layer.items()}
    wrong = _shapes(module._parameters, expected, exact=True)
    if wrong:
        return wrong
    # The kernels are given this list, not the parameters.
    flat = [module._parameters[name] for name in expected]
    kept = state["_flat_weights"]
    if not isinstance(kept, list) or len(kept) != len(flat):
        return "its list of weights is not its parameters"
    if any(one is not other for one, other in zip(kept, flat, strict=True)):
        return "its list of weights is not its parameters"
    names = [list(layer) for layer in layers]
    if state["_flat_weights_names"] != list(expected) or state["_all_weights"] != names:
        return "its list of weights is not its parameters"
    return None


def _recurrent_layers(state: Mapping[str, Any], gates: int) -> list[dict[str, Shape]]:
    """Names and shapes of the parameters of each layer and direction, as `nn.RNNBase` makes them."""
    hidden, directions = state["hidden_size"], 2 if state["bidirectional"] else 1
    out = state["proj_size"] or hidden
    layers = []
    for layer in range(state["num_layers"]):
        size = state["input_size"] if layer == 0 else out * directions
        for direction in range(directions):
            end = f"l{layer}{'_reverse' if direction else ''}"
            shapes: dict[str, Shape] = {
                f"weight_ih_{end}": (gates * hidden, size),
                f"weight_hh_{end}": (gates * hidden, out),
            }
            if state["bias"]:
                shapes |= {f"bias_ih_{end}": (gates * hidden,), f"bias_hh_{end}": (gates * hidden,)}
            if state["proj_size"]:
                shapes[f"weight_hr_{end}"] = (out, hidden)
            layers.append(shapes)
    return layers


def _cell(module: nn.RNNCellBase) -> str | None:
    state = vars(module)
    wrong = _counts(state, "input_size", "hidden_size")
    if wrong:
        return wrong
    hidden = state["hidden_size"]
    rows = _CELL_GATES.get(type(module), 1) * hidden
    weights: dict[str, Shape] = {"weight_ih": (rows, state["input_size"]), "weight_hh": (rows, hidden)}
    biases: dict[str, Shape] = {"bias_ih": (rows,), "bias_hh": (rows,)}
    if module._parameters["bias_ih"] is None and module._parameters["bias_hh"] is None:
        biases = {}
    return _shapes(module._parameters, weights | biases, exact=True)


def _attention(module: nn.MultiheadAttention) -> str | None:
    state = vars(module)
    wrong = _counts(state, "embed_dim", "num_heads", "kdim", "vdim", "head_dim")
    wrong = wrong or _flags(state, "_qkv_same_embed_dim", "batch_first", "add_zero_attn")
    if wrong:
        return wrong
    dim, keys, values = state["embed_dim"], state["kdim"], state["vdim"]
    if state["head_dim"] * state["num_heads"] != dim:
        return "its num_heads do not divide its embed_dim"
    if state["_qkv_same_embed_dim"] != (keys == values == dim):
        return "its kdim and vdim contradict its projections"
    expected: dict[str, Shape] = {"in_proj_weight": (3 * dim, dim)}
    if not state["_qkv_same_embed_dim"]:
        expected = {
            "q_proj_weight": (dim, dim),
            "k_proj_weight": (dim, keys),
            "v_proj_weight": (dim, values),
        }
    optional: dict[str, Shape] = {
        "in_proj_bias": (3 * dim,),
        "bias_k": (1, 1, dim),
        "bias_v": (1, 1, dim),
    }
    given = {name: shape for name, shape in optional.items() if module._parameters.get(name) is not None}
    if ("bias_k" in given) != ("bias_v" in given):
        return "it has one of bias_k and bias_v"
    wrong = _shapes(module._parameters, expected | given, exact=True)
    out = module._modules["out_proj"]
    if wrong or not isinstance(out, nn.Linear):
        return wrong or "its out_proj is no Linear"
    return _linear(out, dim, dim, "out_proj")


def _encoder_layer(module: nn.TransformerEncoderLayer) -> str | None:
    """The fast path of an encoder layer gives the sizes of its attention to one kernel for all its parts."""
    attention, first, second = (module._modules[name] for name in ("self_attn", "linear1", "linear2"))
    if not isinstance(attention, nn.MultiheadAttention):
        return "its self_attn is no MultiheadAttention"
    if not isinstance(first, nn.Linear) or not isinstance(second, nn.Linear):
        return "its linear1 or linear2 is no Linear"
    dim, inner = vars(attention)["embed_dim"], vars(first)["out_features"]
    wrong = _linear(first, inner, dim, "linear1") or _linear(second, dim, inner, "linear2")
    for name in ("norm1", "norm2"):
        norm = module._modules[name]
        if not isinstance(norm, nn.LayerNorm):
            return f"its {name} is no LayerNorm"
        given = {key: (dim,) for key in ("weight", "bias") if norm._parameters.get(key) is not None}
        wrong = wrong or _shapes(norm._parameters, given, prefix=f"{name}.")
    return wrong


def _linear(module: nn.Linear, rows: int, columns: int, name: str) -> str | None:
    expected: dict[str, Shape] = {"weight": (rows, columns)}
    if module._parameters.get("bias") is not None:
        expected["bias"] = (rows,)
    return _shapes(module._parameters, expected, prefix=f"{name}.")


def _counts(state: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if type(state[name]) is not int or state[name] <= 0:
            return f"its {name} is no positive integer"
    return None


def _flags(state: Mapping[str, Any], *names: str) -> str | None:
    return next((f"its {name} is no flag" for name in names if not isinstance(state[name], bool)), None)


def _shapes(
    parameters: Mapping[str, Any], expected: Mapping[str, Shape], *, exact: bool = False, prefix: str = ""
) -> str | None:
    """What differs from the expected parameters, which are floating tensors of one dtype."""
    given = {name: value for name, value in parameters.items() if value is not None}
    if exact and given.keys() != expected.keys():
        return "its parameters are not those of its class"
    dtypes = set()
    for name, shape in expected.items():
        tensor = given.get(name)
        if not isinstance(tensor, torch.Tensor):
            return f"it has no {prefix}{name}"
        if tuple(tensor.shape) != shape:
            found = tuple(tensor.shape)
            return f"its {prefix}{name} has shape {found} where its attributes say {shape}"
        dtypes.add(tensor.dtype)
    if len(dtypes) > 1 or any(not dtype.is_floating_point for dtype in dtypes):
        return "its parameters differ in dtype, or are no floats"
    return None
