"""The layers of `torch.nn` that normalize, with normality normalization in place of standardising alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gaussprobe.nn import functional
from gaussprobe.nn.functional import How, NoiseKind
from gaussprobe.nn.sync import Across, across
from gaussprobe.nn.transform import Known, Mean, Statistics

# What `begin` sets on a layer, besides a buffer of running lambda.
TAKEN = ("noise", "strength", "noise_kind", "compiled", "_last")

# Where `gaussianize` keeps what a layer was: a class of the user's own, or that it was its counterpart.
BEFORE = "_before_gaussianize"

NOISE = 0.4
LAYER_NOISE = 1.0

_ABOUT = """
    `y = gamma * (psi(h; lambda) + noise) + beta` with `h = (x - mean) / sqrt(var + eps)`, and one lambda for
    each group, of one Newton step on the Yeo-Johnson likelihood; see `gaussprobe.nn.functional`.
"""


def _nothing(_module: nn.Module, _given: Any) -> None:
    pass


# A hook that does nothing, but makes others call the layer: see `LayerNormalNorm.begin`.
MARK: dict[Any, Any] = {"gaussprobe.nn": _nothing}


class Normality(nn.Module):
    """What all layers have besides the constructor of their `torch.nn` counterpart.

    Attributes:
        noise: xi, the sd of the noise in training, in mean absolute deviations of the group.
        strength: alpha, the share of the Newton step; with 0 and no noise the layer is its counterpart.
        noise_kind: `"scaled"`, `"unscaled"` or `"gaussian_dropout"`.
        compiled: whether to go by what `torch.compile` makes of the formulas: twice as fast on a CPU once it
            is made, some seconds for each shape of input.
    """

    eps: float
    noise: float
    strength: float
    noise_kind: NoiseKind
    compiled: bool
    _last: Statistics | None

    def begin(
        self, noise: float, strength: float, noise_kind: NoiseKind = "scaled", *, compiled: bool = False
    ) -> None:
        """Take up what the layer has besides its counterpart's."""
        functional.check(How(self.eps, strength, noise, noise_kind))
        self.noise, self.strength, self.noise_kind = noise, strength, noise_kind
        self.compiled, self._last = compiled, None

    def leave(self) -> None:
        """Give it up again."""
        for name in TAKEN:
            delattr(self, name)

    def _how(self) -> How:
        noise = self.noise if self.training else 0.0
        return How(self.eps, self.strength, noise, self.noise_kind)

    def _normalize(
        self,
        x: torch.Tensor,
        dims: tuple[int, ...],
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: Mean | None = None,
    ) -> tuple[torch.Tensor, Statistics]:
        functional.check_floating(x)
        y, found = functional.normalize(x, dims, self._how(), weight, bias, mean=mean, compile=self.compiled)
        found = Statistics(*(each.detach() for each in found))
        self._remember(found)
        return y, found

    def _remember(self, found: Statistics) -> None:
        if not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()):
            self._last = found

    @property
    def last_lambda(self) -> torch.Tensor | None:
        """lambda of each group of the last forward pass that computed any, in the batch's shape with the
        dimensions that were normalized over kept as 1; None before the first, and of compiled passes."""
        return None if self._last is None else self._last.lmbda

    @property
    def held_share(self) -> float:
        """Share of that pass's groups whose lambda was held: at -1 or 3, or at 1 for want of a minimum."""
        return float("nan") if self._last is None else float(self._last.held.to(torch.float32).mean())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}

    def extra_repr(self) -> str:
        """As `torch.nn` has it, with what is added."""
        return f"{super().extra_repr()}, noise={self.noise}, strength={self.strength}" + (
            "" if self.noise_kind == "scaled" else f", noise_kind={self.noise_kind!r}"
        )


