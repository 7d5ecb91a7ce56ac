"""An activation and a law of weights through and through: laws by layer, phase, what wide layers would do."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import torch

from gaussprobe import passes
from gaussprobe.errors import GaussprobeWarning
from gaussprobe.laboratory import Laboratory
from gaussprobe.passes import Progress, silent
from gaussprobe.phases import PhaseDiagram
from gaussprobe.signal import activations
from gaussprobe.signal.activations import Activation, Function
from gaussprobe.signal.diagram import phase_diagram
from gaussprobe.signal.edge import edge_of_chaos
from gaussprobe.signal.maps import correlation_map, variance_map
from gaussprobe.signal.phase import phase
from gaussprobe.signal.propagate import propagate
from gaussprobe.signal.setting import Setting, settled
from gaussprobe.signal.weights import Sampler, WeightLaw
from gaussprobe.stats.multiplicity import benjamini_hochberg
from gaussprobe.version import __version__

# Of the phase diagram.
_COLUMNS, _ROWS = 17, 9


def study(
    activation: str | Function | Activation,
    *,
    widths: Sequence[int],
    draws: int = 10_000,
    sigma_w: float | None = None,
    sigma_b: float | None = None,
    weight: str | tuple[str, float] | Sampler | WeightLaw | None = None,
    correlation: float = 0.5,
    seed: int = 0,
    diagram: bool = True,
    device: str | torch.device | None = None,
    level: float = 0.05,
    command: str = "",
    progress: Progress | None = None,
) -> Laboratory:
    """Laws of pre-activations by layer, where the setting lies, and what infinitely wide layers would do.

    Two inputs in the plane go in, `x_a = sqrt(2) (1, 0)` and `x_b = sqrt(2) (c, sqrt(1 - c^2))`, of mean
    square 1 and correlation c: the first layer is N(0, sigma_w^2 + sigma_b^2) for each, as for the scalar
    input 1. Laws are those of the first. In infinitely wide layers
    `v_1 = sigma_w^2 + sigma_b^2`, `v_(l+1) = V(v_l)`, and `c_1 = (sigma_w^2 c + sigma_b^2) / v_1`,
    `c_(l+1) = C(c_l, v_l)`; V and C see sigma_w times the sd of the law of weights, which is not 1 for
    Weibull laws.

    Null hypothesis: those of `propagate`, in each layer; their p-values are adjusted over layers for the
    false discovery rate, by Benjamini and Hochberg. Layers are measured on the same networks: that bounds
    the rate if their p-values are positively dependent, which is taken for granted.

    Args:
        activation: as `gaussprobe.signal.activation` takes it.
        widths: outputs of each layer.
        draws: networks, at least 8.
        sigma_w: of weights. None: sqrt(2) for relu, 1 for phi_theta, the edge of chaos for others, each for
            weights of sd 1; where variances grow without bound on the edge, as of gelu, what keeps 1.
        sigma_b: of biases. None: sqrt(.013) for tanh, as in the paper; 0 for others.
        weight: as `gaussprobe.signal.propagate` takes it. None: `("weibull", theta)` for phi_theta, else
            `"normal"`.
        correlation: of the two inputs, from -1 to 1.
        seed: of the draws.
        diagram: whether to compute a phase diagram around the setting.
        device: of the networks; None for the CPU.
        level: of the tests; a layer below it is rejected.
        command: the command line, to be kept.
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        All of it. What was chosen for want of an argument is in its `notes`.

    Raises:
        ValueError: naming an argument that cannot be used; if `sigma_w` is None and there is no edge.
        FactoryError: if an activation `pkg.mod:fn` cannot be had.

    Reference:
        Wolinski & Arbel (2025), TMLR, arXiv:2205.12379.
    """
    started = time.perf_counter()
    report = silent if progress is None else progress
    made = activations.activation(activation)
    inputs = _pair(correlation)
    report("finding the edge of chaos", 0, None)
    setting = settled(made, sigma_w=sigma_w, sigma_b=sigma_b, weight=weight, seed=seed)
    found = propagate(
        made,
        widths=widths,
        draws=draws,
        sigma_w=setting.sigma_w,
        sigma_b=setting.sigma_b,
        weight=setting.law,
        seed=seed,
        x=inputs,
        device=device,
        level=level,
        progress=report,
    )
    report("finding the phase", 0, None)
    effective = setting.sigma_w * setting.weight_sd
    # Variances beyond the largest number are infinite, and said to be.
    with warnings.catch_warnings(record=True) as heard, np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("always")
        point = phase(made, sigma_w=effective, sigma_b=setting.sigma_b)
        edge = edge_of_chaos(made, sigma_b=setting.sigma_b)
        report("predicting infinitely wide layers", 0, None)
        variances, correlations = _infinitely_wide(made, setting, correlation, len(found))
        grid = _diagram(made, effective, edge.sigma_w, setting.sigma_b, report) if diagram else None
    told = tuple(dict.fromkeys(f"infinitely wide layers: {one.message}" for one in heard))
    for message in told:
        warnings.warn(message, GaussprobeWarning, stacklevel=2)
    return Laboratory(
        gaussprobe=__version__,
        propagation=found,
        input_correlation=correlation,
        adjusted_pvalue=tuple(benjamini_hochberg(found.pvalue).tolist()),
        fitted_adjusted_pvalue=tuple(benjamini_hochberg(found.fitted_pvalue).tolist()),
        weight_sd=setting.weight_sd,
        point=point,
        edge=edge,
        diagram=grid,
        predicted_variance=variances,
        predicted_correlation=correlations,
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - started, 3),
        versions=passes.versions(),
        notes=(_about_inputs(setting, correlation), *setting.notes),
        warnings=(*found.warnings, *told),
    )


def _pair(correlation: float) -> torch.Tensor:
    """Two inputs in the plane of mean square 1, `(2, 2)`."""
    is_number = isinstance(correlation, int | float) and not isinstance(correlation, bool)
    if not is_number or not -1 <= correlation <= 1:
        raise ValueError(f"correlation must be a number from -1 to 1; got {correlation!r}")
    rows = [[1.0, 0.0], [correlation, math.sqrt(1 - correlation**2)]]
    return math.sqrt(2) * torch.tensor(rows, dtype=torch.float64)


def _about_inputs(setting: Setting, correlation: float) -> str:
    variance = setting.sigma_w**2 + setting.sigma_b**2
    return (
        f"inputs: two in the plane, of mean square 1 and correlation {correlation:g}; layer 1 of each is "
        f"N(0, {variance:.4g}), as for the scalar input 1"
    )


def _infinitely_wide(
    made: Activation, setting: Setting, correlation: float, layers: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Variance and correlation of pre-activations in each layer, were it infinitely wide."""
    # Weights of the first layer have sd 1; the maps are of the others.
    v = setting.sigma_w**2 + setting.sigma_b**2
    w, b = setting.sigma_w * setting.weight_sd, setting.sigma_b
    variances = variance_map(made, sigma_w=w, sigma_b=b, depth=layers, variance=v)
    if v == 0:
        return variances, (math.nan,) * layers
    c = min(max((setting.sigma_w**2 * correlation + b**2) / v, -1.0), 1.0)
    alike = correlation_map(made, sigma_w=w, sigma_b=b, depth=layers, variance=v, correlation=c)
    return variances, alike


def _diagram(made: Activation, sigma_w: float, edge: float, sigma_b: float, report: Progress) -> PhaseDiagram:
    """From small weights to twice those of the setting or the edge, from no biases to twice those given."""
    widest = 2 * max(sigma_w, 0.0 if math.isnan(edge) else edge, 0.5)
    highest = max(2 * sigma_b, 0.5)
    return phase_diagram(
        made,
        sigma_w=np.linspace(widest / _COLUMNS, widest, _COLUMNS).tolist(),
        sigma_b=np.linspace(0.0, highest, _ROWS).tolist(),
        progress=lambda _what, done, total: report("computing the phase diagram", done, total),
    )
