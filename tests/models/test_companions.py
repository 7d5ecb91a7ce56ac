"""Groups and masks that come with a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.errors import DataError
from gaussprobe.models import Groups, data_mask, split_groups


def test_labels_are_numbered_over_all_batches() -> None:
    """The same label has the same number in every batch, whatever it is."""
    groups = Groups()
    assert groups.of(["cat", "dog", "cat"], 3).tolist() == [0, 1, 0]  # type: ignore[union-attr]
    assert groups.of(["owl", "dog"], 2).tolist() == [2, 1]  # type: ignore[union-attr]
    whole = Groups(torch.tensor([7, 7, 3, 3]))
    assert whole.of(None, 3).tolist() == [0, 0, 1]  # type: ignore[union-attr]
    assert whole.of(None, 1).tolist() == [1]  # type: ignore[union-attr]
    whole.check_used()
    assert Groups().of(None, 4) is None


@pytest.mark.parametrize(
    ("labels", "brought", "size", "error", "match"),
    [
        ("abc", None, 3, ValueError, "groups must be a sequence of one label for each example; got str"),
        (5, None, 3, ValueError, "groups must be a sequence .* got int"),
        ([[1], [2]], None, 2, ValueError, "one plain label"),
        ([1, 2], None, 3, DataError, "groups has 2 labels, the data more than 0 examples"),
        (None, [1, 2], 3, DataError, "a batch's groups has 2 labels for 3 examples"),
    ],
)
def test_labels_that_do_not_fit(
    labels: Any, brought: Any, size: int, error: type[Exception], match: str
) -> None:
    """What is no label for each example is refused, saying what came."""
    with pytest.raises(error, match=match):
        Groups(labels).of(brought, size)


def test_labels_left_over_and_missing_ones() -> None:
    """Labels that no example came for, and batches without labels among others, are refused."""
    groups = Groups([1, 2, 3])
    groups.of(None, 2)
    with pytest.raises(DataError, match="groups has 3 labels, the data 2 examples"):
        groups.check_used()
    some = Groups()
    some.of([1], 1)
    with pytest.raises(DataError, match="some batches bring groups and some do not"):
        some.of(None, 1)


def test_groups_leave_the_batch() -> None:
    """Only a dict brings groups; the model never sees them."""
    batch = {"x": 1, "groups": [2]}
    assert split_groups(batch) == ({"x": 1}, [2])
    assert split_groups((1, 2)) == ((1, 2), None)


class Masked(nn.Module):
    """A model that takes a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(self.linear(x))


def test_masks_are_found_by_name_and_position() -> None:
    """attention_mask marks data with 1, key padding masks mark padding with True; full ones are no masks."""
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    expected = mask.bool().tolist()
    model, x = Masked(), torch.zeros(2, 3, 3)
    for given in (mask, mask.bool(), mask.float()):
        found = data_mask(model, (x, given), {})
        assert found is not None
        assert found.tolist() == expected
    found = data_mask(nn.Linear(2, 2), (x,), {"src_key_padding_mask": ~mask.bool()})
    assert found is not None
    assert found.tolist() == expected
    assert data_mask(model, (x, torch.ones(2, 3)), {}) is None
    assert data_mask(model, (x,), {"attention_mask": torch.ones(2, 1, 3, 3)}) is None


def test_padding_is_no_sample_and_makes_a_difference() -> None:
    """Padded tokens, far from the others, never reach a score; without the mask they wreck it."""
    torch.manual_seed(0)
    x, lengths = torch.randn(2000, 12, 3), torch.randint(2, 12, (2000,))
    mask = torch.arange(12) < lengths[:, None]
    x[~mask] = 50.0
    model = Masked()
    with_mask = gp.scan(model, [{"x": x, "attention_mask": mask}]).scores[0]
    without = gp.scan(model, [{"x": x}]).scores[0]
    assert abs(with_mask.delta.median) < 0.0025
    assert with_mask.departure == "none"
    assert with_mask.n_seen == int(mask.sum())
    assert without.verdict == "non-gaussian"
    noted = gp.scan(model, [{"x": x, "attention_mask": mask}]).metadata.data["notes"]
    assert f"{float((~mask).float().mean()):.0%} of the positions are padding and were left out" in noted


