"""Layers of a laboratory with all that is known of each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gaussprobe.laboratory import Laboratory
from gaussprobe.propagated import Correlation, LayerLaw


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer.

    Args:
        law: of its first pre-activation.
        adjusted, fitted_adjusted: p of both null hypotheses, adjusted over layers.
        alike: of two inputs; None for one.
        predicted_sd, predicted_correlation: in infinitely wide layers.
    """

    law: LayerLaw
    adjusted: float
    fitted_adjusted: float
    alike: Correlation | None
    predicted_sd: float
    predicted_correlation: float


def rows(found: Laboratory, layers: Iterable[int]) -> list[Row]:
    """Layers by number, counted from 1.

    Args:
        found: the laboratory.
        layers: which.
    """
    alike = {one.layer: one for one in found.propagation.correlations}
    return [
        Row(
            law=found.propagation[layer - 1],
            adjusted=found.adjusted_pvalue[layer - 1],
            fitted_adjusted=found.fitted_adjusted_pvalue[layer - 1],
            alike=alike.get(layer),
            predicted_sd=_root(found.predicted_variance[layer - 1]),
            predicted_correlation=found.predicted_correlation[layer - 1],
        )
        for layer in layers
    ]


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance >= 0 else math.nan
