"""Normality normalization: layers that bring what they normalize nearer to a normal law.

Eftekhari & Papyan (2025), On the Importance of Gaussianizing Representations, ICML, arXiv:2505.00685.
"""

from gaussprobe.nn import functional
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
from gaussprobe.nn.swap import Change, Description, describe, gaussianize, restore

# Every layer: what a file may hold besides those of torch.nn.
OURS = (
    BatchNormalNorm1d,
    BatchNormalNorm2d,
    BatchNormalNorm3d,
    DecorrelatedBatchNormalNorm2d,
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
    "GroupNormalNorm",
    "InstanceNormalNorm1d",
    "InstanceNormalNorm2d",
    "InstanceNormalNorm3d",
    "LayerNormalNorm",
    "SyncBatchNormalNorm",
    "describe",
    "functional",
    "gaussianize",
    "restore",
]
