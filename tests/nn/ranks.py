"""What one process of `torchrun` does in the tests of synchronised statistics.

`torchrun --nproc-per-node N -m tests.nn.ranks FOLDER`: each rank leaves what it found in FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import gaussprobe as gp

STEPS = 3


def network() -> nn.Module:
    """A BatchNormalNorm between two layers, in float64, without noise."""
    torch.manual_seed(4)
    norm = gp.nn.BatchNormalNorm2d(6, noise=0.0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), norm, nn.Tanh(), nn.Conv2d(6, 1, 3)).double().train()


def batches() -> list[torch.Tensor]:
    """The joined batches."""
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(10, 2, 7, 7, generator=generator, dtype=torch.float64).exp() for _ in range(STEPS)]


def part(batch: torch.Tensor, rank: int, ranks: int) -> torch.Tensor:
    """A rank's own, of unequal sizes."""
    return batch[:7] if ranks == 2 and rank == 0 else batch[7:] if ranks == 2 else batch


def trained(model: nn.Module, rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Outputs, gradients of the input, and buffers after some steps; losses are sums."""
    found: dict[str, torch.Tensor] = {}
    for step, batch in enumerate(batches()):
        x = part(batch, rank, ranks).clone().requires_grad_()
        y = model(x)
        y.square().sum().backward()
        assert x.grad is not None
        found |= {f"output {step}": y.detach(), f"input {step}": x.grad}
    found |= {f"gradient {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | dict(model.named_buffers())


def main() -> None:
    """This rank's results into a file."""
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    model = gp.nn.SyncBatchNormalNorm.convert_sync_batchnorm(network())
    torch.save(trained(model, rank, ranks), Path(sys.argv[1]) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
