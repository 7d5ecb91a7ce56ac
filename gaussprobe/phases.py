"""Where a weight and bias variance lie with respect to the Edge of Chaos: records that reports read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["ordered", "chaotic", "edge", "undetermined"]


@dataclass(frozen=True, kw_only=True)
class PhasePoint:
    """What the maps of infinitely wide networks do at one setting.

    Args:
        activation: what it was called.
        sigma_w, sigma_b: standard deviations of weights (before the division by the root of fan-in) and
            biases.
        fixed_point: variance of pre-activations that the variance map keeps, the one it tends to from
            variance 1; 0 and infinity are possible; NaN where there is none.
        chi1: slope of the correlation map at correlation 1, there.
        correlation_fixed_point: correlation that two different inputs tend to.
        variance_depth: layers in which the distance to the fixed point falls by e; infinity on the edge.
        correlation_depth: the same for the correlation.
        phase: `"ordered"` for chi1 < 1, `"chaotic"` for chi1 > 1.
        reason: why numbers are NaN, or what is special; empty where nothing is.
    """

    activation: str
    sigma_w: float
    sigma_b: float
    fixed_point: float
    chi1: float
    correlation_fixed_point: float
    variance_depth: float
    correlation_depth: float
    phase: Phase
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The Edge of Chaos of an activation at one sd of biases.

    Args:
        activation: what it was called.
        sigma_w: at which chi1 is 1; NaN where there is none.
        sigma_b: as given.
        fixed_point: of the variance map, there; NaN where every variance is one.
        chi1: there, as computed from `sigma_w` and `fixed_point`.
        reason: why there is none, or what is special; empty where nothing is.
    """

    activation: str
    sigma_w: float
    sigma_b: float
    fixed_point: float
    chi1: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PhaseDiagram:
    """Settings on a grid, and the edge between the phases.

    Args:
        activation: what it was called.
        sigma_w: of the columns.
        sigma_b: of the rows.
        chi1, fixed_point, correlation_depth: rows of columns.
        edge: the edge at each of `sigma_b`.
    """

    activation: str
    sigma_w: tuple[float, ...]
    sigma_b: tuple[float, ...]
    chi1: tuple[tuple[float, ...], ...]
    fixed_point: tuple[tuple[float, ...], ...]
    correlation_depth: tuple[tuple[float, ...], ...]
    edge: tuple[Edge, ...]


Direction: TypeAlias = Literal["together", "apart", "undetermined"]


@dataclass(frozen=True, kw_only=True)
class FinitePoint:
    """Correlation of two inputs through layers of a finite width, at one setting.

    Args:
        sigma_w: standard deviation of weights.
        correlation: by layer, over draws and units.
        low, high: 95 % intervals.
        predicted: by layer, of infinitely wide layers; NaN where the law of the weights has no known
            variance.
        growth: `(1 - c) / (1 - c1)` of the last layer's correlation c and the first's c1: under 1 together,
            above 1 apart.
        direction: `"together"` where the last layer's interval lies above the first's correlation,
            `"apart"` where it lies below.
        reason: why numbers are NaN; empty where none is.
    """

    sigma_w: float
    correlation: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    predicted: tuple[float, ...]
    growth: float
    direction: Direction
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class FinitePhase:
    """In which direction correlations go in networks of a finite width, over a range of weights.

    Args:
        activation: what it was called.
        weight: the law of the weights after the first layer's.
        width: units of each layer.
        depth: layers.
        draws: networks at each setting.
        sigma_b: standard deviation of biases.
        input_correlation: of the two inputs.
        seed: of the draws.
        points: one to each sigma_w, from small to large.
        edge: sigma_w at which inputs go neither together nor apart, between the points; NaN where they go
            one way at all of them.
        edge_low, edge_high: the last sigma_w up to which all go together, and the first from which on all go
            apart; NaN where there is none.
        predicted_edge: as `edge`, of infinitely wide layers and the same inputs, for which it nears their
            Edge of Chaos as the correlation of the inputs nears 1.
        infinite: the edge of infinitely wide networks, for weights of this law; None where its variance is
            not known.
    """

    activation: str
    weight: str
    width: int
    depth: int
    draws: int
    sigma_b: float
    input_correlation: float
    seed: int
    points: tuple[FinitePoint, ...]
    edge: float
    edge_low: float
    edge_high: float
    predicted_edge: float
    infinite: Edge | None
