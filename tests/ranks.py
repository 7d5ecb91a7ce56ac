"""What one process of `torchrun` does in the tests of data-parallel watching.

`torchrun --nproc-per-node N -m tests.ranks CASE FOLDER`: the first rank leaves what it found in FOLDER.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gaussprobe as gp
from gaussprobe.reports import comparison_json
from gaussprobe.trials.probe import Probe
from gaussprobe.types import Run
from tests import settings


def network() -> nn.Module:
    """A convolution and a linear layer, without anything random in training."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 5))


def batches(steps: int, n: int) -> list[torch.Tensor]:
    """The same data on every rank."""
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(n, 2, 8, 8, generator=generator) for _ in range(steps)]


def numbers(run: Run) -> list[object]:
    """What a test compares."""
    return [
        [s.step, s.site, s.n_seen, s.n_tested, s.delta.median, s.delta.low, s.tests["shapiro_wilk"].pvalue]
        for s in run.scores
    ]


def train(model: nn.Module, data: list[torch.Tensor], rank: int, ranks: int) -> Run:
    """Two recorded steps on this rank's part of each batch."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with gp.watch(model, every=2, max_samples=256) as probe:
        for x in data:
            loss = model(x[rank::ranks]).square().mean()
            loss.backward()
            for p in parameters:
                p.grad = None
            probe.step(loss=loss)
        return probe.run


def compared(rank: int, ranks: int) -> dict[str, object]:
    """Six trials shared out; the second time within a process group, which is none of theirs."""
    trained = []

    def train(model: nn.Module, probe: Probe, seed: int) -> dict[str, float | torch.Tensor]:
        trained.append(seed)
        return settings.train(model, probe, seed)

    found = []
    for _ in range(2):
        both = gp.compare(settings.build, train, settings=settings.SETTINGS, seeds=range(3), measures=[])
        found.append(comparison_json.to_json(both))
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    return {"found": found, "trained": trained}


def merged(rank: int, ranks: int) -> dict[str, object]:
    """A data-parallel model on parts of each batch."""
    run = train(DistributedDataParallel(network()), batches(4, 400), rank, ranks)
    return {"numbers": numbers(run), "warnings": list(run.warnings)}


def sharded(rank: int, ranks: int) -> dict[str, object]:
    """The same with its parameters cut into pieces."""
    from torch.distributed.fsdp import fully_shard

    model = network()
    run = train(fully_shard(model, mesh=dist.init_device_mesh("cpu", (ranks,))), batches(4, 400), rank, ranks)
    return {"numbers": numbers(run), "warnings": list(run.warnings)}


def apart(rank: int, ranks: int) -> dict[str, object]:
    """Ranks that see laws far from each other."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU())
    nn.init.eye_(model[0].weight)
    model = DistributedDataParallel(model)
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(100, 3, generator=generator) + (-10 if rank % 2 else 10)
    with gp.watch(model) as probe:
        model(x).sum().backward()
        probe.step()
    run = probe.run
    return {"scores": [[s.site, s.departure, s.verdict, s.n_tested, s.n_seen] for s in run.scores]}


def seen(run: Run) -> dict[str, object]:
    """Samples of the last layer at each recorded step, and what was noted."""
    counts = [[s.step, s.n_seen] for s in run.scores if s.site == "3"]
    return {"seen": counts, "warnings": list(run.warnings)}


def skipping(rank: int, ranks: int) -> dict[str, object]:
    """The last rank forgets to end one recorded step."""
    model, data = network(), batches(4, 200)
    with gp.watch(model, every=1, patience=2.0) as probe:
        for step, x in enumerate(data):
            model(x[rank::ranks])
            if not (rank == ranks - 1 and step == 1):
                probe.step()
        dist.barrier()
    return seen(probe.run)


def without_data(rank: int, ranks: int) -> dict[str, object]:
    """The last rank has no batch in one recorded step, and ends it as the others do."""
    model, data = network(), batches(4, 200)
    with gp.watch(model, every=1) as probe:
        for step, x in enumerate(data):
            if not (rank == ranks - 1 and step == 1):
                model(x[rank::ranks])
            probe.step()
        dist.barrier()
    return seen(probe.run)


def main() -> None:
    """Run one case."""
    case, folder = sys.argv[1], Path(sys.argv[2])
    if case != "compared":
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    found = globals()[case](rank, ranks)
    if rank == 0:
        (folder / f"{case}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)


if __name__ == "__main__":
    main()
