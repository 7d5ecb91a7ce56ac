"""One sample of many features: checked, and made white."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats.batch import ArrayLike, check
from gaussprobe.types import GofResult

# Numbers in one block of a matrix of pairs: 32 MiB of float64.
BLOCK = 2**22

_FEWEST = 8  # as the univariate tests


@dataclass(frozen=True, kw_only=True)
class Points:
    """A sample of points.

    Args:
        values: `(n, d)` float64.
        is_array: whether results go back as numpy scalars.
    """

    values: torch.Tensor
    is_array: bool

    @property
    def n_samples(self) -> int:
        """n."""
        return int(self.values.shape[0])

    @property
    def num_features(self) -> int:
        """d."""
        return int(self.values.shape[1])

    def give_back(self, value: float | torch.Tensor) -> Any:
        """A single number, as a tensor on the sample's device or as a numpy scalar."""
        result = torch.as_tensor(value, dtype=torch.float64, device=self.values.device)
        return result.detach().cpu().numpy()[()] if self.is_array else result

    def gof(self, statistic: float | torch.Tensor, pvalue: float | torch.Tensor) -> GofResult:
        """A test's result."""
        return GofResult(
            statistic=self.give_back(statistic), pvalue=self.give_back(pvalue), n_samples=self.n_samples
        )


def fewest(num_features: int) -> int:
    """Fewest points that tests of multivariate normality take.

    With d + 1 points any sample in general position is the same simplex, seen through an affine map; with few
    more its shape is hardly free.
    """
    return max(_FEWEST, num_features + 5)


def points(x: ArrayLike, dim: int) -> Points:
    """The rows of `x`, samples along `dim`, in float64; gradients are kept.

    Raises:
        ValueError: if `x` is not a matrix of real numbers with at least one value, or `dim` is not one of its
            dimensions.
    """
    batch = check(x, dim)
    if len(batch.shape) != 1:
        shape = (batch.n_samples, *batch.shape)
        raise ValueError(f"x must have two dimensions, samples and features; got shape {shape}")
    values = x.movedim(int(dim), 0) if isinstance(x, torch.Tensor) else batch.values
    return Points(values=values.to(torch.float64), is_array=batch.is_array)


def scaled(values: torch.Tensor) -> torch.Tensor:
    """Columns of `(n, d)` times powers of two that bring their magnitudes near 1.

    A power of two changes no digit; squares then stay in range.
    """
    largest = values.detach().abs().amax(dim=0)
    exponent = torch.frexp(torch.where(largest > 0, largest, 1.0)).exponent
    # Two steps: the inverse of the smallest numbers is beyond the largest.
    half = exponent // 2
    one = torch.ones_like(largest)
    return values * torch.ldexp(one, -half) * torch.ldexp(one, half - exponent)


def whiten(sample: Points, *, name: str, stacklevel: int = 3) -> torch.Tensor | None:
    """`(n, d)` with mean 0 and biased covariance the identity; None, with a warning, where there is none.

    `m_ij = (x_i - mean)' S^-1 (x_j - mean)` is then a dot product of rows.
    """
    n, d = sample.n_samples, sample.num_features
    if n < fewest(d):
        warnings.warn(
            f"{name} needs at least {fewest(d)} samples of {d} features; got {n}: the result is NaN",
            TooFewSamplesWarning,
            stacklevel=stacklevel,
        )
        return None
    x = sample.values.detach()
    if not bool(torch.isfinite(x).all()):
        count = int((~torch.isfinite(x)).any(dim=0).sum())
        warnings.warn(
            f"{name}: {count} of {d} features have NaN or infinite values: the result is NaN",
            NonFiniteSampleWarning,
            stacklevel=stacklevel,
        )
        return None
    constant = x.amax(dim=0) == x.amin(dim=0)
    if bool(constant.any()):
        warnings.warn(
            f"{name}: {int(constant.sum())} of {d} features have no variance: the result is NaN",
            ConstantSampleWarning,
            stacklevel=stacklevel,
        )
        return None
    x = scaled(x)
    # Centred twice: the second time removes what rounding left of a mean far from zero.
    x = x - x.mean(dim=0)
    x = x - x.mean(dim=0)
    # Columns of length 1, so that units do not decide what counts as dependent.
    x = scaled(x)
    x = x / torch.linalg.vector_norm(x, dim=0)
    q, r = torch.linalg.qr(x)
    singular = torch.linalg.svdvals(r)
    rank = int((singular > singular[0] * n * torch.finfo(torch.float64).eps).sum())
    if rank < d:
        warnings.warn(
            f"{name}: the {d} features are linearly dependent (rank {rank}), so that some combination of "
            "them has no variance: the result is NaN",
            ConstantSampleWarning,
            stacklevel=stacklevel,
        )
        return None
    white: torch.Tensor = q * math.sqrt(n)
    return white
