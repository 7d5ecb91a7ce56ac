"""Many random networks at once: forward passes in chunks, of which only what is asked for is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from gaussprobe.signal import correlations
from gaussprobe.signal.networks import Networks
from gaussprobe.signal.weights import NORMAL
from gaussprobe.stats import workers

# float32 values of a chunk: its weights stay in a core's cache from their draw to their use; a GPU wants
# more. Neither depends on the machine, nor do the numbers drawn.
_CHUNK_CPU = 2**18
_CHUNK_CUDA = 2**26

# Networks of a chunk: those of width 1 take next to nothing, and there should be work for every core.
_MOST = 2**13

# float32 values between two reports: less than a second of work, after which it can be interrupted.
_ROUND = 2**26


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Networks that one generator draws.

    Args:
        index: of the chunk.
        first, stop: of its networks.
    """

    index: int
    first: int
    stop: int

    @property
    def count(self) -> int:
        """Networks."""
        return self.stop - self.first


def chunks(networks: Networks, draws: int) -> list[Chunk]:
    """All draws, cut as the widths, the input and the kind of device have it."""
    room = _CHUNK_CPU if networks.device.type == "cpu" else _CHUNK_CUDA
    step = min(max(1, room // networks.values_per_network), _MOST)
    starts = range(0, draws, step)
    return [Chunk(index=i, first=start, stop=min(start + step, draws)) for i, start in enumerate(starts)]


def rounds(networks: Networks, draws: int) -> list[list[Chunk]]:
    """The chunks, in parts after which progress is told."""
    every = chunks(networks, draws)
    values = every[0].count * networks.values_per_network * len(networks.widths)
    step = max(1, _ROUND // values)
    return [every[i : i + step] for i in range(0, len(every), step)]


def generator(networks: Networks, chunk: Chunk) -> torch.Generator:
    """Seeded from the seed and the index of the chunk.

    torch's generator of the CPU takes 32 bits of a seed; chunks count on from a hash of the user's, so that
    no two of a call have the same.
    """
    start = int(np.random.SeedSequence(networks.seed).generate_state(1)[0])
    return torch.Generator(networks.device).manual_seed((start + chunk.index) % 2**32)


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What is kept of some networks.

    Args:
        firsts: first pre-activation of every layer, to the first input, `(layers, networks)` float32.
        products: of two inputs, `(layers, groups, terms)` as `gaussprobe.signal.correlations` has them; None
            for one.
    """

    firsts: torch.Tensor
    products: torch.Tensor | None


def walk(networks: Networks, chunk: Chunk) -> Readings:
    """Draw the networks of a chunk, layer by layer, and run them.

    Of each layer all weights are drawn first, then all biases, which are not where sigma_b is 0.
    """
    source = generator(networks, chunk)
    firsts, products = [], []
    signal = networks.inputs
    for layer, (width, fan) in enumerate(zip(networks.widths, networks.fans, strict=True)):
        law = networks.weight if layer else NORMAL
        weights = law.draw((chunk.count, width, fan), source)
        biases = NORMAL.draw((chunk.count, width), source) if networks.sigma_b else None
        z = preactivations(networks, signal, weights, biases)
        # Read first: an activation may write over what it is given.
        read = centre(z)
        firsts.append(read[:, 0, 0].clone())
        if networks.n_inputs == 2:
            products.append(correlations.products(read, chunk.first))
        if layer + 1 < len(networks.widths):
            signal = networks.activation(z).to(torch.float32)
    return Readings(firsts=torch.stack(firsts), products=torch.stack(products) if products else None)


def preactivations(
    networks: Networks, signal: torch.Tensor, weights: torch.Tensor, biases: torch.Tensor | None
) -> torch.Tensor:
    """`sigma_w W a / sqrt(fan-in) + sigma_b b`, `(networks, width, inputs, height, width)`.

    Args:
        networks: their law.
        signal: a, `(networks, channels, inputs, height, width)`, or without the first dimension if all
            networks have the same.
        weights: W, `(networks, width, fan-in)`, fan-in channels by rows by columns of the kernel.
        biases: b, `(networks, width)`; None for none.
    """
    count, width, fan = weights.shape
    terms = patches(signal, networks.kernel_size)
    if terms.ndim == 2:
        z = torch.mm(weights.reshape(count * width, fan), terms).view(count, width, -1)
    else:
        z = torch.bmm(weights, terms)
    z.mul_(networks.sigma_w / math.sqrt(fan))
    if biases is not None:
        z.add_(biases[:, :, None], alpha=networks.sigma_b)
    return z.view(count, width, *signal.shape[-3:])


def patches(signal: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """What each position's pre-activations are sums of, `(.., fan-in, inputs * height * width)`.

    Zeros lie around the edges.
    """
    *lead, channels, inputs, height, width = signal.shape
    if kernel_size == 1:
        return signal.reshape(*lead, channels, -1)
    around = kernel_size // 2
    padded = F.pad(signal, (around,) * 4)
    windows = padded.unfold(-2, kernel_size, 1).unfold(-2, kernel_size, 1)
    # Rows and columns of the kernel, the last two, go with the channels.
    order = (*range(len(lead) + 1), -2, -1, -5, -4, -3)
    return windows.permute(order).reshape(*lead, channels * kernel_size**2, inputs * height * width)


def centre(z: torch.Tensor) -> torch.Tensor:
    """Pre-activations at the middle position, `(networks, width, inputs)`."""
    return z[..., z.shape[-2] // 2, z.shape[-1] // 2]


def run(networks: Networks, part: Sequence[Chunk]) -> list[Readings]:
    """`walk` of some chunks, on threads."""
    return workers.each(lambda chunk: walk(networks, chunk), part, networks.device)
