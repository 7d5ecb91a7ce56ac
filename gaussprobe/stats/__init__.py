"""Statistics of batches of samples: tests of normality, effect sizes, intervals.

Takes tensors or arrays; knows nothing of models.
"""

from __future__ import annotations

from gaussprobe.stats.anderson import anderson_darling
from gaussprobe.stats.battery import battery
from gaussprobe.stats.cramer import cramer_von_mises
from gaussprobe.stats.dagostino import dagostino_pearson
from gaussprobe.stats.dependence import effective_sample_size
from gaussprobe.stats.effects import delta, ks_distance, qq_r2, wasserstein
from gaussprobe.stats.entropy import negentropy
from gaussprobe.stats.epps import epps_pulley
from gaussprobe.stats.francia import shapiro_francia
from gaussprobe.stats.henze_zirkler import henze_zirkler
from gaussprobe.stats.information import adjusted_mutual_information, mutual_information
from gaussprobe.stats.interval import Interval, interval
from gaussprobe.stats.jarque import jarque_bera
from gaussprobe.stats.kolmogorov import lilliefors
from gaussprobe.stats.mardia import Mardia, mardia
from gaussprobe.stats.moments import LMoments, excess_kurtosis, l_moments, skewness
from gaussprobe.stats.multiplicity import benjamini_hochberg, simes
from gaussprobe.stats.shapiro import shapiro_wilk
from gaussprobe.stats.simple import kstest
from gaussprobe.stats.sliced import sliced
from gaussprobe.stats.streaming import Reservoir, StreamingMoments
from gaussprobe.stats.vasicek_k import vasicek
from gaussprobe.stats.watson_u2 import watson

__all__ = [
    "Interval",
    "LMoments",
    "Mardia",
    "Reservoir",
    "StreamingMoments",
    "adjusted_mutual_information",
    "anderson_darling",
    "battery",
    "benjamini_hochberg",
    "cramer_von_mises",
    "dagostino_pearson",
    "delta",
    "effective_sample_size",
    "epps_pulley",
    "excess_kurtosis",
    "henze_zirkler",
    "interval",
    "jarque_bera",
    "ks_distance",
    "kstest",
    "l_moments",
    "lilliefors",
    "mardia",
    "mutual_information",
    "negentropy",
    "qq_r2",
    "shapiro_francia",
    "shapiro_wilk",
    "simes",
    "skewness",
    "sliced",
    "vasicek",
    "wasserstein",
    "watson",
]
