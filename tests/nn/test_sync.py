"""Statistics synchronised over processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import gaussprobe as gp
from tests.nn import ranks

ROOT = Path(__file__).parents[2]


def test_two_ranks_are_one_process_on_the_joined_batch(tmp_path: Path) -> None:
    """Two gloo ranks with unequal parts: outputs, gradients and running averages to 1e-6."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "tests.nn.ranks", str(tmp_path)),
    ]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = ranks.trained(ranks.network(), 0, 1)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, whole in alone.items():
        if name.startswith(("output", "input")):
            found = torch.cat([first[name], second[name]])
        elif name.startswith("gradient"):
            found = first[name] + second[name]
        else:
            found = first[name]
            assert torch.equal(found, second[name])
        torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-6, msg=name)


def test_alone_it_is_batch_norm() -> None:
    """Without other processes, a synchronised layer is the layer; conversion keeps state and object."""
    model = ranks.network()
    layer, x = model[1], ranks.batches()[0]
    before = model(x)
    assert gp.nn.SyncBatchNormalNorm.convert_sync_batchnorm(model)[1] is layer
    assert type(layer) is gp.nn.SyncBatchNormalNorm
    assert torch.equal(model(x), before)
    other = nn.Sequential(nn.ReLU())
    assert [type(m) for m in gp.nn.SyncBatchNormalNorm.convert_sync_batchnorm(other)] == [nn.ReLU]


def test_sync_batch_norm_keeps_synchronising() -> None:
    """`gaussianize` of a SyncBatchNorm keeps its process group, and `restore` gives it back."""
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(3)))
    group = model[0].process_group
    gp.nn.gaussianize(model)
    assert type(model[0]) is gp.nn.SyncBatchNormalNorm
    assert model[0].process_group is group
    assert model(torch.randn(5, 3)).shape == (5, 3)
    assert type(gp.nn.restore(model)[0]) is nn.SyncBatchNorm
