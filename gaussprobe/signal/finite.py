"""The Edge of Chaos of networks of finite width, by simulation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.passes import Progress, silent
from gaussprobe.phases import Direction, Edge, FinitePhase, FinitePoint
from gaussprobe.propagated import Propagation
from gaussprobe.signal import activations
from gaussprobe.signal.activations import Activation, Function
from gaussprobe.signal.arguments import integer
from gaussprobe.signal.diagram import rising
from gaussprobe.signal.edge import edge_of
from gaussprobe.signal.fixed import settled
from gaussprobe.signal.maps import Maps, check_correlation, followed, input_moments, nonnegative
from gaussprobe.signal.propagate import propagate
from gaussprobe.signal.quadrature import Quadrature
from gaussprobe.signal.weights import Sampler, WeightLaw, weight_law

# Weights where none are asked for, as shares of the edge of infinitely wide networks.
_SHARES = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)


def finite_phase(
    activation: str | Function | Activation,
    *,
    width: int,
    depth: int = 20,
    sigma_w: Sequence[float] | None = None,
    sigma_b: float = 0.0,
    correlation: float = 0.99,
    draws: int = 500,
    weight: str | tuple[str, float] | Sampler | WeightLaw = "normal",
    seed: int = 0,
    progress: Progress | None = None,
) -> FinitePhase:
    """In which direction the correlation of two near inputs goes, in networks of a finite width.

    Networks are simulated as by `propagate`, at each sigma_w with the same draws, on two inputs whose
    `|x|^2 / d` makes the first layer's variance the fixed point of infinitely wide layers, or is 1 where
    that is 0 or not finite. `c_l = E[z_a z_b] / sqrt(E[z_a^2] E[z_b^2])` is the correlation of layer l; that
    of the first, `(sigma_w^2 x_a . x_b / d + sigma_b^2) / (sigma_w^2 |x|^2 / d + sigma_b^2)`, is exact. Where
    the last layer's is above it, inputs go together (as in the ordered phase), where it is below, apart (as
    in the chaotic phase).

    Null hypothesis: of each point, that the last layer's correlation is the first's; it is rejected where
    the 95 % interval of the last layer's does not hold the first's. Points share their draws, and are not
    adjusted for how many there are. In narrow networks a few of the draws make up most of `1 - c`: their
    intervals are too short, and "together" is said too often: of tanh networks of width 10, 20 layers and
    sigma_b^2 = .013, 500 draws at the sigma_w where the direction changes, in 22 % of 150 seeds, and "apart"
    in none. More draws help.

    Args:
        activation: a name, a function or a module; see `gaussprobe.signal.activation`.
        width: units of each layer.
        depth: layers, at least 2.
        sigma_w: standard deviations of weights, rising; None for nine from .8 to 1.2 times the edge of
            infinitely wide networks.
        sigma_b: standard deviation of biases.
        correlation: of the two inputs; near 1, since that is where the phases differ.
        draws: networks at each sigma_w.
        weight: law of weights after the first layer, as `propagate` takes it.
        seed: of the draws.
        progress: called with what is being done, networks done, and how many there are.

    Returns:
        Correlations by layer with their intervals, beside those of infinitely wide networks; and where
        between the points the direction changes.

    Raises:
        ValueError: for an activation that cannot be one, or numbers out of range; without a `sigma_w` also
            where infinitely wide networks have no edge, or the law of the weights no known variance.

    Reference:
        Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
        arXiv:2205.12379, on the Edge of Chaos at finite width.
    """
    width, depth = integer("width", width, least=1), integer("depth", depth, least=2)
    sigma_b, correlation = nonnegative("sigma_b", sigma_b), check_correlation(correlation)
    made = activations.activation(activation)
    quadrature = Quadrature(made)
    law = weight_law(weight)
    spread = weight_law(weight).sd
    infinite = None if spread is None else _of_law(edge_of(quadrature, sigma_b)[0], spread)
    grid = _grid(infinite) if sigma_w is None else rising("sigma_w", sigma_w)
    setting = _Setting(
        quadrature=quadrature, spread=spread, sigma_b=sigma_b, correlation=correlation, depth=depth
    )
    told = silent if progress is None else progress
    points = []
    for i, w in enumerate(grid):
        told("finite width", i * draws, len(grid) * draws)
        x = setting.inputs(w)
        found, reason = _simulated(
            made, [width] * depth, draws=draws, sigma_w=w, sigma_b=sigma_b, weight=law, seed=seed, x=x
        )
        _, first = input_moments(x, sigma_w=w, sigma_b=sigma_b)
        points.append(_point(found, w, first, setting.predicted(w, x), reason))
    told("finite width", len(grid) * draws, len(grid) * draws)
    low, high = _sure(points)
    return FinitePhase(
        activation=made.name,
        weight=law.name,
        width=width,
        depth=depth,
        draws=int(draws),
        sigma_b=sigma_b,
        input_correlation=correlation,
        seed=int(seed),
        points=tuple(points),
        edge=_crossing([(one.sigma_w, one.growth) for one in points]),
        edge_low=low,
        edge_high=high,
        predicted_edge=_crossing([(one.sigma_w, _growth(one.predicted)) for one in points]),
        infinite=infinite,
    )


def _of_law(edge: Edge, spread: float) -> Edge:
    """The edge for weights of another variance than 1."""
    return replace(edge, sigma_w=edge.sigma_w / spread)


def _grid(infinite: Edge | None) -> tuple[float, ...]:
    if infinite is None or not infinite.sigma_w > 0:
        why = "the law of the weights has no known variance" if infinite is None else infinite.reason
        raise ValueError(f"sigma_w must be given, since {why}; got None")
    return tuple(share * infinite.sigma_w for share in _SHARES)


def _simulated(made: Activation, widths: list[int], **settings: object) -> tuple[Propagation, str]:
    """The networks, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GaussprobeWarning)
        found = propagate(made, widths=widths, **settings)  # type: ignore[arg-type]
    return found, "; ".join(str(one.message) for one in caught)


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What all points have in common."""

    quadrature: Quadrature
    spread: float | None
    sigma_b: float
    correlation: float
    depth: int

    def maps(self, w: float) -> Maps:
        """Of layers after the first, whose weights are normal whatever the law."""
        spread = 1.0 if self.spread is None else self.spread
        return Maps(quadrature=self.quadrature, sigma_w=w * spread, sigma_b=self.sigma_b)

    def inputs(self, w: float) -> torch.Tensor:
        """Two inputs from which the first layer's variance is the fixed point, `(2, 2)`."""
        v = math.nan if self.spread is None else settled(self.maps(w)).variance
        square = (v - self.sigma_b**2) / w**2 if w > 0 and math.isfinite(v) and v > self.sigma_b**2 else 1.0
        c = self.correlation
        return torch.tensor([[1.0, 0.0], [c, math.sqrt(1 - c * c)]], dtype=torch.float64) * math.sqrt(
            2 * square
        )

    def predicted(self, w: float, x: torch.Tensor) -> tuple[float, ...]:
        """Correlations of infinitely wide layers."""
        if self.spread is None:
            return (math.nan,) * self.depth
        (v, _), first = input_moments(x, sigma_w=w, sigma_b=self.sigma_b)
        return followed(self.maps(w), self.depth, (v, v), first)


