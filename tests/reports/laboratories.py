"""A laboratory for the tests of reports: a few hundred small networks drawn with numpy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

import gaussprobe as gp
from gaussprobe.laboratory import Laboratory
from gaussprobe.phases import Edge, PhaseDiagram, PhasePoint
from gaussprobe.propagated import PROBABILITIES, Correlation, LayerLaw, Propagation
from gaussprobe.stats.multiplicity import benjamini_hochberg

Array = npt.NDArray[np.float64]
DRAWS = 600


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def drawn(
    function: Callable[[Array], Array],
    widths: Sequence[int],
    *,
    sigma_w: float,
    sigma_b: float = 0.0,
    correlation: float = 0.5,
    seed: int = 0,
) -> list[Array]:
    """Pre-activations `(draws, 2, width)` of every layer, for two inputs in the plane of mean square 1."""
    rng = np.random.default_rng(seed)
    angle = math.acos(correlation)
    y = np.broadcast_to(
        math.sqrt(2) * np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]]), (DRAWS, 2, 2)
    )
    found = []
    for width in widths:
        W = rng.standard_normal((DRAWS, y.shape[-1], width))
        b = rng.standard_normal((DRAWS, 1, width))
        found.append(sigma_w * y @ W / math.sqrt(y.shape[-1]) + sigma_b * b)
        y = function(found[-1])
    return found


def law(layer: int, width: int, x: Array) -> LayerLaw:
    """Of a sample `(draws,)`."""
    n = len(x)
    simple = gp.stats.kstest(x)
    reach = math.sqrt(math.log(2 / 0.05) / (2 * n))
    tests = gp.stats.battery(x)
    numbers = {
        name: float(getattr(gp.stats, name)(x))
        for name in ("skewness", "excess_kurtosis", "negentropy", "qq_r2", "wasserstein")
    }
    fitted = tests["lilliefors"]
    return LayerLaw(
        layer=layer,
        width=width,
        n_draws=n,
        ks_distance=float(simple.statistic),
        pvalue=float(simple.pvalue),
        ks_low=max(float(simple.statistic) - reach, 0.0),
        ks_high=min(float(simple.statistic) + reach, 1.0),
        fitted_ks_distance=float(fitted.statistic),
        fitted_pvalue=float(fitted.pvalue),
        mean=float(x.mean()),
        sd=float(x.std(ddof=1)),
        delta=1 - numbers["qq_r2"],
        tests=tests,
        quantiles=tuple(np.quantile(x, PROBABILITIES).tolist()),
        **numbers,
    )


def unmeasured(one: LayerLaw, n_nonfinite: int) -> LayerLaw:
    """The same layer with values that are not finite in so many networks."""
    names = [f.name for f in dataclasses.fields(one) if f.type == "float"]
    return dataclasses.replace(
        one,
        **dict.fromkeys(names, math.nan),
        tests={},
        quantiles=(math.nan,) * len(PROBABILITIES),
        n_nonfinite=n_nonfinite,
        reason=f"{n_nonfinite} of {one.n_draws} networks are NaN or infinite",
    )


def alike(layer: int, z: Array) -> Correlation:
    """Of pre-activations `(draws, 2, width)`; the interval is of the right size only."""
    a, b = z[:, 0], z[:, 1]
    found = float((a * b).mean() / math.sqrt((a**2).mean() * (b**2).mean()))
    with np.errstate(invalid="ignore"):  # all units of a network may be off
        cosine = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    half = 2 * (1 - found**2) / math.sqrt(len(z))
    return Correlation(
        layer=layer,
        correlation=found,
        low=found - half,
        high=min(found + half, 1.0),
        cosine=float(np.nanmean(cosine)),
    )


def relu_correlation(c: float) -> float:
    """Cho & Saul (2009), the arc-cosine kernel of degree 1, normalised."""
    return (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi


def relu_diagram() -> PhaseDiagram:
    """For ReLU chi_1 is sigma_w^2 / 2 whatever sigma_b."""
    sigma_w, sigma_b = np.linspace(0.5, 2.5, 9), np.linspace(0, 0.5, 4)
    chi = [[w * w / 2 for w in sigma_w] for _ in sigma_b]
    fixed = [[b * b / (1 - w * w / 2) if w * w < 2 else math.inf for w in sigma_w] for b in sigma_b]
    depth = [[math.inf if w * w == 2 else abs(1 / math.log(w * w / 2)) for w in sigma_w] for _ in sigma_b]
    return PhaseDiagram(
        activation="relu",
        sigma_w=tuple(sigma_w.tolist()),
        sigma_b=tuple(sigma_b.tolist()),
        chi1=tuple(map(tuple, chi)),
        fixed_point=tuple(map(tuple, fixed)),
        correlation_depth=tuple(map(tuple, depth)),
        edge=tuple(edge(float(b)) for b in sigma_b),
    )


def edge(sigma_b: float = 0.0) -> Edge:
    """Of ReLU."""
    return Edge(
        activation="relu",
        sigma_w=math.sqrt(2),
        sigma_b=sigma_b,
        fixed_point=math.nan if sigma_b == 0 else math.inf,
        chi1=1.0,
        reason="every variance is a fixed point" if sigma_b == 0 else "the variance grows without bound",
    )


def build_laboratory(
    *,
    widths: Sequence[int] = (4,) * 14,
    sigma_w: float = math.sqrt(2),
    nonfinite: dict[int, int] | None = None,
    diagram: bool = True,
    **replaced: Any,
) -> Laboratory:
    """ReLU layers of small networks.

    Args:
        widths: of the layers.
        sigma_w: of the weights.
        nonfinite: layer to the number of networks in which it is not finite.
        diagram: whether there is one.
        replaced: fields of `Laboratory` to put in place of the built ones.

    Returns:
        The same laboratory each time.
    """
    found = drawn(relu, widths, sigma_w=sigma_w)
    laws = [law(layer, z.shape[-1], z[:, 0, 0]) for layer, z in enumerate(found, start=1)]
    pairs = [alike(layer, z) for layer, z in enumerate(found, start=1)]
    for layer, count in (nonfinite or {}).items():
        laws[layer - 1] = unmeasured(laws[layer - 1], count)
        pairs[layer - 1] = Correlation(
            layer=layer, correlation=math.nan, low=math.nan, high=math.nan, cosine=math.nan
        )
    variance, correlation = [sigma_w**2], [0.5]
    for _ in widths[1:]:
        variance.append(variance[-1] * sigma_w**2 / 2)
        correlation.append(relu_correlation(correlation[-1]))
    chi = sigma_w**2 / 2
    on_edge = math.isclose(chi, 1)
    depth = math.inf if on_edge else abs(1 / math.log(chi))
    made = Laboratory(
        gaussprobe="0.1.0",
        propagation=Propagation(
            activation="relu",
            weight="normal",
            widths=tuple(widths),
            kernel_size=None,
            draws=DRAWS,
            sigma_w=sigma_w,
            sigma_b=0.0,
            seed=0,
            input_shape=(2, 2),
            device="cpu",
            layers=tuple(laws),
            correlations=tuple(pairs),
            critical_distance=float(special.kolmogi(0.05)) / math.sqrt(DRAWS),
            fitted_critical_distance=0.895 / math.sqrt(DRAWS),  # Lilliefors (1967), table 1, large n
        ),
        input_correlation=0.5,
        adjusted_pvalue=tuple(benjamini_hochberg([one.pvalue for one in laws]).tolist()),
        fitted_adjusted_pvalue=tuple(benjamini_hochberg([one.fitted_pvalue for one in laws]).tolist()),
        point=PhasePoint(
            activation="relu",
            sigma_w=sigma_w,
            sigma_b=0.0,
            fixed_point=1.0 if on_edge else (0.0 if chi < 1 else math.inf),
            chi1=chi,
            correlation_fixed_point=1.0,
            variance_depth=depth,
            correlation_depth=math.inf,
            phase="edge" if on_edge else ("ordered" if chi < 1 else "chaotic"),
            reason="every variance is kept: the one at the start is the fixed point" if on_edge else "",
        ),
        edge=edge(),
        diagram=relu_diagram() if diagram else None,
        predicted_variance=tuple(variance),
        predicted_correlation=tuple(correlation),
        command="gaussprobe init --widths 4x14 --draws 600",
        created="2026-01-02T03:04:05Z",
        seconds=1.5,
        versions={"python": "3.12.1", "torch": "2.9.0"},
        notes=("sigma_w is sqrt(2) and sigma_b 0, the edge of chaos of relu: none was given",),
    )
    return dataclasses.replace(made, **replaced)
