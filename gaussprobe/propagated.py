"""What random networks did to an input: records that reports and the command line read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from gaussprobe.types import GofResult

# Where the law of a layer is kept as quantiles: close enough in the tails to draw a Q-Q plot of 3 sd.
PROBABILITIES: tuple[float, ...] = (
    0.001,
    0.002,
    0.005,
    *(round(0.01 * k, 2) for k in range(1, 100)),
    0.995,
    0.998,
    0.999,
)


@dataclass(frozen=True, kw_only=True)
class LayerLaw:
    """Law of the first pre-activation of a layer over draws of all weights.

    Args:
        layer: counted from 1.
        width: units of the layer.
        n_draws: networks.
        ks_distance: D against N(0, 1); nothing is estimated.
        pvalue: of it.
        ks_low, ks_high: 95 % interval of the distance of the law itself, by Massart's inequality.
        fitted_ks_distance: D against the normal law of the sample's mean and sd.
        fitted_pvalue: of it, Lilliefors'.
        mean, sd: of the pre-activation, sd with divisor n - 1.
        skewness, excess_kurtosis, delta, negentropy, qq_r2, wasserstein: as `LayerScore` has them.
        tests: every test of the battery, against a normal law of unknown mean and variance.
        quantiles: at `PROBABILITIES`.
        n_nonfinite: networks in which it is NaN or infinite; where there is one, the rest is NaN.
        reason: why numbers are NaN; empty where none is.
    """

    layer: int
    width: int
    n_draws: int
    ks_distance: float
    pvalue: float
    ks_low: float
    ks_high: float
    fitted_ks_distance: float
    fitted_pvalue: float
    mean: float
    sd: float
    skewness: float
    excess_kurtosis: float
    delta: float
    negentropy: float
    qq_r2: float
    wasserstein: float
    tests: Mapping[str, GofResult]
    quantiles: tuple[float, ...]
    n_nonfinite: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How alike a layer answers to two inputs.

    Args:
        layer: counted from 1.
        correlation: `E[z_a z_b] / sqrt(E[z_a^2] E[z_b^2])`, over draws and units.
        low, high: 95 % interval, by a jackknife over groups of draws.
        cosine: mean over networks of the cosine between the layer's two vectors of pre-activations.
        n_undefined: networks in which one of the vectors is 0 and has no direction: `cosine` is the mean over
            the others.
        reason: why numbers are NaN; empty where none is.
    """

    layer: int
    correlation: float
    low: float
    high: float
    cosine: float
    n_undefined: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Propagation(Sequence[LayerLaw]):
    """What `gaussprobe.signal.propagate` found: a sequence of `LayerLaw`, one to each layer.

    Each number of a `LayerLaw` is also an attribute here, an array over layers: `found.ks_distance[3]`.

    Args:
        activation: what it was called.
        weight: the law of the weights after the first layer's, which are normal.
        widths: outputs of each layer, units or channels.
        kernel_size: of convolutions; None for dense layers.
        draws: networks.
        sigma_w, sigma_b: of weights and biases.
        seed: of the draws.
        input_shape: of the input, or of the two.
        device: where it ran.
        layers: the laws.
        correlations: of two inputs, by layer; empty for one.
        level: of the tests, for the critical distances.
        critical_distance: D against N(0, 1) that is exceeded with that probability.
        fitted_critical_distance: the same against the fitted normal law.
        warnings: what a reader must know.
    """

    activation: str
    weight: str
    widths: tuple[int, ...]
    kernel_size: int | None
    draws: int
    sigma_w: float
    sigma_b: float
    seed: int
    input_shape: tuple[int, ...]
    device: str
    layers: tuple[LayerLaw, ...]
    correlations: tuple[Correlation, ...] = ()
    level: float = 0.05
    critical_distance: float
    fitted_critical_distance: float
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.layers)

    @overload
    def __getitem__(self, index: int) -> LayerLaw: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[LayerLaw, ...]: ...
    def __getitem__(self, index: int | slice) -> LayerLaw | tuple[LayerLaw, ...]:
        return self.layers[index]

    def __iter__(self) -> Iterator[LayerLaw]:
        return iter(self.layers)

    def __repr__(self) -> str:
        first, last = self.layers[0].ks_distance, self.layers[-1].ks_distance
        return (
            f"<Propagation of {self.activation} through {len(self)} layers of width {_ranged(self.widths)}, "
            f"{self.draws:,} draws: D from {first:.4f} to {last:.4f}>"
        )

    def over_layers(self, name: str) -> npt.NDArray[np.float64]:
        """A number of every layer, `(layers,)`.

        Args:
            name: an attribute of `LayerLaw` that is a number.
        """
        return np.array([getattr(one, name) for one in self.layers], dtype=np.float64)

    @property
    def ks_distance(self) -> npt.NDArray[np.float64]:
        """D against N(0, 1)."""
        return self.over_layers("ks_distance")

    @property
    def pvalue(self) -> npt.NDArray[np.float64]:
        """Of D against N(0, 1)."""
        return self.over_layers("pvalue")

    @property
    def fitted_ks_distance(self) -> npt.NDArray[np.float64]:
        """D against the fitted normal law."""
        return self.over_layers("fitted_ks_distance")

    @property
    def fitted_pvalue(self) -> npt.NDArray[np.float64]:
        """Of D against the fitted normal law."""
        return self.over_layers("fitted_pvalue")

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Of the first pre-activation."""
        return self.over_layers("mean")

    @property
    def sd(self) -> npt.NDArray[np.float64]:
        """Of the first pre-activation, divisor n - 1."""
        return self.over_layers("sd")

    @property
    def skewness(self) -> npt.NDArray[np.float64]:
        """Third standardised moment."""
        return self.over_layers("skewness")

    @property
    def excess_kurtosis(self) -> npt.NDArray[np.float64]:
        """Fourth standardised moment, minus 3."""
        return self.over_layers("excess_kurtosis")

    @property
    def delta(self) -> npt.NDArray[np.float64]:
        """Curvature of the Q-Q plot, corrected for n."""
        return self.over_layers("delta")

    @property
    def negentropy(self) -> npt.NDArray[np.float64]:
        """In nats."""
        return self.over_layers("negentropy")

    @property
    def qq_r2(self) -> npt.NDArray[np.float64]:
        """R^2 of the Q-Q plot."""
        return self.over_layers("qq_r2")

    @property
    def wasserstein(self) -> npt.NDArray[np.float64]:
        """Distance to the fitted normal law, in sd."""
        return self.over_layers("wasserstein")

    @property
    def correlation(self) -> npt.NDArray[np.float64]:
        """Of two inputs; empty where there was one."""
        return np.array([one.correlation for one in self.correlations], dtype=np.float64)

    @property
    def first_nonfinite(self) -> int | None:
        """The first layer, counted from 1, with a value that is not finite; None where all are."""
        return next((one.layer for one in self.layers if one.n_nonfinite), None)


def _ranged(widths: tuple[int, ...]) -> str:
    least, most = min(widths), max(widths)
    return str(least) if least == most else f"{least} to {most}"
