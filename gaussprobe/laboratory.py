"""All that was found of one activation and one law of weights at initialization: what reports read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gaussprobe.phases import Edge, PhaseDiagram, PhasePoint
from gaussprobe.propagated import Propagation


@dataclass(frozen=True, kw_only=True, repr=False)
class Laboratory:
    """What `gaussprobe.signal.study` found.

    Args:
        gaussprobe: version of gaussprobe.
        propagation: laws by layer, and correlations of two inputs.
        input_correlation: of the two inputs.
        adjusted_pvalue: of D against N(0, 1), adjusted over layers for the false discovery rate.
        fitted_adjusted_pvalue: likewise, of D against the fitted normal law.
        weight_sd: of the law of the weights before `sigma_w`, 1 but for Weibull laws; the maps of infinitely
            wide networks see their product.
        point: where the setting lies, at `sigma_w` times `weight_sd`.
        edge: of the activation at that sd of biases.
        diagram: of settings around it; None where none was asked for.
        predicted_variance: mean square in infinitely wide layers, by layer.
        predicted_correlation: likewise.
        command: the command line, empty when run from Python.
        created: UTC time, ISO 8601.
        seconds: wall time.
        versions: of Python and the packages numbers depend on.
        notes: what was chosen by default.
        warnings: what a reader must know.
    """

    gaussprobe: str
    propagation: Propagation
    input_correlation: float
    adjusted_pvalue: tuple[float, ...]
    fitted_adjusted_pvalue: tuple[float, ...]
    weight_sd: float = 1.0
    point: PhasePoint
    edge: Edge
    diagram: PhaseDiagram | None
    predicted_variance: tuple[float, ...]
    predicted_correlation: tuple[float, ...]
    command: str = ""
    created: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Laboratory: {self.propagation!r}, {self.point.phase}>"

    def report(self, path: str | Path) -> None:
        """Write a self-contained HTML report, replacing it whole or not at all.

        Raises:
            StoreError: if `path` cannot be written.
        """
        from gaussprobe.reports import laboratory_html

        laboratory_html.write(self, path)