def test_padding_is_drawn_alike_whatever_the_batches() -> None:
    """The tokens drawn depend neither on the batches nor on how far each was padded."""
    torch.manual_seed(1)
    x, lengths = torch.randn(300, 12, 3), torch.randint(1, 7, (300,))
    mask = torch.arange(12) < lengths[:, None]
    model = Masked()
    parts = [{"x": x[i : i + 50, :6], "attention_mask": mask[i : i + 50, :6]} for i in range(0, 300, 50)]
    whole = gp.scan(model, [{"x": x, "attention_mask": mask}], seed=3)
    cut = gp.scan(model, parts, seed=3)
    for one, other in zip(whole.scores, cut.scores, strict=True):
        assert (one.n_seen, one.n_tested) == (other.n_seen, other.n_tested)
        assert one.delta.median == pytest.approx(other.delta.median, rel=1e-4)


def test_padding_with_nan_is_not_counted() -> None:
    """Values that are not finite at padded positions are not the site's."""
    x = torch.randn(300, 4, 3)
    mask = torch.arange(4).repeat(300, 1) < 3
    x[~mask] = float("nan")
    score = gp.scan(Masked(), [{"x": x, "attention_mask": mask}]).scores[0]
    assert score.departure == "none"


def test_groups_withhold_pvalues_and_widen_intervals() -> None:
    """Ten copies of each of 60 examples: an interval as wide as that of 60, no p-values, and a note."""
    torch.manual_seed(2)
    once = torch.randn(60, 3)
    copies = once.repeat_interleave(10, dim=0)
    model = nn.Sequential(nn.Linear(3, 8))
    naive, honest = gp.scan(model, copies), gp.scan(model, copies, groups=np.repeat(np.arange(60), 10))
    few = gp.scan(model, once)
    widths = [run.scores[0].delta.high - run.scores[0].delta.low for run in (naive, honest, few)]
    assert widths[1] > 2 * widths[0]
    assert widths[1] > 0.5 * widths[2]
    assert naive.scores[0].tests["shapiro_wilk"].pvalue is not None
    assert honest.scores[0].tests["shapiro_wilk"].pvalue is None
    assert any("600 examples of 60 groups" in note for note in honest.scores[0].notes)


def test_few_groups_have_no_verdict() -> None:
    """Crops of six photographs say little of photographs: no interval, no verdict, no p-value."""
    x = torch.randn(600, 3)
    score = gp.scan(nn.Sequential(nn.Linear(3, 8)), [{"input": x, "groups": torch.arange(600) % 6}]).scores[0]
    assert score.verdict == "undetermined"
    assert score.tests["shapiro_wilk"].pvalue is None
    assert np.isnan(score.delta.low)
    assert any("6 groups" in note for note in score.notes)


def test_a_group_of_each_example_changes_nothing() -> None:
    """Labels that are all different are no groups."""
    x, model = torch.randn(300, 3), nn.Sequential(nn.Linear(3, 8))
    assert gp.scan(model, x, groups=range(300)).scores == gp.scan(model, x).scores


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_groups_in_a_file(suffix: str, tmp_path: Any) -> None:
    """An array called groups beside the inputs is taken as their groups."""
    x, groups = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32), np.arange(200) // 4
    path = tmp_path / f"data.{suffix}"
    if suffix == "npz":
        np.savez(path, x=x, groups=groups)
    else:
        torch.save({"x": torch.from_numpy(x), "groups": torch.from_numpy(groups)}, path)
    run = gp.scan(nn.Sequential(nn.Linear(3, 8)), str(path))
    assert any("200 examples of 50 groups" in note for note in run.scores[0].notes)
