"""Outputs of modules as places of a model: what they are called, and passes that read or change them."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import nn

from gaussprobe import borrow, models, passes
from gaussprobe import capture as captures
from gaussprobe.capture.layout import Axes, LayoutMemory, module_unit_dim, read_axes
from gaussprobe.capture.paths import own_modules
from gaussprobe.errors import CaptureError, DataError, GaussprobeWarning, SelectionError, UnsupportedError
from gaussprobe.measured import OUTPUT
from gaussprobe.models.batches import leaves, map_tensors
from gaussprobe.stats.streaming.hashing import hash_words
from gaussprobe.types import Site

# Told of the output of a module by the name of its site; what it returns, if anything, takes its place.
See: TypeAlias = "Callable[[str, nn.Module, torch.Tensor], torch.Tensor | None]"

# Numbers of an example that are read at a site.
MOST_NUMBERS = 4096


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a model is called with for one batch.

    Args:
        args, kwargs: of its `forward`.
        n_examples: in the batch.
        dim: the dimension they run along in the model's input.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    n_examples: int
    dim: int


def call_of(module: nn.Module, batch: Any) -> Call:
    """How a model is called with a batch, on the device it is on.

    Args:
        module: the model.
        batch: one of those that `gaussprobe.scan` takes.

    Raises:
        DataError: if the batch does not fit, or its examples cannot be counted.
    """
    batch, _ = models.split_groups(batch)
    args, kwargs, _ = models.call_arguments(module, models.to_device(batch, borrow.device_of(module)))
    counted = passes.count_examples(module, args, kwargs)
    if counted is None:
        raise DataError("a batch holds no tensor with a first dimension to count examples by")
    return Call(args=args, kwargs=kwargs, n_examples=counted[0], dim=counted[1])


def copied(call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that the model may overwrite: a nonlinearity in place may come first in it."""
    args = tuple(map_tensors(_clone, value) for value in call.args)
    return args, {name: map_tensors(_clone, value) for name, value in call.kwargs.items()}


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone()


def sites(module: nn.Module, batch: Any) -> list[Site]:
    """Sites that a batch passes, with their kinds, in execution order.

    Args:
        module: an eager model, left as it was found.
        batch: one of those that `gaussprobe.scan` takes.

    Raises:
        UnsupportedError: for a compiled program, whose modules are not there to be hooked.
        CaptureError: if no site is passed.
        ForwardError: if the model's forward raises.
    """
    # Of what passes, names and kinds alone are wanted.
    capture = captures.of(module, plan=captures.Plan(max_samples=1, max_units=1))
    if not isinstance(capture, captures.Capture):
        raise UnsupportedError(
            f"{type(module).__name__} is a compiled program: outputs inside it can be read, not changed\n"
            "give the eager model it was made from"
        )
    inputs = models.Inputs(batches=[map_tensors(_clone, batch)], n_examples=None)
    with ordinary_attention():
        passes.run(capture, module, inputs, "eval", passes.silent, models.Groups(None))
    if not capture.sites:
        raise CaptureError(passes.nothing_captured(module, capture.not_captured()))
    return [replace(capture.sites[each.site].site, kinds=each.kind) for each in capture.records()]


def is_output(site: Site) -> bool:
    """Whether a site is the output of a module, which a hook can change."""
    return site.function is None and not site.is_input


def matched(
    argument: str, patterns: Sequence[str], found: Sequence[Site], *, besides: Collection[str] = ()
) -> list[Site]:
    """Outputs of modules that patterns match, in execution order; of other sites it warns.

    Args:
        argument: that the patterns came by.
        patterns: shell-style, of site names.
        found: sites of the model, in execution order.
        besides: further names that a pattern may be for.

    Raises:
        SelectionError: if a pattern matches nothing, or is the name of a site that is no output of a module.
    """
    hit: dict[str, Site] = {}
    for pattern in patterns:
        hits = {site.name: site for site in found if fnmatchcase(site.name, pattern)}
        if not hits and not any(fnmatchcase(name, pattern) for name in besides):
            raise SelectionError(_no_match(argument, pattern, [site.name for site in found]))
        if pattern in hits and not is_output(hits[pattern]):
            raise SelectionError(f"{argument} {pattern!r} must be the output of a module; it is not")
        hit |= hits
    skipped = [name for name, site in hit.items() if not is_output(site)]
    if skipped:
        warnings.warn(
            f"{argument}: not the output of a module, skipped: {', '.join(skipped)}",
            GaussprobeWarning,
            stacklevel=4,
        )
    return [site for site in found if site.name in hit and is_output(site)]