class _Tracking(Normality, _NormBase):
    """Layers that may keep running averages."""

    running_lambda: torch.Tensor | None

    def begin(
        self, noise: float, strength: float, noise_kind: NoiseKind = "scaled", *, compiled: bool = False
    ) -> None:
        """Take up what the layer has besides its counterpart's: a running lambda too."""
        super().begin(noise, strength, noise_kind, compiled=compiled)
        if "running_lambda" not in self._buffers:
            tracked = None if self.running_mean is None else torch.ones_like(self.running_mean)
            self.register_buffer("running_lambda", tracked)

    def leave(self) -> None:
        """Give it up again."""
        super().leave()
        del self._buffers["running_lambda"]

    def reset_running_stats(self) -> None:
        """Mean to 0, variance and lambda to 1."""
        super().reset_running_stats()
        if getattr(self, "running_lambda", None) is not None:
            self.running_lambda.fill_(1)  # type: ignore[union-attr]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # What a layer of torch.nn saved has no lambda: with 1 this layer computes what that one did.
        key = f"{prefix}running_lambda"
        if self.track_running_stats and key not in state_dict and f"{prefix}running_mean" in state_dict:
            state_dict[key] = torch.ones_like(state_dict[f"{prefix}running_mean"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _tracked(self) -> Known | None:
        """The running averages; None where there are none."""
        if self.running_mean is None or self.running_var is None or self.running_lambda is None:
            return None
        return Known(self.running_mean, self.running_var, self.running_lambda)

    @torch.no_grad()
    def _track(self, found: Statistics, n_values: int, instances: int = 1) -> None:
        """Update the running averages, in place; several instances of a channel count by their mean."""
        known = self._tracked()
        if known is None or not self.track_running_stats or not found.mean.numel() or not n_values:
            return  # an empty batch says nothing
        factor: float | torch.Tensor = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None and self._counts:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / self.num_batches_tracked.to(torch.float32)
        unbiased = n_values / (n_values - 1) if n_values > 1 else 1.0
        for running, now in zip(known, (found.mean, found.var * unbiased, found.lmbda), strict=True):
            average = now.reshape(instances, -1).mean(0) if instances > 1 else now.flatten()
            running.lerp_(average.to(running.dtype), factor)

    _counts = True


class _BatchNormalNorm(_Tracking):
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
        noise: float = NOISE,
        strength: float = 1.0,
        noise_kind: NoiseKind = "scaled",
        compile: bool = False,
    ) -> None:
        _NormBase.__init__(self, num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.begin(noise, strength, noise_kind, compiled=compile)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The batch normalized: by its own statistics in training, by the running ones in evaluation."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if input.shape[1] != self.num_features:
            what = "weight" if self.running_mean is None else "running_mean"
            raise RuntimeError(f"{what} should contain {input.shape[1]} elements not {self.num_features}")
        dims = (0, *range(2, input.ndim))
        weight, bias = (functional.by_channel(each, input) for each in (self.weight, self.bias))
        known = None if self.training else self._tracked()
        if known is not None:
            return functional.apply_known(input, dims, known, self.eps, weight, bias)
        others = self._others(input, dims)
        n_values = input.numel() // max(1, input.shape[1]) if others is None else others.n_values
        if self.training and n_values == 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {input.shape}"
            )
        y, found = self._normalize(input, dims, weight, bias, None if others is None else others.mean)
        if self.training:
            self._track(found, n_values)
        return y

    def _others(self, input: torch.Tensor, dims: tuple[int, ...]) -> Across | None:  # noqa: ARG002
        """What other processes have of the batch; None where that is not asked."""
        return None


class BatchNormalNorm1d(_BatchNormalNorm):
    __doc__ = "BatchNorm1d with normality normalization: each channel over batch and length." + _ABOUT
    _check_input_dim = nn.BatchNorm1d._check_input_dim


class BatchNormalNorm2d(_BatchNormalNorm):
    __doc__ = "BatchNorm2d with normality normalization: each channel over batch and positions." + _ABOUT
    _check_input_dim = nn.BatchNorm2d._check_input_dim


class BatchNormalNorm3d(_BatchNormalNorm):
    __doc__ = "BatchNorm3d with normality normalization: each channel over batch and positions." + _ABOUT
    _check_input_dim = nn.BatchNorm3d._check_input_dim


class SyncBatchNormalNorm(_BatchNormalNorm):
    __doc__ = (
        "SyncBatchNorm with normality normalization: each channel over the batches of all processes." + _ABOUT
    )
    process_group: Any = None

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")

    def _others(self, input: torch.Tensor, dims: tuple[int, ...]) -> Across | None:
        return across(input, dims, self.process_group) if self.training else None

    @classmethod
    def convert_sync_batchnorm(cls, module: nn.Module, process_group: Any = None) -> nn.Module:
        """Make every BatchNormalNorm within a module synchronise its statistics, in place.

        `torch.nn.SyncBatchNorm.convert_sync_batchnorm` leaves these layers alone.

        Args:
            module: with the layers.
            process_group: the processes that share statistics; None for all.

        Returns:
            The module.
        """
        for layer in module.modules():
            if isinstance(layer, _BatchNormalNorm):
                if vars(layer).get(BEFORE) is True:
                    setattr(layer, BEFORE, COUNTERPARTS[type(layer)])
                layer.__class__ = cls
                layer.process_group = process_group
        return module


class _InstanceNormalNorm(_Tracking, nn.modules.instancenorm._InstanceNorm):
    _counts = False  # as torch.nn, which leaves num_batches_tracked at 0

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        noise: float = NOISE,
        strength: float = 1.0,
        noise_kind: NoiseKind = "scaled",
        compile: bool = False,
    ) -> None:
        _NormBase.__init__(self, num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.begin(noise, strength, noise_kind, compiled=compile)

    def _apply_instance_norm(self, input: torch.Tensor) -> torch.Tensor:
        dims = tuple(range(2, input.ndim))
        weight, bias = (functional.by_channel(each, input) for each in (self.weight, self.bias))
        known = None if self.training or not self.track_running_stats else self._tracked()
        if known is not None:
            return functional.apply_known(input, (0, *dims), known, self.eps, weight, bias)
        n_values = input.shape[2:].numel()
        if n_values == 1:
            raise ValueError(
                f"Expected more than 1 spatial element when training, got input size {input.shape}"
            )
        y, found = self._normalize(input, dims, weight, bias)
        if self.training:
            self._track(found, n_values, instances=input.shape[0])
        return y


class InstanceNormalNorm1d(_InstanceNormalNorm, nn.InstanceNorm1d):
    __doc__ = "InstanceNorm1d with normality normalization: channels of each example by themselves." + _ABOUT


class InstanceNormalNorm2d(_InstanceNormalNorm, nn.InstanceNorm2d):
    __doc__ = "InstanceNorm2d with normality normalization: channels of each example by themselves." + _ABOUT


class InstanceNormalNorm3d(_InstanceNormalNorm, nn.InstanceNorm3d):
    __doc__ = "InstanceNorm3d with normality normalization: channels of each example by themselves." + _ABOUT


class LayerNormalNorm(Normality, nn.LayerNorm):
    __doc__ = "LayerNorm with normality normalization: each example over its last dimensions." + _ABOUT

    def begin(
        self, noise: float, strength: float, noise_kind: NoiseKind = "scaled", *, compiled: bool = False
    ) -> None:
        """Take up what the layer has besides its counterpart's, and keep out of fused kernels.

        In evaluation `nn.TransformerEncoderLayer` hands weight and bias of its LayerNorms to a kernel of its
        own and never calls them, unless one of its modules has a hook.
        """
        super().begin(noise, strength, noise_kind, compiled=compiled)
        self._forward_pre_hooks.update(MARK)

    def leave(self) -> None:
        """Give it up again."""
        super().leave()
        for key in MARK:  # in place: handles of other hooks refer to the dict
            self._forward_pre_hooks.pop(key, None)

    def __getstate__(self) -> dict[str, Any]:
        others = OrderedDict((key, hook) for key, hook in self._forward_pre_hooks.items() if key not in MARK)
        return super().__getstate__() | {"_forward_pre_hooks": others}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._forward_pre_hooks.update(MARK)

    def __init__(
        self,
        normalized_shape: int | list[int] | torch.Size,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        noise: float = LAYER_NOISE,
        strength: float = 1.0,
        noise_kind: NoiseKind = "scaled",
        compile: bool = False,
    ) -> None:
        nn.LayerNorm.__init__(self, normalized_shape, eps, elementwise_affine, bias, device, dtype)
        self.begin(noise, strength, noise_kind, compiled=compile)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Each example normalized by itself."""
        if input.is_nested:  # as `nn.TransformerEncoder` makes of padded sequences in evaluation
            return torch.nested.as_nested_tensor([self.forward(each) for each in input.unbind()])
        k = len(self.normalized_shape)
        if tuple(input.shape[input.ndim - k :]) != tuple(self.normalized_shape) or input.ndim < k:
            wanted = ", ".join(str(size) for size in self.normalized_shape)
            raise RuntimeError(
                f"Given normalized_shape={list(self.normalized_shape)}, expected input with shape "
                f"[*, {wanted}], but got input of size{list(input.shape)}"
            )
        dims = tuple(range(input.ndim - k, input.ndim))
        return self._normalize(input, dims, self.weight, self.bias)[0]


class GroupNormalNorm(Normality, nn.GroupNorm):
    __doc__ = "GroupNorm with normality normalization: each group of channels of each example." + _ABOUT

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        noise: float = NOISE,
        strength: float = 1.0,
        noise_kind: NoiseKind = "scaled",
        compile: bool = False,
    ) -> None:
        nn.GroupNorm.__init__(self, num_groups, num_channels, eps, affine, device, dtype)
        self.begin(noise, strength, noise_kind, compiled=compile)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Each group of each example normalized by itself."""
        if input.ndim < 2:
            raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
        if input.shape[1] % self.num_groups:
            raise RuntimeError(
                "Expected number of channels in input to be divisible by num_groups, but got input of shape "
                f"{list(input.shape)} and num_groups={self.num_groups}"
            )
        if input.shape[1] != self.num_channels:
            raise RuntimeError(
                "Expected weight to be a vector of size equal to the number of channels in input, but got "
                f"weight of shape [{self.num_channels}] and input of shape {list(input.shape)}"
            )
        apart = input.unflatten(1, (self.num_groups, -1))  # type: ignore[no-untyped-call]
        shape = (1, *apart.shape[1:3], *[1] * (apart.ndim - 3))
        weight, bias = (None if each is None else each.view(shape) for each in (self.weight, self.bias))
        dims = tuple(range(2, apart.ndim))
        return self._normalize(apart, dims, weight, bias)[0].flatten(1, 2)


COUNTERPARTS: dict[type[Normality], type[nn.Module]] = {
    SyncBatchNormalNorm: nn.SyncBatchNorm,
    BatchNormalNorm1d: nn.BatchNorm1d,
    BatchNormalNorm2d: nn.BatchNorm2d,
    BatchNormalNorm3d: nn.BatchNorm3d,
    InstanceNormalNorm1d: nn.InstanceNorm1d,
    InstanceNormalNorm2d: nn.InstanceNorm2d,
    InstanceNormalNorm3d: nn.InstanceNorm3d,
    LayerNormalNorm: nn.LayerNorm,
    GroupNormalNorm: nn.GroupNorm,
}
