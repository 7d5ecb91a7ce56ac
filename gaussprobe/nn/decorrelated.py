"""Batch normalization that also takes the correlation of channels away, with normality normalization."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gaussprobe.nn import functional, transform
from gaussprobe.nn.functional import NoiseKind
from gaussprobe.nn.layers import NOISE, Normality
from gaussprobe.nn.transform import Statistics

GROUP_SIZE = 16

_EPS = torch.finfo(torch.float64).eps


class DecorrelatedBatchNormalNorm2d(Normality, _NormBase):
    """Decorrelated batch normalization followed by the power transform.

    `h = S^(-1/2) (x - mean)` within each group of channels, `S = cov(x) + eps I` over batch and positions
    (ZCA: of all whitening maps the one that changes x least), then as BatchNormalNorm2d:
    `y = gamma * (psi(h; lambda) + noise) + beta`, one lambda for each channel. Evaluation uses running
    averages of the mean, of the whitening matrices and of lambda.

    Args:
        num_features: channels C of an input `(N, C, H, W)`.
        eps: added to the diagonal of the covariance.
        momentum: of the running averages; None for plain means.
        affine: whether to learn gamma and beta.
        track_running_stats: whether to keep running averages.
        device, dtype: of parameters and buffers.
        group_size: channels that are whitened together, a divisor of `num_features`; None for the largest up
            to 16. The batch should have many more positions than a group has channels.
        noise: xi.
        strength: alpha, from 0 to 1.
        noise_kind: `"scaled"`, `"unscaled"` or `"gaussian_dropout"`.

    Raises:
        ValueError: for an argument out of its range, an input that is not 4D, or in training fewer than 2
            values per channel.
        RuntimeError: for an input with another number of channels.

    Reference:
        Huang, Yang, Lang & Deng (2018), CVPR, Decorrelated Batch Normalization; Eftekhari & Papyan (2025),
        ICML, arXiv:2505.00685.
    """

    running_whitening: torch.Tensor | None
    running_lambda: torch.Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        group_size: int | None = None,
        noise: float = NOISE,
        strength: float = 1.0,
        noise_kind: NoiseKind = "scaled",
    ) -> None:
        nn.Module.__init__(self)  # of _NormBase only the kind
        if group_size is None:
            group_size = max(size for size in range(1, GROUP_SIZE + 1) if num_features % size == 0)
        if group_size < 1 or num_features % group_size:
            raise ValueError(f"group_size must divide num_features, {num_features}; got {group_size}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.group_size, self.affine, self.track_running_stats = group_size, affine, track_running_stats
        made = {"device": device, "dtype": dtype}
        for name, value in (("weight", torch.ones), ("bias", torch.zeros)):
            parameter = nn.Parameter(value(num_features, **made)) if affine else None
            self.register_parameter(name, parameter)
        groups = num_features // group_size
        tracked: dict[str, torch.Tensor] = {}
        if track_running_stats:
            tracked = {
                "running_mean": torch.zeros(num_features, **made),
                "running_whitening": torch.eye(group_size, **made).repeat(groups, 1, 1),
                "running_lambda": torch.ones(num_features, **made),
                "num_batches_tracked": torch.tensor(0, dtype=torch.long, device=device),
            }
        for name in ("running_mean", "running_whitening", "running_lambda", "num_batches_tracked"):
            self.register_buffer(name, tracked.get(name))
        self.begin(noise, strength, noise_kind)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The batch normalized: by its own statistics in training, by the running ones in evaluation."""
        if input.ndim != 4:
            raise ValueError(f"expected 4D input (got {input.ndim}D input)")
        if input.shape[1] != self.num_features:
            raise RuntimeError(
                f"running_mean should contain {input.shape[1]} elements not {self.num_features}"
            )
        functional.check_floating(input)
        kind = input.device.type if input.device.type != "meta" else "cpu"
        with torch.autocast(kind, enabled=False):  # or whitening would be done in bfloat16
            return self._normalized(input)

    def _normalized(self, input: torch.Tensor) -> torch.Tensor:
        n_values = input.numel() // max(1, self.num_features)
        x = input.to(transform.working(input.dtype))
        x = x.transpose(0, 1).reshape(self.num_features // self.group_size, self.group_size, -1)
        if self.training or self.running_mean is None:
            if n_values <= 1:
                raise ValueError(
                    f"Expected more than 1 value per channel when training, got input size {input.shape}"
                )
            y = self._by_batch(x)
        else:
            y = self._by_averages(x)
        y = y.reshape(self.num_features, input.shape[0], *input.shape[2:]).transpose(0, 1)
        y = functional.affine(y, *(functional.by_channel(each, y) for each in (self.weight, self.bias)))
        return functional.like(y.to(input.dtype), input)

    def _by_batch(self, x: torch.Tensor) -> torch.Tensor:
        """Of `(groups, channels, values)`."""
        mean = transform.means_over((2,))
        center = mean(x)
        centred = x - center
        # In float32 eps would be lost beside large variances, and with it what keeps the matrix regular.
        wide = centred.to(torch.float64)
        covariance = wide @ wide.transpose(1, 2) / x.shape[2]
        ridge = self.eps * torch.eye(self.group_size, dtype=wide.dtype, device=x.device)
        whitening = inverse_root(covariance + ridge).to(x.dtype)
        h = whitening @ centred
        lmbda, held = transform.newton(transform.profile(h, mean), self.strength)
        var = torch.diagonal(covariance, dim1=1, dim2=2).unsqueeze(2)
        found = Statistics(*(each.detach() for each in (center, var, lmbda, held)))
        self._remember(found)
        if self.training:
            self._track(found, whitening.detach())
        return functional.noisy(transform.yeo_johnson(h, lmbda), self._how(), mean)

    def _by_averages(self, x: torch.Tensor) -> torch.Tensor:
        assert self.running_mean is not None
        assert self.running_lambda is not None
        assert self.running_whitening is not None
        mean, lmbda = (
            each.view(*x.shape[:2], 1).to(x.dtype) for each in (self.running_mean, self.running_lambda)
        )
        return transform.yeo_johnson(self.running_whitening.to(x.dtype) @ (x - mean), lmbda)

    @torch.no_grad()
    def _track(self, found: Statistics, whitening: torch.Tensor) -> None:
        if self.running_mean is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor: float | torch.Tensor = 0.0 if self.momentum is None else self.momentum
        if self.momentum is None:
            factor = 1.0 / self.num_batches_tracked.to(torch.float32)
        for running, now in (
            (self.running_mean, found.mean),
            (self.running_whitening, whitening),
            (self.running_lambda, found.lmbda),
        ):
            assert running is not None
            running.mul_(1 - factor).add_((factor * now.reshape(running.shape)).to(running.dtype))

    def extra_repr(self) -> str:
        """As `torch.nn` has it, with what is added."""
        about = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        about += f", track_running_stats={self.track_running_stats}, group_size={self.group_size}"
        return f"{about}, {super().extra_repr().removeprefix(', ')}"


def inverse_root(matrix: torch.Tensor) -> torch.Tensor:
    """`S^(-1/2)` of symmetric positive definite matrices `(..., k, k)`.

    Its gradient holds where eigenvalues coincide, as that of an eigendecomposition does not: from
    `R S R = I` follows `dR A + A dR = -R dS R` with `A = S^(1/2)`, an equation with one solution.
    """
    found: torch.Tensor = _InverseRoot.apply(matrix)  # type: ignore[no-untyped-call]
    return found


class _InverseRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(matrix)
        values, vectors = torch.linalg.eigh(matrix.to(torch.float64))
        # Rounding may leave the least eigenvalue of a singular matrix below zero.
        scaled = vectors * torch.maximum(values, _EPS * values[..., -1:]).rsqrt().unsqueeze(-2)
        found: torch.Tensor = (scaled @ vectors.transpose(-1, -2)).to(matrix.dtype)
        return found

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (matrix,) = ctx.saved_tensors
        root = inverse_root(matrix)
        solved = _solve(matrix @ root, grad)
        found: torch.Tensor = -root @ solved @ root
        return found


def _solve(a: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The symmetric X with `A X + X A = (Q + Q^T) / 2`, A symmetric positive definite."""
    found: torch.Tensor = _Solve.apply((a + a.transpose(-1, -2)) / 2, (q + q.transpose(-1, -2)) / 2)  # type: ignore[no-untyped-call]
    return found


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        values, vectors = torch.linalg.eigh(a.to(torch.float64))
        inside = vectors.transpose(-1, -2) @ q.to(torch.float64) @ vectors
        sums = values.unsqueeze(-1) + values.unsqueeze(-2)
        inside = inside / torch.maximum(sums, _EPS * sums.amax((-1, -2), keepdim=True))
        found: torch.Tensor = (vectors @ inside @ vectors.transpose(-1, -2)).to(a.dtype)
        ctx.save_for_backward(a, found)
        return found

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, found = ctx.saved_tensors
        back = _solve(a, grad)
        return -(back @ found + found @ back), back
