"""All that was found of one activation and one law of weights at initialization: what reports read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaussprobe.phases import Edge, PhaseDiagram, PhasePoint
from gaussprobe.propagated import Propagation


@dataclass(frozen=True, kw_only=True, repr=False)
class Laboratory:
    """What `gaussprobe.signal.study` found.

    Args:
        gaussprobe: version of gaussprobe.
        propagation: laws by layer, and correlations of two inputs.
        input_correlation: of the two inputs.
        point: where the setting lies.
        edge: of the activation at that sd of biases.
        diagram: of settings around it; None where none was asked for.
        predicted_variance: of infinitely wide layers, by layer.
        predicted_correlation: likewise.
        command: the command line, empty when run from Python.
        created: UTC time, ISO 8601.
        seconds: wall time.
        versions: of Python and the packages numbers depend on.
        warnings: what a reader must know.
    """

    gaussprobe: str
    propagation: Propagation
    input_correlation: float
    point: PhasePoint
    edge: Edge
    diagram: PhaseDiagram | None
    predicted_variance: tuple[float, ...]
    predicted_correlation: tuple[float, ...]
    command: str = ""
    created: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Laboratory: {self.propagation!r}, {self.point.phase}>"
