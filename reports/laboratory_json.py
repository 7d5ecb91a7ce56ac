"""A laboratory as one JSON object: what `init --json` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from gaussprobe.laboratory import Laboratory
from gaussprobe.propagated import PROBABILITIES, LayerLaw
from gaussprobe.reports.json_form import strict
from gaussprobe.types import GofResult


def to_json(found: Laboratory) -> dict[str, Any]:
    """A laboratory as an object that strict JSON can hold.

    Args:
        found: the laboratory.

    Returns:
        The keys `gaussprobe, activation, weight, widths, draws, sigma_w, sigma_b, seed, level,
        critical_distance, fitted_critical_distance, phase, edge, layers, diagram, warnings, notes`, then what
        they were made with. `quantiles` of a layer are at `probabilities`. Numbers that are not finite are
        strings, as in `scan --json`; `diagram` is None where none was asked for.
    """
    run = found.propagation
    return {
        "gaussprobe": found.gaussprobe,
        "activation": run.activation,
        "weight": run.weight,
        "widths": list(run.widths),
        "draws": run.draws,
        "sigma_w": strict(run.sigma_w),
        "sigma_b": strict(run.sigma_b),
        "seed": run.seed,
        "level": run.level,
        "critical_distance": strict(run.critical_distance),
        "fitted_critical_distance": strict(run.fitted_critical_distance),
        "phase": _without_name(found.point),
        "edge": _without_name(found.edge),
        "layers": [_layer(found, law) for law in run],
        "diagram": None if found.diagram is None else _diagram(found.diagram),
        "warnings": list(found.warnings),
        "notes": list(found.notes),
        "input_correlation": strict(found.input_correlation),
        "weight_sd": strict(found.weight_sd),
        "probabilities": list(PROBABILITIES),
        "first_nonfinite": run.first_nonfinite,
        "device": run.device,
        "command": found.command,
        "created": found.created,
        "seconds": strict(found.seconds),
        "versions": dict(found.versions),
    }


def dumps(found: Laboratory) -> str:
    """The same as text, indented, without a final newline."""
    return json.dumps(to_json(found), indent=2, allow_nan=False)


def _without_name(record: Any) -> dict[str, Any]:
    """The fields of a record but the activation, which is the same in all of them."""
    return {name: strict(value) for name, value in asdict(record).items() if name != "activation"}


def _diagram(record: Any) -> dict[str, Any]:
    return _without_name(record) | {"edge": [_without_name(one) for one in record.edge]}


def _layer(found: Laboratory, law: LayerLaw) -> dict[str, Any]:
    """One entry of `layers`."""
    index = law.layer - 1
    alike = next((one for one in found.propagation.correlations if one.layer == law.layer), None)
    numbers = {
        "layer": law.layer,
        "width": law.width,
        "ks_distance": law.ks_distance,
        "pvalue": law.pvalue,
        "adjusted_pvalue": found.adjusted_pvalue[index],
        "ks_low": law.ks_low,
        "ks_high": law.ks_high,
        "fitted_ks_distance": law.fitted_ks_distance,
        "fitted_pvalue": law.fitted_pvalue,
        "fitted_adjusted_pvalue": found.fitted_adjusted_pvalue[index],
        "mean": law.mean,
        "sd": law.sd,
        "skewness": law.skewness,
        "excess_kurtosis": law.excess_kurtosis,
        "delta": law.delta,
        "negentropy": law.negentropy,
        "qq_r2": law.qq_r2,
        "wasserstein": law.wasserstein,
        "tests": {name: _test(result) for name, result in law.tests.items()},
        "quantiles": law.quantiles,
        "correlation": None
        if alike is None
        else {key: value for key, value in asdict(alike).items() if key != "layer"},
        "predicted_variance": found.predicted_variance[index],
        "predicted_correlation": found.predicted_correlation[index],
        "n_nonfinite": law.n_nonfinite,
        "reason": law.reason,
    }
    strictly: dict[str, Any] = strict(numbers)
    return strictly


def _test(result: GofResult) -> dict[str, float]:
    return {"statistic": float(result.statistic), "pvalue": float(result.pvalue)}
