"""Phases on a grid of weight and bias variances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaussprobe.passes import Progress, silent
from gaussprobe.phases import Edge, PhaseDiagram, PhasePoint
from gaussprobe.signal import activations
from gaussprobe.signal.activations import Activation, Function
from gaussprobe.signal.arguments import finite
from gaussprobe.signal.edge import edge_of
from gaussprobe.signal.maps import Maps
from gaussprobe.signal.phase import phase_of
from gaussprobe.signal.quadrature import Quadrature
from gaussprobe.signal.table import Tabulated

# The grid where none is asked for.
_COLUMNS = 25
_ROWS = 11


def phase_diagram(
    activation: str | Function | Activation,
    *,
    sigma_w: Sequence[float] | None = None,
    sigma_b: Sequence[float] | None = None,
    progress: Progress | None = None,
) -> PhaseDiagram:
    """chi1, the fixed point of the variance and the depth of correlations on a grid of settings.

    Each is what `phase` finds there: moments are interpolated between variances to 1e-12 (`Tabulated`).

    Args:
        activation: a name, a function or a module; see `gaussprobe.signal.activation`.
        sigma_w: of the columns, rising; None for 25 from half the least edge of the rows to 1.5 times
            the largest.
        sigma_b: of the rows, rising; None for 11 from 0 to 1.
        progress: called with what is being done, settings done, and how many there are.

    Returns:
        Rows of columns, NaN where `phase` has NaN, and the edge of every row.

    Raises:
        ValueError: for an activation that cannot be one, or numbers out of range.

    Reference:
        Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos,
        NeurIPS, figure 1; Schoenholz et al. (2017), Deep information propagation, ICLR, figure 2.
    """
    rows = rising("sigma_b", [k / (_ROWS - 1) for k in range(_ROWS)] if sigma_b is None else sigma_b)
    given = None if sigma_w is None else rising("sigma_w", sigma_w)
    quadrature = Tabulated(activations.activation(activation))
    edges = tuple(edge_of(quadrature, one)[0] for one in rows)
    columns = _around(quadrature, edges) if given is None else given
    told = silent if progress is None else progress
    points: list[list[PhasePoint]] = []
    for i, b in enumerate(rows):
        told("phases", i * len(columns), len(rows) * len(columns))
        points.append([phase_of(Maps(quadrature=quadrature, sigma_w=w, sigma_b=b)) for w in columns])
    told("phases", len(rows) * len(columns), len(rows) * len(columns))
    return PhaseDiagram(
        activation=quadrature.name,
        sigma_w=columns,
        sigma_b=rows,
        chi1=tuple(tuple(one.chi1 for one in row) for row in points),
        fixed_point=tuple(tuple(one.fixed_point for one in row) for row in points),
        correlation_depth=tuple(tuple(one.correlation_depth for one in row) for row in points),
        edge=edges,
    )


def _around(quadrature: Quadrature, edges: Sequence[Edge]) -> tuple[float, ...]:
    """Columns around the edges; around `1 / sqrt(E[phi^2])` at variance 1 where there is none."""
    some = [edge.sigma_w for edge in edges if edge.sigma_w > 0]
    if not some:
        second = quadrature.moments([1.0]).second[0]
        some = [second**-0.5 if second > 0 else 1.0]
    return tuple(float(w) for w in np.linspace(0.5 * min(some), 1.5 * max(some), _COLUMNS))


def rising(name: str, given: Sequence[float]) -> tuple[float, ...]:
    """Numbers of at least 0, from small to large.

    Raises:
        ValueError: naming the argument.
    """
    try:
        numbers = [finite(one) for one in given]
    except TypeError:
        numbers = []
    known = [one for one in numbers if one is not None and one >= 0]
    if not numbers or len(known) < len(numbers) or any(np.diff(known) <= 0):
        raise ValueError(f"{name} must be rising finite numbers of at least 0; got {given!r}")
    return tuple(known)