def _no_match(argument: str, pattern: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(pattern.strip("*?"), names, n=3, cutoff=0.5) or names[:12]
    more = ", ..." if len(near) < len(names) else ""
    return f"{argument} {pattern!r} matches none of {len(names)} sites\nsome are: {', '.join(near)}{more}"


def forward(module: nn.Module, call: Call, paths: Collection[str], see: See) -> Any:
    """What a model in evaluation mode gives, `see` told of the outputs of some modules as they pass.

    Whatever the model draws is the same in every pass; the model and the generators are as before afterwards.

    Args:
        module: the model.
        call: what it is called with, which is not overwritten.
        paths: of the modules.
        see: see above; it must not keep a tensor that it is shown, which may be overwritten in place.
    """
    args, kwargs = copied(call)
    with ExitStack() as stack:
        for context in (
            borrow.as_found(module),
            borrow.isolated_rng(0, borrow.cuda_devices(module, borrow.device_of(module))),
            borrow.eagerly(),
            ordinary_attention(),
            torch.no_grad(),
        ):
            stack.enter_context(context)
        calls: Counter[str] = Counter()
        # Of a wrapper and the module in it, which have one path, the latter comes last.
        for path, inner in dict(own_modules(module)).items():
            if path in paths:
                stack.callback(inner.register_forward_hook(_hook(path, calls, see)).remove)
        module.eval()
        return module(*args, **kwargs)


def _hook(path: str, calls: Counter[str], see: See) -> Callable[..., torch.Tensor | None]:
    def hook(module: nn.Module, _args: Any, output: Any) -> torch.Tensor | None:
        if not isinstance(output, torch.Tensor):
            return None
        calls[path] += 1
        return see(Site(path=path, call=calls[path]).name, module, output)

    return hook


@contextmanager
def ordinary_attention() -> Iterator[None]:
    """Encoder layers call their children inside, hooked or not, and on padded tensors.

    Fused, they would pass hooks by, and the nested tensors they make of padded ones have no rows to read.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


# -- tensors by example


def examples_first(
    tensor: torch.Tensor, n_examples: int, dim: int, module: nn.Module | None = None
) -> torch.Tensor | None:
    """A view of a tensor with the examples as its first of two or more dimensions.

    Args:
        tensor: what passes.
        n_examples: in the batch.
        dim: the dimension they run along in the model's input.
        module: whose output it is, None where that is not known.

    Returns:
        The view; None for tensors that are not of dense floats, or have no rows that belong to the examples.
    """
    if (
        tensor.is_nested
        or tensor.layout is not torch.strided
        or not tensor.is_floating_point()
        or not tensor.ndim
    ):
        return None
    unit_dim = None if module is None else module_unit_dim(module, tensor)
    if unit_dim is None:
        unit_dim = LayoutMemory().recall(tensor.shape)
    axes: Axes = read_axes(tensor.shape, unit_dim, n_examples, dim)
    if axes.examples == "unknown":
        return None
    return tensor.view(axes.shape).movedim(axes.example_dim, 0)


def numbers(parts: Sequence[torch.Tensor]) -> int:
    """Of one example in all of several tensors, examples first."""
    return sum(part.shape[1:].numel() for part in parts)


def taken(parts: Sequence[torch.Tensor], rows: int, index: torch.Tensor | None) -> torch.Tensor:
    """A copy of numbers of the first examples.

    Args:
        parts: tensors, examples first.
        rows: how many examples.
        index: `(k,)` which numbers of an example, counted through all parts, rising; None for all.

    Returns:
        `(rows, k)`, in double precision where the device has it.
    """
    found, start = [], 0
    for part in parts:
        size = part.shape[1:].numel()
        if index is None:
            values = part[:rows].flatten(1)
        else:
            own = index[(index >= start) & (index < start + size)].to(part.device) - start
            # Read by coordinates: flattened, a tensor of another memory format would be copied whole.
            where: Any = torch.unravel_index(own, part.shape[1:])
            values = part[:rows][(slice(None), *where)]
        found.append(values.to(precise(part)))
        start += size
    return torch.cat([each.to(found[0].device) for each in found], 1)  # a copy, of one tensor too


def precise(tensor: torch.Tensor) -> torch.dtype:
    """Double precision, where the device of a tensor has it."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


@dataclass(kw_only=True)
class Reader:
    """Numbers of the first examples of a batch, the same ones of a site in every pass.

    Args:
        call: the batch.
        rows: how many of its examples are read.
        seed: of which numbers are read.

    Attributes:
        notes: what was not read.
    """

    call: Call
    rows: int
    seed: int
    notes: list[str] = field(default_factory=list)
    _index: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict)

    def view(self, tensor: torch.Tensor, module: nn.Module | None = None) -> torch.Tensor | None:
        """Of all examples, see `examples_first`."""
        return examples_first(tensor, self.call.n_examples, self.call.dim, module)

    def site(self, name: str, module: nn.Module, tensor: torch.Tensor) -> torch.Tensor | None:
        """`(rows, numbers)` of the output of a module, None where it has no row to each example."""
        view = self.view(tensor, module)
        return None if view is None else self._take(name, [view])

    def output(self, output: Any) -> torch.Tensor | None:
        """The same of what the model returned."""
        floating = [leaf for leaf in leaves(output) if leaf.is_floating_point()]
        parts = [part for part in map(self.view, floating) if part is not None]
        if parts and len(parts) < len(floating):
            count = len(floating) - len(parts)
            self.notes.append(f"{OUTPUT}: {count} tensors have no row to each example, and are not read")
        return self._take(OUTPUT, parts) if parts else None

    def _take(self, name: str, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return taken(parts, self.rows, self._which(name, numbers(parts)))

    def _which(self, name: str, numbers: int) -> torch.Tensor | None:
        if numbers <= MOST_NUMBERS:
            return None
        if (name, numbers) not in self._index:
            generator = torch.Generator().manual_seed(seed_of(self.seed, name, 2, numbers))
            drawn = torch.randperm(numbers, generator=generator)[:MOST_NUMBERS]
            self._index[name, numbers] = drawn.sort().values
        return self._index[name, numbers]


def seed_of(seed: int, name: str, *words: int) -> int:
    """Of a generator of its own for what is named."""
    return int(hash_words(seed, *words, *name.encode())[0]) >> 1
