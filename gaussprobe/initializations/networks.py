"""Networks that a function builds, each from a seed of its own, and whether they are a sample at all."""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from gaussprobe.errors import FactoryError, first_line
from gaussprobe.models import factory as factories
from gaussprobe.stats.streaming.hashing import hash_words

Build: TypeAlias = "Callable[[], nn.Module] | str"

# Of each tensor of weights about this many values tell two networks apart.
_LOOKED_AT = 64
_NAMED = 6


def draw_seed(seed: int, draw: int) -> int:
    """Seed of a draw: `torch.manual_seed(draw_seed(seed, draw)); build()` makes its network again.

    Args:
        seed: of all draws.
        draw: counted from 0.

    Returns:
        A number of 63 bits. Generators on the CPU take its last 32, which no two of 2^32 draws share:
        they count on from a hash of the seed, mixed by a bijection.
    """
    start = int(hash_words(seed, 9)[0])
    high = int(hash_words(seed, 9, draw)[0]) >> 33
    return high << 32 | _mixed((start + draw) % 2**32)


def _mixed(word: int) -> int:
    """A bijection of 32 bits that leaves neighbours nothing in common: the finaliser of MurmurHash3."""
    word = (word ^ word >> 16) * 0x85EBCA6B % 2**32
    word = (word ^ word >> 13) * 0xC2B2AE35 % 2**32
    return word ^ word >> 16


class Networks:
    """Networks by a function without arguments.

    Args:
        build: the function, or `"pkg.mod:fn"`.

    Raises:
        ValueError: if `build` is neither.
        FactoryError: if `"pkg.mod:fn"` cannot be had, or is one network.
    """

    def __init__(self, build: Build) -> None:
        name = build if isinstance(build, str) else getattr(build, "__name__", "")
        self._name, self._made = "" if name == "<lambda>" else name, "build"
        if isinstance(build, str):
            found = factories.load_object(build)
            if isinstance(found, nn.Module):
                raise FactoryError(f"{build}: is one network; name the function that builds it")
            if not callable(found):
                raise FactoryError(f"{build}: {type(found).__name__} is not a function; name one that builds")
            self._function: Callable[[], Any] = found
        elif isinstance(build, nn.Module) or not callable(build):
            but = ", which is one network" if isinstance(build, nn.Module) else ""
            raise ValueError(
                "build must be a function that makes a network, or 'pkg.mod:fn'; "
                f"got {type(build).__name__}{but}"
            )
        else:
            self._function = build

    def build(self, draw: int) -> nn.Module:
        """The network of a draw, from the state that the generators have.

        Raises:
            FactoryError: naming the draw, if the function raises or returns anything else.
        """
        try:
            with factories.importable_cwd():
                made = self._function()
        except (Exception, SystemExit, GeneratorExit) as error:
            said = f"{type(error).__name__}: {first_line(error)}"
            raise FactoryError(f"{self.title}: building the network of draw {draw} failed: {said}") from error
        if not isinstance(made, nn.Module):
            raise FactoryError(
                f"{self.title}: draw {draw} returned {type(made).__name__}, not a torch.nn.Module"
            )
        self._made = type(made).__name__
        return made

    @property
    def name(self) -> str:
        """Name of the function, or of the class of what it made where it has none."""
        return self._name or self._made

    @property
    def title(self) -> str:
        """What errors call the function."""
        return self._name or "build"


class Weights:
    """What is known of the weights of the networks so far: whether they vary, and which are repeated.

    Networks that share their weights are one network, however often it is built: values of an ensemble of
    one are all alike, and a test of them would be of nothing.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._module: weakref.ref[nn.Module] | None = None
        self._first: dict[str, torch.Tensor] = {}  # of the first network, while all others have the same
        self._parameters: set[str] = set()
        self._telling: list[str] = []  # those that the second network has differently
        self._known: dict[bytes, int] = {}
        self.n_repeats = 0

    def take(self, draw: int, module: nn.Module) -> int:
        """Take the network of the next draw in.

        Returns:
            The first draw that had these weights: this one, unless they are repeated.

        Raises:
            FactoryError: if the second network has the weights of the first.
        """
        found = dict(_tensors(module))
        if draw == 0:
            self._module = weakref.ref(module)
            self._parameters = {name for name, _ in module.named_parameters()}
            self._first = {name: tensor.detach().clone() for name, tensor in found.items()}
            return 0
        changed = [name for name, before in self._first.items() if not _same(before, found.get(name))]
        if draw == 1:
            if not changed:
                raise FactoryError(self._refusal(module, bool(found)))
            self._telling = changed
            self._known[_fingerprint(self._first, changed)] = 0
        for name in changed:
            del self._first[name]
        owner = self._known.setdefault(_fingerprint(found, self._telling), draw)
        self.n_repeats += owner != draw
        return owner

    @property
    def fixed(self) -> list[str]:
        """Parameters that all networks have alike, biases and scales left out: those are often constants."""
        return [name for name, t in self._first.items() if name in self._parameters and t.ndim > 1]

    def _refusal(self, module: nn.Module, has_weights: bool) -> str:
        if not has_weights:
            return f"{self._title}: its networks have no weights: there is no initialization to draw"
        same = self._module is not None and self._module() is module
        what = "gave one and the same module twice" if same else "gave the same weights twice"
        return (
            f"{self._title}: {what}, so that its networks are no sample of initializations\n"
            "build a new network each time, without a fixed seed and without pretrained weights"
        )


def named(names: Sequence[str]) -> str:
    """Names of weights, the first few of many."""
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers that hold values."""
    for own in (module.named_parameters(), module.named_buffers()):
        for name, tensor in own:
            if not (tensor.is_meta or nn.parameter.is_lazy(tensor)):
                yield name, tensor


def _same(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    if other is None or one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    return torch.equal(one, other.detach())


def _fingerprint(tensors: Mapping[str, torch.Tensor], names: Sequence[str]) -> bytes:
    """A hash of some values, spread evenly over each tensor, to the last bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        tensor = tensors.get(name)
        if tensor is None:
            continue
        with contextlib.suppress(NotImplementedError, RuntimeError):  # sparse or quantized: the others tell
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, flat.numel() // _LOOKED_AT)].contiguous().cpu()
            digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.digest()
