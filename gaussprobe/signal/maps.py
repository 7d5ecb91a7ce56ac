"""Maps of infinitely wide random networks: the variance and the correlation of one layer from the last's."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.signal.activations import Activation, Function, activation
from gaussprobe.signal.arguments import finite, integer
from gaussprobe.signal.hermite import series
from gaussprobe.signal.plane import Joint, joint
from gaussprobe.signal.quadrature import Moments, Quadrature
from gaussprobe.signal.rule import Array

# Error up to which the power series is taken, of E[phi^2]; else the integral over the plane.
_SERIES = 1e-11


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The variance and the correlation map of one setting.

    Args:
        quadrature: of the activation.
        sigma_w, sigma_b: standard deviations of weights and biases.
        notes: why a value is NaN, as they come up.
    """

    quadrature: Quadrature
    sigma_w: float
    sigma_b: float
    notes: list[str] = field(default_factory=list)

    def variance(self, v: Array) -> Array:
        """`v' = sigma_w^2 E[phi(sqrt(v) Z)^2] + sigma_b^2`."""
        return np.asarray(self.sigma_w**2 * self.quadrature.moments(v).second + self.sigma_b**2)

    def next_variance(self, v: float) -> float:
        """Of one variance, 0 and infinity included; a reason is noted where it is NaN."""
        if v == 0.0:
            return float(self.sigma_w**2 * self.quadrature.at_zero**2 + self.sigma_b**2)
        if not 0 < v < math.inf:
            return v
        found = self.quadrature.moments([v])
        if math.isnan(found.second[0]) and self.sigma_w > 0:
            self._note(found)
            return math.nan
        return float(np.nan_to_num(self.sigma_w**2 * found.second[0]) + self.sigma_b**2)

    def next_correlation(self, v1: float, v2: float, c: float) -> float:
        """`c' = (sigma_w^2 E[phi(u1) phi(u2)] + sigma_b^2) / sqrt(v1' v2')`."""
        if v1 == v2 and c == 1.0:
            return 1.0
        product = self.product(v1, v2, c).value
        scale = math.sqrt(self.next_variance(v1) * self.next_variance(v2))
        if not 0 < scale < math.inf or math.isnan(product):
            return math.nan
        following = (self.sigma_w**2 * product + self.sigma_b**2) / scale
        # By Cauchy and Schwarz it is within; what is beyond is the rounding of the quadrature.
        return min(max(following, -1.0), 1.0)

    def product(self, v1: float, v2: float, c: float) -> Joint:
        """`E[phi(u1) phi(u2)]`; variances of 0 are constants."""
        if v1 > 0 and v2 > 0:
            if v1 == v2 and 0 <= c < 1:
                found = series(self.quadrature, v1, c)
                if found.error <= _SERIES * self.quadrature.moments([v1]).second[0]:
                    return found
            return joint(self.quadrature, v1, v2, c)
        means = [self.quadrature.mean(v) if v > 0 else self.quadrature.at_zero for v in (v1, v2)]
        return Joint(value=means[0] * means[1], growth=0.0, error=0.0)

    def _note(self, found: Moments) -> None:
        if found.reasons[0] and found.reasons[0] not in self.notes:
            self.notes.append(found.reasons[0])


