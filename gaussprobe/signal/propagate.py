"""Laws of pre-activations over draws of all weights, layer by layer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from gaussprobe.errors import ConstantSampleWarning, GaussprobeWarning, NonFiniteSampleWarning
from gaussprobe.passes import Progress, silent
from gaussprobe.propagated import LayerLaw, Propagation
from gaussprobe.signal import laws
from gaussprobe.signal.activations import Activation, Function
from gaussprobe.signal.arguments import finite
from gaussprobe.signal.correlations import correlations
from gaussprobe.signal.networks import Input, Networks, networks
from gaussprobe.signal.walk import Readings, rounds, run
from gaussprobe.signal.weights import Sampler, WeightLaw
from gaussprobe.stats import critical


def propagate(
    activation: str | Function | Activation,
    *,
    widths: Sequence[int],
    draws: int = 10_000,
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    weight: str | tuple[str, float] | Sampler | WeightLaw = "normal",
    seed: int = 0,
    x: Input = None,
    kernel_size: int | None = None,
    device: str | torch.device | None = None,
    level: float = 0.05,
    progress: Progress | None = None,
) -> Propagation:
    """Law of the first pre-activation of every layer over independent draws of the whole network.

    `z^1 = sigma_w W^1 x / sqrt(fan-in) + sigma_b b^1`,
    `z^(l+1) = sigma_w W^(l+1) phi(z^l) / sqrt(fan-in) + sigma_b b^(l+1)`; biases b are from N(0, 1), so are
    the weights W^1 of the first layer, and with it its pre-activations are exactly normal; later weights are
    from `weight`. Each of `draws` networks is drawn and run in float32, in which numbers below 1e-38 lose
    digits and end as 0, and those above 3e38 are infinite; what is kept of it is the first unit of every
    layer.

    Null hypothesis: the first pre-activation of the layer is N(0, 1) over draws of the weights, for
    `ks_distance` and its `pvalue`; normal with any mean and variance, for `fitted_ks_distance` and every
    other test. Layers are measured on the same networks: their p-values depend on each other, and are not
    adjusted for the number of layers.

    Args:
        activation: phi, as `gaussprobe.signal.activation` takes it; called on several threads at once.
        widths: outputs of each layer, one weight matrix each, the input excluded; channels with a
            `kernel_size`.
        draws: networks, at least 8. Their first pre-activations are kept, 4 bytes to each and layer.
        sigma_w: standard deviation of weights of unit variance, before the division by the root of fan-in.
        sigma_b: standard deviation of biases.
        weight: law of weights after the first layer: `"normal"`, `"uniform"` on +-sqrt 3, or
            `("weibull", theta)`, symmetric with `P(|W| > t) = exp(-t^theta)`, of scale 1 and not of unit
            variance; or a function of a shape and a `torch.Generator` that gives a tensor.
        seed: of the draws, at least 0 and below 2**63. Results depend on it and on the kind of device, not
            on the number of threads.
        x: input: None for the number 1; a number, `(d,)`, or two inputs `(2, d)`. With a `kernel_size`
            `(C, H, W)`, or `(2, C, H, W)`. Of two, the laws are those of the first.
        kernel_size: k, odd, for convolutions of k x k whose zero padding keeps the size; fan-in is channels
            times k^2 everywhere. The pre-activation read is that of the first channel at position
            (H // 2, W // 2): fewer terms reach positions near the border. None for dense layers.
        device: of the work; None for the CPU.
        level: of `critical_distance` and `fitted_critical_distance`.
        progress: called with what is being done, networks done, and `draws`.

    Returns:
        A sequence of laws by layer. A layer that is constant or not finite has NaN, a reason, and a warning
        names the first.

    Raises:
        ValueError: naming an argument that cannot be used.
        FactoryError: if an activation `pkg.mod:fn` cannot be had.

    Reference:
        Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
        arXiv:2205.12379, section 2.
    """
    share = finite(level)
    if share is None or not 0 < share < 1:
        raise ValueError(f"level must be a number between 0 and 1; got {level!r}")
    asked = networks(
        activation,
        widths=widths,
        draws=draws,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        weight=weight,
        seed=seed,
        x=x,
        kernel_size=kernel_size,
        device=device,
    )
    kept = _walked(asked, draws, silent if progress is None else progress)
    found = laws.measure(kept.firsts, asked.widths)
    told = _warnings(found)
    for category, message in told:
        warnings.warn(message, category, stacklevel=2)
    return Propagation(
        activation=asked.activation.name,
        weight=asked.weight.name,
        widths=asked.widths,
        kernel_size=asked.kernel_size if asked.is_image else None,
        draws=int(draws),
        sigma_w=asked.sigma_w,
        sigma_b=asked.sigma_b,
        seed=asked.seed,
        input_shape=asked.input_shape,
        device=str(asked.device),
        layers=found,
        correlations=() if kept.products is None else correlations(kept.products, draws),
        level=share,
        critical_distance=critical.ks_distance(share, draws),
        fitted_critical_distance=critical.fitted_ks_distance(share, draws),
        warnings=tuple(message for _, message in told),
    )


def _walked(asked: Networks, draws: int, progress: Progress) -> Readings:
    """What is kept of all networks."""
    parts: list[Readings] = []
    done = 0
    for part in rounds(asked, draws):
        progress("propagating", done, draws)
        parts += run(asked, part)
        done = part[-1].stop
    progress("propagating", done, draws)
    products = [one.products for one in parts if one.products is not None]
    return Readings(
        firsts=torch.cat([one.firsts for one in parts], dim=1),
        products=torch.stack(products).sum(dim=0) if products else None,
    )


def _warnings(found: Sequence[LayerLaw]) -> list[tuple[type[GaussprobeWarning], str]]:
    """What cannot be measured: of each kind the first layer, and how many there are."""
    groups: tuple[tuple[type[GaussprobeWarning], list[LayerLaw]], ...] = (
        (ConstantSampleWarning, [law for law in found if law.reason and not law.n_nonfinite]),
        (NonFiniteSampleWarning, [law for law in found if law.n_nonfinite]),
    )
    return [
        (
            category,
            f"propagate: layer {group[0].layer} is {group[0].reason}; {len(group)} of {len(found)} layers "
            "are affected",
        )
        for category, group in groups
        if group
    ]