def _point(
    found: Propagation, w: float, first: float, predicted: tuple[float, ...], reason: str
) -> FinitePoint:
    last = found.correlations[-1]
    direction: Direction = "undetermined"
    if last.low > first:
        direction = "together"
    elif last.high < first:
        direction = "apart"
    return FinitePoint(
        sigma_w=w,
        correlation=tuple(one.correlation for one in found.correlations),
        low=tuple(one.low for one in found.correlations),
        high=tuple(one.high for one in found.correlations),
        predicted=predicted,
        growth=(1 - last.correlation) / (1 - first) if first < 1 else math.nan,
        direction=direction,
        reason=reason or last.reason,
    )


def _growth(correlations: Sequence[float]) -> float:
    """`(1 - c) / (1 - c1)` of the last and the first."""
    first, last = correlations[0], correlations[-1]
    return (1 - last) / (1 - first) if first < 1 else math.nan


def _crossing(points: Sequence[tuple[float, float]]) -> float:
    """sigma_w at which the growth passes 1 upwards, on the line between points; NaN where not just once."""
    weights, growth = (np.array(one) for one in zip(*points, strict=True))
    up = np.flatnonzero((growth[:-1] <= 1) & (growth[1:] > 1))
    if len(up) != 1:
        return math.nan
    (i,) = up
    share = (1 - growth[i]) / (growth[i + 1] - growth[i])
    return float(weights[i] + share * (weights[i + 1] - weights[i]))


def _sure(points: Sequence[FinitePoint]) -> tuple[float, float]:
    """The last point up to which all go together, and the first from which on all go apart."""
    ways = [one.direction for one in points]
    together = next((i for i, way in enumerate(ways) if way != "together"), len(ways))
    apart = next((i for i, way in enumerate(reversed(ways)) if way != "apart"), len(ways))
    low = points[together - 1].sigma_w if together else math.nan
    return low, points[len(points) - apart].sigma_w if apart else math.nan
