"""Statistics of batches of samples: tests of normality, effect sizes, intervals.

Takes tensors or arrays; knows nothing of models.
"""

from __future__ import annotations

from gaussprobe.stats.anderson import anderson_darling
from gaussprobe.stats.battery import battery
from gaussprobe.stats.dagostino import dagostino_pearson
from gaussprobe.stats.effects import delta, ks_distance, qq_r2, wasserstein
from gaussprobe.stats.entropy import negentropy
from gaussprobe.stats.kolmogorov import lilliefors
from gaussprobe.stats.moments import LMoments, excess_kurtosis, l_moments, skewness
from gaussprobe.stats.multiplicity import benjamini_hochberg, simes
from gaussprobe.stats.shapiro import shapiro_wilk

__all__ = [
    "LMoments",
    "anderson_darling",
    "battery",
    "benjamini_hochberg",
    "dagostino_pearson",
    "delta",
    "excess_kurtosis",
    "ks_distance",
    "l_moments",
    "lilliefors",
    "negentropy",
    "qq_r2",
    "shapiro_wilk",
    "simes",
    "skewness",
    "wasserstein",
]
