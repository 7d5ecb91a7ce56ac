"""What `study` is asked for: the sd of weights and biases and the law of weights, where none were given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gaussprobe.nn import GaussianPreserving
from gaussprobe.signal.activations import Activation
from gaussprobe.signal.arguments import finite
from gaussprobe.signal.edge import edge_of_chaos
from gaussprobe.signal.maps import variance_map
from gaussprobe.signal.phase import phase
from gaussprobe.signal.weights import Sampler, WeightLaw, weight_law

# Of tanh, in the paper.
_TANH_SIGMA_B = math.sqrt(0.013)
# Draws from a law that nobody has told the sd of.
_DRAWS = 2**20


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A law of networks.

    Args:
        sigma_w, sigma_b: of weights and biases.
        law: of weights after the first layer.
        weight_sd: of that law.
        notes: what was chosen for want of an argument, and what was estimated.
    """

    sigma_w: float
    sigma_b: float
    law: WeightLaw
    weight_sd: float
    notes: tuple[str, ...]


def settled(
    made: Activation,
    *,
    sigma_w: float | None,
    sigma_b: float | None,
    weight: str | tuple[str, float] | Sampler | WeightLaw | None,
    seed: int,
) -> Setting:
    """What was given, and where nothing was: what the construction or the edge of chaos asks for.

    Of relu sigma_w = sqrt 2 and sigma_b = 0; of tanh sigma_b^2 = .013 and the edge there; of phi_theta
    sigma_w = 1, sigma_b = 0 and the Weibull law of theta; of others sigma_b = 0 and the edge there, or, where
    variances grow without bound on it (gelu, silu), the sigma_w that keeps a variance of 1. Where the law of
    weights has another sd than 1, the edge is that of sigma_w times it.

    Args:
        made: the activation.
        sigma_w, sigma_b, weight: as given; None where not.
        seed: of the draws that tell the sd of a law of one's own.

    Returns:
        All of it, with a note for each choice.

    Raises:
        ValueError: if sigma_w was not given and there is no edge, or an argument cannot be used.

    Reference:
        Wolinski & Arbel (2025), TMLR, arXiv:2205.12379.
    """
    for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if value is not None and ((number := finite(value)) is None or number < 0):
            raise ValueError(f"{name} must be a finite number of at least 0; got {value!r}")
    notes: list[str] = []
    pair = made.function if isinstance(made.function, GaussianPreserving) else None
    if weight is None:
        weight = "normal" if pair is None else ("weibull", pair.theta)
        if pair is not None:
            notes.append(
                f"weight is weibull with theta {pair.theta:g}, as {made.name} asks for: none was given"
            )
    law = weight_law(weight)
    sd = _sd(law, seed, notes)
    if sigma_b is None:
        sigma_b = _TANH_SIGMA_B if made.name == "tanh" else 0.0
        paper = ", sqrt(.013) as in Wolinski & Arbel (2025)" if sigma_b else ""
        notes.append(f"sigma_b is {sigma_b:.4g}{paper}: none was given")
    if sigma_w is None:
        sigma_w, why = _sigma_w(made, sigma_b, sd, kept=pair is not None)
        notes.append(f"sigma_w is {sigma_w:.6g}, {why}: none was given")
    return Setting(sigma_w=sigma_w, sigma_b=sigma_b, law=law, weight_sd=sd, notes=tuple(notes))


def _sigma_w(made: Activation, sigma_b: float, sd: float, *, kept: bool) -> tuple[float, str]:
    """What sigma_w is without one, and why."""
    if kept:
        return 1.0, f"as {made.name} asks for"
    if made.name == "relu":  # with biases the variance grows without bound, and there is no edge to be on
        return math.sqrt(2) / sd, "where chi_1 = sigma_w^2 / 2 is 1" if sd == 1 else "where chi_1 is 1"
    edge = edge_of_chaos(made, sigma_b=sigma_b)
    if math.isnan(edge.sigma_w):
        raise ValueError(
            f"sigma_w must be given: {made.name} has no edge of chaos at sigma_b {sigma_b:.4g}, "
            f"{edge.reason or 'where it would be'}"
        )
    if not math.isfinite(phase(made, sigma_w=edge.sigma_w, sigma_b=sigma_b).fixed_point) and sigma_b < 1:
        return _keeping(made, sigma_b) / sd, (
            f"which keeps a variance of 1 in wide layers, as on the edge of chaos, at {edge.sigma_w:.6g}, "
            "variances grow without bound"
        )
    special = f" ({edge.reason})" if edge.reason else ""
    return edge.sigma_w / sd, f"on the edge of chaos at sigma_b {sigma_b:.4g}{special}"


def _keeping(made: Activation, sigma_b: float) -> float:
    """The sigma_w for which variance 1 is a fixed point: `sigma_w^2 E[phi(Z)^2] + sigma_b^2 = 1`."""
    _, second_moment = variance_map(made, sigma_w=1.0, sigma_b=0.0, depth=2, variance=1.0)
    return math.sqrt((1 - sigma_b**2) / second_moment)


def _sd(law: WeightLaw, seed: int, notes: list[str]) -> float:
    """Root mean square of a law of weights, estimated where it is not known."""
    if law.sd is not None:
        return law.sd
    drawn = law.draw((_DRAWS,), torch.Generator().manual_seed(seed)).to(torch.float64)
    found = float(drawn.square().mean().sqrt())
    notes.append(f"the sd of {law.name}, {found:.4g}, is that of {_DRAWS:,} draws")
    return found
