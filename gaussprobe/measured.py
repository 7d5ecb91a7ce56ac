"""What `gaussprobe.measures` finds: records without torch, that comparisons keep and reports draw."""

from __future__ import annotations

from dataclasses import dataclass

# The name of a model's own output among sites.
OUTPUT = "output"


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """The Q-Q plot of one unit in one minibatch.

    Args:
        site: where.
        unit: its index in the layer.
        qq_r2: of the line of best fit.
        normal, sample: normal scores and the standardised sample quantiles at them.
    """

    site: str
    unit: int
    qq_r2: float
    normal: tuple[float, ...]
    sample: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MinibatchR2:
    """Q-Q R^2 of a site, unit by unit within each of several minibatches.

    Args:
        site: where.
        qq_r2: mean over units and minibatches; NaN where none could be had.
        units: indices of the units, the same in every minibatch.
        values: one tuple for each minibatch, of one number for each unit; NaN for a constant.
        n_samples: values of a unit in the first minibatch.
        quantiles: of some of the units in the first minibatch.
    """

    site: str
    qq_r2: float
    units: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    n_samples: int
    quantiles: tuple[Quantiles, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PairNumbers:
    """What pairs of units of a site have in common: means over the pairs, NaN where none could be had.

    Args:
        site: where.
        pairs: pairs of units that were looked at.
        n_samples: of each.
        henze_zirkler: statistic of joint normality, 1 or less on average under it.
        henze_zirkler_rejected: share of pairs rejected at .05 after Benjamini-Hochberg; NaN where rows have
            no p-values.
        sliced: sliced Epps-Pulley statistic of joint normality.
        mutual_information: in nats.
        adjusted_mutual_information: 0 in the mean for independent units, 1 where their bins determine each
            other.
    """

    site: str
    pairs: tuple[tuple[int, int], ...]
    n_samples: int
    henze_zirkler: float
    henze_zirkler_rejected: float
    sliced: float
    mutual_information: float
    adjusted_mutual_information: float


@dataclass(frozen=True, kw_only=True)
class Carried:
    """How far noise at one site carries to a later one.

    Args:
        at: where Gaussian noise was added.
        site: where the change was read; `OUTPUT` for the model's own output.
        change: root of the mean of `|y' - y|^2 / |y|^2` over examples and draws.
    """

    at: str
    site: str
    change: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one training step of a model takes.

    Args:
        forward, backward: seconds, medians over repetitions.
        saved_bytes: of the tensors that autograd keeps between the two, each storage once, without the
            parameters.
        peak_bytes: most memory allocated on the device over the step, less what was there; NaN on a CPU.
    """

    forward: float
    backward: float
    saved_bytes: float
    peak_bytes: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Course:
    """Q-Q R^2 of a site over training: median over units at each recorded step."""

    site: str
    steps: tuple[int, ...]
    qq_r2: tuple[float, ...]
