"""What `selftest` plants: laws that are what they are called, independent over examples."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gaussprobe.capture import Capture, Plan
from gaussprobe.planting import LAWS, Planter
from gaussprobe.stats import skewness
from tests.networks import Residual


def planted_in(model: nn.Module, batches: list[torch.Tensor], copies: int) -> Planter:
    plan = Plan(seed=0, max_samples=512)
    planter = Planter(plan=plan, copies=copies)
    with torch.no_grad(), Capture(model, plan=Plan(max_samples=1, max_units=1), plant=planter) as capture:
        for batch in batches:
            with capture.forward(len(batch)):
                model(batch)
    return planter


def test_planting_disturbs_nothing() -> None:
    """Outputs are bit-identical with planting, and the global random state is as it was."""
    torch.manual_seed(0)
    model, batch = Residual().eval(), torch.randn(8, 3, 10, 10)
    before, state = model(batch), torch.get_rng_state()
    with torch.no_grad(), Capture(model, plant=Planter(plan=Plan(), copies=2)) as capture, capture.forward(8):
        after = model(batch)
    assert torch.equal(before, after)
    assert torch.equal(state, torch.get_rng_state())


def test_every_law_is_planted_in_turn_at_sites_with_positions_and_without() -> None:
    """Laws go round the sites; those that need positions only to sites that have them."""
    torch.manual_seed(0)
    model = Residual().eval()
    planter = planted_in(model, [torch.randn(32, 3, 10, 10)], copies=11)
    found: dict[str, list[str]] = {}
    for law, samples in planter.samples():
        found.setdefault(samples.site.name, []).append(law.name)
    assert sorted(found["conv1"]) == sorted(law.name for law in LAWS)
    assert "normal, neighbours alike" not in found["head"]
    assert all(len(names) == 11 for names in found.values())


def test_units_keep_their_mean_and_scale_over_batches() -> None:
    """The first and the second half of the examples have the same mean and sd in each unit."""
    model = nn.Sequential(nn.Linear(4, 6))
    planter = planted_in(model, [torch.randn(256, 4), torch.randn(256, 4)], copies=1)
    [(law, samples)] = planter.samples()
    assert law.name == "normal"
    first, second = samples.values[samples.examples < 256], samples.values[samples.examples >= 256]
    sd = samples.values.std(0)
    assert torch.all((first.mean(0) - second.mean(0)).abs() < 0.4 * sd)
    assert torch.all((first.std(0) / second.std(0) - 1).abs() < 0.3)
    assert float(sd.max() / sd.min()) > 1.5


def test_examples_are_independent_and_neighbours_are_not() -> None:
    """Of the normal field, neighbouring positions correlate by 7/8, examples not at all; skewness is 0."""
    law = next(law for law in LAWS if law.name == "normal, neighbours alike")
    values = law.draw(torch.Size([500, 16, 3]), torch.Generator().manual_seed(0))
    flat = torch.corrcoef(torch.stack([values[:, 4].flatten(), values[:, 5].flatten()]))[0, 1]
    assert float(flat) == pytest.approx(7 / 8, abs=0.03)
    apart = torch.corrcoef(torch.stack([values[:-1, 4].flatten(), values[1:, 4].flatten()]))[0, 1]
    assert abs(float(apart)) < 0.1
    assert bool((skewness(values[:, 0]).abs() < 0.35).all())


def test_planting_is_the_same_for_the_same_seed() -> None:
    """Two runs with one seed plant the same values."""
    model, batch = nn.Sequential(nn.Linear(4, 6)), torch.randn(64, 4)
    one, other = (planted_in(model, [batch], copies=3).samples() for _ in range(2))
    for (_, first), (_, second) in zip(one, other, strict=True):
        assert torch.equal(first.values, second.values)


def test_small_floats_are_planted_as_they_are() -> None:
    """In a bfloat16 model the planted values are of bfloat16, as the site's are."""
    model, batch = nn.Sequential(nn.Linear(4, 6)).to(torch.bfloat16), torch.randn(64, 4).to(torch.bfloat16)
    for _, samples in planted_in(model, [batch], copies=1).samples():
        assert torch.equal(samples.values, samples.values.to(torch.bfloat16).to(torch.float32))
