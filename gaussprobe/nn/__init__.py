"""Layers that bring what they normalize nearer to a normal law, and an activation that keeps one.

Eftekhari & Papyan (2025), On the Importance of Gaussianizing Representations, ICML, arXiv:2505.00685.
Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
arXiv:2205.12379.
"""

from gaussprobe.nn import functional, init
from gaussprobe.nn.decorrelated import DecorrelatedBatchNormalNorm2d
from gaussprobe.nn.layers import (
    BatchNormalNorm1d,
    BatchNormalNorm2d,
    BatchNormalNorm3d,
    GroupNormalNorm,
    InstanceNormalNorm1d,
    InstanceNormalNorm2d,
    InstanceNormalNorm3d,
    LayerNormalNorm,
    SyncBatchNormalNorm,
)
from gaussprobe.nn.preserving import GaussianPreserving
from gaussprobe.nn.swap import Change, Description, describe, gaussianize, restore

# Every layer: what a file may hold besides those of torch.nn.
OURS = (
    BatchNormalNorm1d,
    BatchNormalNorm2d,
    BatchNormalNorm3d,
    DecorrelatedBatchNormalNorm2d,
    GaussianPreserving,
    GroupNormalNorm,
    InstanceNormalNorm1d,
    InstanceNormalNorm2d,
    InstanceNormalNorm3d,
    LayerNormalNorm,
    SyncBatchNormalNorm,
)

__all__ = [
    "OURS",
    "BatchNormalNorm1d",
    "BatchNormalNorm2d",
    "BatchNormalNorm3d",
    "Change",
    "DecorrelatedBatchNormalNorm2d",
    "Description",
    "GaussianPreserving",
    "GroupNormalNorm",
    "InstanceNormalNorm1d",
    "InstanceNormalNorm2d",
    "InstanceNormalNorm3d",
    "LayerNormalNorm",
    "SyncBatchNormalNorm",
    "describe",
    "functional",
    "gaussianize",
    "init",
    "restore",
]
