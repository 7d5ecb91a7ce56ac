"""The law of each layer's first pre-activation, measured: all layers in one pass over sorted samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from gaussprobe.propagated import PROBABILITIES, LayerLaw
from gaussprobe.stats import simple
from gaussprobe.stats.battery import TESTS, results, statistics
from gaussprobe.stats.effects import EFFECT_SIZES
from gaussprobe.stats.moments import MOMENTS
from gaussprobe.stats.ordered import OrderedSample, constant
from gaussprobe.stats.pieces import Asked, measure_all
from gaussprobe.types import GofResult

_AS_THEY_ARE = ("mean", "skewness", "excess_kurtosis", "delta", "negentropy", "qq_r2", "wasserstein")

# Of the interval of the distance, whatever the level of the tests.
_CONFIDENCE = 0.95


def massart(distance: float, n_samples: int, *, confidence: float = _CONFIDENCE) -> tuple[float, float]:
    """Interval of `sup |F - Phi|` from the same of the empirical distribution function.

    `D -+ sqrt(ln(2 / (1 - confidence)) / (2 n))`, cut to 0 .. 1, within which every distance lies.

    Null hypothesis: none; it holds for any F and n, and so covers too often rather than too seldom.

    Args:
        distance: D; NaN gives NaN.
        n_samples: n.
        confidence: that the interval holds the distance, at least.

    Returns:
        Its ends.

    Reference:
        Massart (1990), Annals of Probability 18, corollary 1.
    """
    if math.isnan(distance):
        return math.nan, math.nan
    reach = math.sqrt(math.log(2 / (1 - confidence)) / (2 * n_samples))
    return max(0.0, distance - reach), min(1.0, distance + reach)


def measure(firsts: torch.Tensor, widths: Sequence[int]) -> tuple[LayerLaw, ...]:
    """Laws of all layers.

    Args:
        firsts: first pre-activations, `(layers, draws)`.
        widths: of the layers.

    Returns:
        The laws. A layer with values that are not finite, or all equal, has NaN for what it has not, and the
        reason; nothing is warned of. A constant one has its distance from N(0, 1).
    """
    n, columns = int(firsts.shape[1]), firsts.t()
    known = Asked(values=columns, functions={"ks_distance": simple.statistic, "at": _at}, null="simple")
    functions = {**EFFECT_SIZES, **MOMENTS, **statistics(TESTS), "constant": constant}
    against_known, found = measure_all([known, Asked(values=columns, functions=functions)])
    tested = results(found, n)
    numbers = {
        "ks_distance": against_known["ks_distance"],
        "pvalue": simple.pvalue(against_known["ks_distance"], n),
        "fitted_ks_distance": found["ks_distance"],
        "fitted_pvalue": tested["lilliefors"].pvalue,
        "sd": found["sd"] * math.sqrt(n / (n - 1)),
        **{name: found[name] for name in _AS_THEY_ARE},
    }
    rows = {name: value.tolist() for name, value in numbers.items()}
    tests = {name: (one.statistic.tolist(), one.pvalue.tolist()) for name, one in tested.items()}
    quantiles, is_constant = against_known["at"].tolist(), found["constant"].tolist()
    n_nonfinite = (~torch.isfinite(firsts)).sum(dim=1).tolist()
    laws = []
    for i, width in enumerate(widths):
        low, high = massart(rows["ks_distance"][i], n)
        law = LayerLaw(
            layer=i + 1,
            width=width,
            n_draws=n,
            ks_low=low,
            ks_high=high,
            **{name: row[i] for name, row in rows.items()},
            tests={
                name: GofResult(statistic=statistic[i], pvalue=pvalue[i], n_samples=n)
                for name, (statistic, pvalue) in tests.items()
            },
            quantiles=tuple(quantiles[i]),
            n_nonfinite=n_nonfinite[i],
            reason=_reason(n_nonfinite[i], n, quantiles[i][0] if is_constant[i] else None),
        )
        laws.append(law)
    return tuple(laws)


def _reason(n_nonfinite: int, n: int, constant: float | None) -> str:
    """Why numbers of a layer are NaN; `constant` is the one value it has, None where it has more."""
    if n_nonfinite:
        return f"NaN or infinite in {n_nonfinite:,} of {n:,} networks"
    return "" if constant is None else f"{constant:g} in every network: a constant has no shape"


def _at(sample: OrderedSample) -> torch.Tensor:
    """Quantiles at `PROBABILITIES`, `(C, k)` float64, with straight lines between the values."""
    z, n = sample.z, sample.n_samples
    place = torch.tensor(PROBABILITIES, dtype=torch.float64, device=z.device) * (n - 1)
    below = place.to(torch.int64)
    low = z[:, below].to(torch.float64)
    high = z[:, (below + 1).clamp_(max=n - 1)].to(torch.float64)
    return torch.lerp(low, high, place - below)
