"""The allow-list of operators: what only computes is on it, what acts on anything else is not."""

from __future__ import annotations

import pytest

from gaussprobe.models.operators import allows_aten, allows_prim, allows_target, is_operator


@pytest.mark.parametrize(
    "name",
    [
        "conv2d",
        "linear",
        "relu_",
        "gelu",
        "layer_norm",
        "lstm",
        "einsum",
        "softmax",
        "view",
        "format",
        "zeros",
    ],
)
def test_operators_that_compute_are_allowed(name: str) -> None:
    """Layers, activations and reshapes pass, those that take a mode or an equation as text too."""
    assert is_operator(name)
    assert allows_aten(name)


@pytest.mark.parametrize(
    "name",
    "from_file save set_ _print wait _cufft_set_plan_cache_max_size fbgemm_linear_fp16_weight".split(),
)
def test_operators_that_act_elsewhere_are_refused(name: str) -> None:
    """Files, other processes, storages of another, libraries' settings: no operator for these passes."""
    assert is_operator(name)
    assert not allows_aten(name)


@pytest.mark.parametrize("name", ["gelu_backward", "embedding_backward", "segment_reduce", "promote_types"])
def test_operators_that_trust_their_arguments_are_refused(name: str) -> None:
    """Kernels that crash on arguments of the wrong shape, and that no forward pass calls, are not reached."""
    assert is_operator(name)
    assert not allows_aten(name)


def test_text_cannot_be_blown_up() -> None:
    """No operator pads text to a length that a program names."""
    assert not any(allows_aten(name) for name in ("ljust", "rjust", "center", "zfill", "expandtabs"))


def test_what_torch_does_not_know_is_refused() -> None:
    """A name that is no operator is not allowed, whatever it is."""
    assert not is_operator("system")
    assert not allows_aten("system")
    assert not allows_prim("PythonOp")


def test_an_operator_that_takes_text_needs_to_be_named() -> None:
    """The rule behind the list: no public operator that takes text passes by its signature alone."""
    from gaussprobe.models import operators

    taking = {name for name, types in operators._signatures().items() if "str" in types}
    listed = operators._TEXT | operators._TEXT_OF_TENSORS | operators._INTERNAL
    assert {name for name in taking if allows_aten(name)} <= listed


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("torch.ops.aten.conv2d.default", True),
        ("_operator.mul", True),
        ("math.ceil", True),
        ("torch.sym_max", True),
        ("torch.ops.aten.from_file.default", False),
        ("torch.ops.mylib.op.default", False),
        ("torch.ops.higher_order.cond", False),
        ("torch.serialization.os.system", False),
        ("torch.load", False),
        ("_operator.attrgetter", False),
        ("math.__loader__.load_module", False),
        ("os.system", False),
        ("#namespace:op", False),
        ("torch.ops.aten.conv2d.default\n", False),
        ("", False),
    ],
)
def test_targets_of_exported_graphs(target: str, allowed: bool) -> None:
    """Only operators of aten, and functions of sizes, may be the target of a node."""
    assert allows_target(target) is allowed
