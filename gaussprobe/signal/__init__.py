"""Signals in random networks: the laws of pre-activations over draws of the weights, the Edge of Chaos.

Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
arXiv:2205.12379.
"""

from gaussprobe.signal.activations import Activation, activation
from gaussprobe.signal.diagram import phase_diagram
from gaussprobe.signal.edge import edge_of_chaos
from gaussprobe.signal.ensemble import ensemble
from gaussprobe.signal.finite import finite_phase
from gaussprobe.signal.maps import correlation_map, input_moments, variance_map
from gaussprobe.signal.phase import phase
from gaussprobe.signal.propagate import propagate
from gaussprobe.signal.study import study

__all__ = [
    "Activation",
    "activation",
    "correlation_map",
    "edge_of_chaos",
    "ensemble",
    "finite_phase",
    "input_moments",
    "phase",
    "phase_diagram",
    "propagate",
    "study",
    "variance_map",
]