def variance_map(
    activation: str | Function | Activation,
    *,
    sigma_w: float,
    sigma_b: float = 0.0,
    depth: int,
    variance: float,
) -> tuple[float, ...]:
    """Variance of pre-activations in each layer of an infinitely wide random network.

    `v' = sigma_w^2 E[phi(sqrt(v) Z)^2] + sigma_b^2`, Z standard normal.

    Args:
        activation: a name, a function or a module; see `gaussprobe.signal.activation`.
        sigma_w, sigma_b: standard deviations of weights (before the division by the root of fan-in) and of
            biases. For a law of weights that is not of variance 1, sigma_w times its standard deviation.
        depth: layers.
        variance: of the first layer's pre-activations: `sigma_w^2 |x|^2 / d + sigma_b^2` for an input x of d
            numbers (`input_moments`).

    Returns:
        One to a layer, the first of them `variance`.

    Raises:
        ValueError: for an activation that cannot be one, or numbers out of range.

    Reference:
        Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos,
        NeurIPS, equation 3.
    """
    maps = made_maps(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    depth = integer("depth", depth, least=1)
    found = [nonnegative("variance", variance)]
    while len(found) < depth:
        found.append(maps.next_variance(found[-1]))
    _warn(maps)
    return tuple(found)


def correlation_map(
    activation: str | Function | Activation,
    *,
    sigma_w: float,
    sigma_b: float = 0.0,
    depth: int,
    variance: float | tuple[float, float],
    correlation: float,
) -> tuple[float, ...]:
    """Correlation of two inputs' pre-activations in each layer of an infinitely wide random network.

    `c' = (sigma_w^2 E[phi(u1) phi(u2)] + sigma_b^2) / sqrt(v1' v2')` for `(u1, u2)` normal with mean 0,
    variances v1 and v2 and correlation c.

    Args:
        activation, sigma_w, sigma_b, depth: as `variance_map` takes them.
        variance: of the first layer's pre-activations, one number or one to each input.
        correlation: of the first layer's pre-activations: `E[z1 z2] / sqrt(v1 v2)`.

    Returns:
        One to a layer, the first of them `correlation`. NaN where a variance is 0 or not finite.

    Raises:
        ValueError: for an activation that cannot be one, or numbers out of range.

    Reference:
        Poole et al. (2016), equation 5.
    """
    maps = made_maps(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    depth = integer("depth", depth, least=1)
    given = tuple(variance) if isinstance(variance, tuple | list) else (variance, variance)
    if len(given) != 2:
        raise ValueError(f"variance must be one number or two; got {len(given)}")
    v1, v2 = (nonnegative("variance", one) for one in given)
    found = followed(maps, depth, (v1, v2), check_correlation(correlation))
    _warn(maps)
    return found


def followed(maps: Maps, depth: int, variances: tuple[float, float], correlation: float) -> tuple[float, ...]:
    """Correlations by layer, from those of the first."""
    v1, v2 = variances
    found = [correlation]
    while len(found) < depth:
        had = 0 < v1 < math.inf and 0 < v2 < math.inf and not math.isnan(found[-1])
        found.append(maps.next_correlation(v1, v2, found[-1]) if had else math.nan)
        v1, v2 = maps.next_variance(v1), maps.next_variance(v2)
    return tuple(found)


def input_moments(
    x: torch.Tensor, *, sigma_w: float, sigma_b: float = 0.0
) -> tuple[tuple[float, float], float]:
    """Variances and correlation of the first layer's pre-activations for two inputs.

    `v = sigma_w^2 |x|^2 / d + sigma_b^2` and `c = (sigma_w^2 x1 . x2 / d + sigma_b^2) / sqrt(v1 v2)`.

    Args:
        x: the two inputs, `(2, d)`.
        sigma_w, sigma_b: as `variance_map` takes them.

    Returns:
        The variances, and the correlation; NaN where a variance is 0.

    Raises:
        ValueError: for another shape, or numbers out of range.
    """
    sigma_w, sigma_b = nonnegative("sigma_w", sigma_w), nonnegative("sigma_b", sigma_b)
    if x.ndim < 2 or len(x) != 2 or not x.numel():
        raise ValueError(f"x must be two inputs, (2, d); got {tuple(x.shape)}")
    flat = x.detach().reshape(2, -1).to(torch.float64)
    gram = (sigma_w**2 * (flat @ flat.T) / flat.shape[1] + sigma_b**2).cpu().numpy()
    v1, v2 = float(gram[0, 0]), float(gram[1, 1])
    scale = math.sqrt(v1) * math.sqrt(v2)
    return (v1, v2), min(max(float(gram[0, 1]) / scale, -1.0), 1.0) if scale else math.nan


def made_maps(given: str | Function | Activation, *, sigma_w: float, sigma_b: float) -> Maps:
    """The maps of a setting, checked."""
    sigma_w, sigma_b = nonnegative("sigma_w", sigma_w), nonnegative("sigma_b", sigma_b)
    return Maps(quadrature=Quadrature(activation(given)), sigma_w=sigma_w, sigma_b=sigma_b)


def check_correlation(correlation: float) -> float:
    """The correlation, if it is one.

    Raises:
        ValueError: naming it.
    """
    found = finite(correlation)
    if found is None or abs(found) > 1:
        raise ValueError(f"correlation must be a number from -1 to 1; got {correlation!r}")
    return found


def nonnegative(name: str, value: float) -> float:
    """`value` as a float.

    Raises:
        ValueError: naming the argument, if it is no finite number of at least 0.
    """
    found = finite(value)
    if found is None or found < 0:
        raise ValueError(f"{name} must be a finite number of at least 0; got {value!r}")
    return found


def _warn(maps: Maps) -> None:
    """Of what could not be had.

    Warns:
        GaussprobeWarning: with the reason.
    """
    for note in maps.notes:
        warnings.warn(note, GaussprobeWarning, stacklevel=3)
