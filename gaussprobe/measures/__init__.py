"""What the paper on normality normalization measures, for any model and data.

Reference:
    Eftekhari & Papyan (2025), On the Importance of Gaussianizing Representations, ICML, arXiv:2505.00685.
"""

from __future__ import annotations

from gaussprobe.measures.cost import step_cost
from gaussprobe.measures.minibatches import minibatch_qq_r2
from gaussprobe.measures.pairs import channel_pairs
from gaussprobe.measures.robustness import noise_robustness

__all__ = ["channel_pairs", "minibatch_qq_r2", "noise_robustness", "step_cost"]
