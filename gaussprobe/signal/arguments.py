"""What numbers may be given as."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def integer(name: str, value: Any, *, least: int) -> int:
    """`value` as an int.

    Raises:
        ValueError: naming the argument, if it is no integer of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
    return int(value)


def finite(value: Any) -> float | None:
    """`value` as a float; None for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of float64
        return None
    return number if math.isfinite(number) else None
