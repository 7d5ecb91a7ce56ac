"""Layers of known laws, and what they are to be called."""

from __future__ import annotations

import torch


def planted(law: str, n: int = 2048, width: int = 64) -> torch.Tensor:
    """Samples of a law, `(n, width)`."""
    normal = torch.randn(n, width)
    laws = {
        "normal": lambda: 3 * normal - 2,
        "lognormal": lambda: normal.exp(),
        "negative lognormal": lambda: -normal.exp(),
        "t(3)": lambda: torch.distributions.StudentT(3.0).sample((n, width)),
        "uniform": lambda: torch.rand(n, width),
        "two-peaked": lambda: normal + 2.5 * torch.sign(torch.randn(n, width)),
        "zero-inflated": lambda: normal * (torch.rand(n, width) < 0.7),
        "five values": lambda: torch.randint(0, 5, (n, width)).float(),
    }
    return laws[law]()


CALLED = [
    ("normal", "gaussian", "none"),
    ("lognormal", "non-gaussian", "right-skewed"),
    ("negative lognormal", "non-gaussian", "left-skewed"),
    ("t(3)", "non-gaussian", "heavy-tailed"),
    ("uniform", "non-gaussian", "light-tailed"),
    ("two-peaked", "non-gaussian", "multimodal"),
    ("zero-inflated", "non-gaussian", "atoms"),
    ("five values", "non-gaussian", "discrete"),
]
