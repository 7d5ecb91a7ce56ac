"""Data-parallel watching: ranks of `torchrun` against one process on the same data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import gaussprobe as gp
from gaussprobe.ranks import Ranks
from gaussprobe.reports import comparison_json
from tests import ranks as cases
from tests import settings

ROOT = Path(__file__).parents[1]


def launched(case: str, folder: Path, processes: int) -> Any:
    """What the first of so many ranks found."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(processes), "-m", "tests.ranks", case, str(folder)),
    ]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / f"{case}.json").read_text())


@pytest.mark.parametrize(("case", "processes"), [("merged", 2), ("merged", 4), ("sharded", 2)])
def test_ranks_together_are_one_process_on_the_same_data(case: str, processes: int, tmp_path: Path) -> None:
    """DDP and FSDP: sites, counts, effect sizes, intervals and p-values, to the rounding of the layers."""
    alone = cases.numbers(cases.train(cases.network(), cases.batches(4, 400), 0, 1))
    found = launched(case, tmp_path, processes)
    assert not found["warnings"]
    assert len(found["numbers"]) == len(alone) == 6
    for ours, expected in zip(found["numbers"], alone, strict=True):
        assert ours[:4] == expected[:4]
        assert ours[4:] == pytest.approx(expected[4:], rel=1e-3, abs=1e-6)


def test_ranks_that_see_different_laws_are_called_by_the_mixture(tmp_path: Path) -> None:
    """N(-10, 1) on one rank and N(+10, 1) on the other is multimodal; the samples of both are counted."""
    linear, _ = launched("apart", tmp_path, 2)["scores"]
    assert linear == ["0", "multimodal", "non-gaussian", 200, 200]


def test_a_rank_that_skips_a_step_holds_nobody_up(tmp_path: Path) -> None:
    """All records are made, those without the rank say so, and nothing hangs."""
    found = launched("skipping", tmp_path, 2)
    assert [step for step, _ in found["seen"]] == [0, 1, 2, 3]
    assert found["seen"][-1] == [3, 100]
    assert found["warnings"] == ["step 3: no samples from rank 1"]


def test_a_rank_without_data_contributes_nothing(tmp_path: Path) -> None:
    """A step that a rank ends without a batch is a record of the others' samples."""
    found = launched("without_data", tmp_path, 2)
    assert found["seen"] == [[0, 200], [1, 100], [2, 200], [3, 200]]
    assert not found["warnings"]


def test_one_process_needs_no_group() -> None:
    """Without torch.distributed a process gathers its own and agrees with itself."""
    alone = Ranks()
    assert (alone.rank, alone.size, alone.first) == (0, 1, True)
    assert alone.gather(3, "mine") == ["mine"]
    assert alone.agree(5) == 5


def test_trials_of_a_comparison_are_shared_out(tmp_path: Path) -> None:
    """Two ranks train three of six models each, with a process group and without: the same as one process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = gp.compare(
            settings.build, settings.train, settings=settings.SETTINGS, seeds=range(3), measures=[]
        )
    finally:
        torch.set_num_threads(threads)
    found = launched("compared", tmp_path, 2)
    assert len(found["trained"]) == 6  # three in each of two comparisons
    expected = json.loads(comparison_json.dumps(alone)) | {"description": found["found"][0]["description"]}
    assert found["found"] == [expected, expected]
