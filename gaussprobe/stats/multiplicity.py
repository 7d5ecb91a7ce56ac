"""Many p-values at once."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Floats: TypeAlias = "npt.NDArray[np.float64]"


def _checked(pvalues: npt.ArrayLike | torch.Tensor) -> Floats:
    if isinstance(pvalues, torch.Tensor):
        shorter = pvalues.dtype in (torch.float16, torch.bfloat16)
        pvalues = (pvalues.detach().float() if shorter else pvalues.detach()).cpu().numpy()
    p = np.asarray(pvalues)
    if p.dtype.kind not in "fiu":
        raise ValueError(f"pvalues must hold real numbers; got dtype {p.dtype}")
    if p.ndim != 1 or p.size == 0:
        raise ValueError(f"pvalues must be one-dimensional and not empty; got shape {p.shape}")
    p = p.astype(np.float64)
    outside = p[(p < 0) | (p > 1)]
    if outside.size:
        raise ValueError(f"pvalues must lie between 0 and 1; got {outside[0]}")
    return p


def benjamini_hochberg(pvalues: npt.ArrayLike | torch.Tensor) -> Floats:
    """P-values adjusted for the false discovery rate.

    `p~_(i) = min_{j >= i} min(1, m p_(j) / j)` over the m p-values that are not NaN. Rejecting where
    `p~ <= q` keeps the expected share of false rejections at or below q.

    Null hypothesis: that of each p-value.

    Args:
        pvalues: `(C,)`, NaN where there is none; tensor or array.

    Returns:
        `(C,)` float64 array; NaN stays NaN and does not count.

    Raises:
        ValueError: if `pvalues` is not one-dimensional, is empty, or holds numbers outside 0 .. 1.

    Reference:
        Benjamini & Hochberg (1995), JRSS B 57.
    """
    # Here and not above: the import costs about a second that only this function should pay.
    from statsmodels.stats.multitest import multipletests

    p = _checked(pvalues)
    adjusted = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = multipletests(p[known], method="fdr_bh")[1]
    return adjusted


def simes(pvalues: npt.ArrayLike | torch.Tensor) -> float:
    """Simes' p-value of the hypothesis that every one of the null hypotheses holds.

    `min_i m p_(i) / i` over the m p-values that are not NaN: the smallest after Benjamini and Hochberg.

    Null hypothesis: all of them.

    Args:
        pvalues: `(C,)`, NaN where there is none; tensor or array.

    Returns:
        The p-value; NaN when every one is NaN.

    Raises:
        ValueError: if `pvalues` is not one-dimensional, is empty, or holds numbers outside 0 .. 1.

    Reference:
        Simes (1986), Biometrika 73.
    """
    adjusted = benjamini_hochberg(pvalues)
    known = adjusted[~np.isnan(adjusted)]
    return float(known.min()) if known.size else float("nan")
