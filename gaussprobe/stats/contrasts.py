"""Contrasts: cheap stand-ins for negentropy, each on its scale near the normal law.

They are not estimates of negentropy J. Each is half the squared length of the departure seen along one or two
chosen functions, and agrees with J to second order only for departures along those; see the table in
`negentropy_contrast`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch

from gaussprobe.stats.ordered import OrderedSample, in_chunks

Contrast: TypeAlias = Literal["logcosh", "exp", "cumulant"]

MINIMUM = 2

# E ln cosh nu, nu standard normal, and the variance of ln cosh nu that 1 and nu^2 leave over: by quadrature
# with 30 digits.
_LOGCOSH_MEAN = 0.37456720749143797
_LOGCOSH_LEFT = 0.0063278669911599717
# E exp(-nu^2 / 2), and the coefficients of Hyvarinen (1998).
_EXP_MEAN = math.sqrt(0.5)
_EXP_ODD = 36 / (8 * math.sqrt(3) - 9)
_EXP_EVEN = 24 / (16 * math.sqrt(3) - 27)


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Mean of each row, summed in float64."""
    return values.sum(dim=1, dtype=torch.float64) / values.shape[1]


@in_chunks(minimum=MINIMUM)
def logcosh(sample: OrderedSample) -> torch.Tensor:
    """`(E ln cosh z - E ln cosh nu)^2 / (2 delta^2)` of each unit, `(C,)`."""
    size = sample.z.abs()
    # ln cosh z without overflow.
    values = torch.log1p(torch.exp(-2 * size)).add_(size)
    return (_mean(values) - math.log(2) - _LOGCOSH_MEAN) ** 2 / (2 * _LOGCOSH_LEFT)


@in_chunks(minimum=MINIMUM)
def exponential(sample: OrderedSample) -> torch.Tensor:
    """`k1 (E z exp(-z^2 / 2))^2 + k2 (E exp(-z^2 / 2) - sqrt(1/2))^2` of each unit, `(C,)`."""
    bell = torch.exp(sample.z.square().mul_(-0.5))
    even = _mean(bell) - _EXP_MEAN
    odd = _mean(bell.mul_(sample.z))
    return _EXP_ODD * odd**2 + _EXP_EVEN * even**2


@in_chunks(minimum=MINIMUM)
def cumulant(sample: OrderedSample) -> torch.Tensor:
    """`g1^2 / 12 + g2^2 / 48` of each unit, `(C,)`."""
    square = sample.z.square()
    g1 = _mean(square * sample.z)
    g2 = _mean(square.mul_(square)) - 3
    return g1**2 / 12 + g2**2 / 48


CONTRASTS: dict[Contrast, Callable[[OrderedSample], torch.Tensor]] = {
    "logcosh": logcosh,
    "exp": exponential,
    "cumulant": cumulant,
}


def negentropy_contrast(name: Contrast, sample: OrderedSample) -> torch.Tensor:
    """A contrast of each unit.

    With z standardised and nu standard normal:

    - `logcosh`: `(E ln cosh z - E ln cosh nu)^2 / (2 delta^2)`, delta^2 = .0063279 the variance of ln cosh nu
      that 1 and nu^2 leave over. Even: it does not see skewness as such.
    - `exp`: `k1 (E z exp(-z^2/2))^2 + k2 (E exp(-z^2/2) - sqrt(1/2))^2`, k1 = 36 / (8 sqrt 3 - 9),
      k2 = 24 / (16 sqrt 3 - 27). Bounded functions: the one that bears outliers best.
    - `cumulant`: `g1^2 / 12 + g2^2 / 48`, g1 the skewness and g2 the excess kurtosis. Under heavy tails it
      grows with n without limit.

    They are contrasts on the scale of J, not estimates of it. Exact J and their values for the law itself:

    | law | J | logcosh | exp | cumulant |
    |---|---|---|---|---|
    | uniform | .177 | .057 | .064 | .030 |
    | logistic | .014 | .019 | .015 | .030 |
    | Laplace | .072 | .104 | .087 | .188 |
    | t(5) | .047 | .078 | .052 | .750 |
    | exponential | .419 | .156 | .270 | 1.083 |

    Null hypothesis: none; a size of departure. 0 for a normal law; from n samples of one about 1 / (2n) for
    each function squared (`logcosh` one, the others two).

    Args:
        name: `"logcosh"`, `"exp"` or `"cumulant"`.
        sample: standardised rows, float32 or float64.

    Returns:
        `(C,)` float64, not negative. NaN for samples that are constant, hold non-finite values, or are fewer
        than 2.

    Raises:
        ValueError: for an unknown name.

    Reference:
        Hyvarinen (1998), NIPS 10, New approximations of differential entropy, for `exp`; Hyvarinen & Oja
        (2000), Neural Networks 13, section 4.3.2, for ln cosh; Jones & Sibson (1987), JRSS A 150, for
        `cumulant`.
    """
    if name not in CONTRASTS:
        raise ValueError(f"name must be one of {', '.join(CONTRASTS)}; got {name!r}")
    return CONTRASTS[name](sample)
