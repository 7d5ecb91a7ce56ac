"""How far noise that is added at the output of one layer carries to later ones."""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from torch import nn

from gaussprobe import passes
from gaussprobe.errors import (
    CaptureError,
    ForwardError,
    GaussprobeError,
    GaussprobeWarning,
    SelectionError,
    first_line,
)
from gaussprobe.measured import OUTPUT, Carried
from gaussprobe.measures import opened, places
from gaussprobe.types import Site, is_headline

_UNUSABLE = "a norm of 0, or values that are not finite"
_UNREAD = "not reached in every pass, or without a row of floats to each example"


def noise_robustness(
    model: nn.Module,
    batches: Any,
    *,
    level: float = 0.3,
    at: str | Sequence[str] | None = None,
    sites: str | Sequence[str] | None = None,
    draws: int = 4,
    max_examples: int = 128,
    seed: int = 0,
) -> tuple[Carried, ...]:
    """Relative change of later layers when Gaussian noise is added at the output of one.

    At a site with output x of an example, of D numbers, `eta ~ N(0, level^2 |x|^2 / D I)` is added. Where the
    example gives y at a later site, and y' with the noise, the change is `sqrt(mean |y' - y|^2 / |y|^2)`,
    over examples and draws. For a linear map W in between its expected square is
    `level^2 mean(|x|^2 |W|_F^2 / (D |W x|^2))`; where no path leads from one site to the other it is 0.

    The model runs in evaluation mode without gradients, `draws` times for each site in `at`, and is left as
    it was found. What it draws itself is the same in every pass. The noise at a site depends on the seed, its
    name and the batches alone, so that models with sites of one name and shape get the same directions. Of a
    site, and of the output, 4,096 numbers of each example are compared, random ones but the same in all
    passes, or all where there are no more. Padded positions count as any other.

    Args:
        model: an eager module.
        batches: as `gaussprobe.scan` takes them.
        level: norm of the noise over that of x, expected in the square; positive.
        at: shell-style patterns of the sites where noise is added, which must be outputs of modules; None for
            all normalization layers, or all linear layers and convolutions where there is none.
        sites: patterns of the sites where the change is read, outputs of modules too, and `"output"`, all
            floating tensors of what the model returns as one vector; None for that and all headline sites.
        draws: of the noise, for each example.
        max_examples: that are used, the first ones.
        seed: of the noise, and of the numbers compared.

    Returns:
        One record for each site in `at` and each wanted one that runs after it, in execution order, the
        output last. Examples whose x or y has norm 0, or with values that are not finite, are left out with a
        warning; the change is NaN where that leaves none.

    Raises:
        ValueError: for an argument out of its range, or without batches.
        DataError: if the data cannot be had.
        SelectionError: if a pattern matches no site, or names one that is not the output of a module.
        CaptureError: if there is no site to add noise at.
        UnsupportedError: for a compiled program.
        ForwardError: if the model's forward raises.

    Reference:
        Arora, Ge, Neyshabur & Zhang (2018), Stronger Generalization Bounds for Deep Nets via a Compression
        Approach, ICML, arXiv:1802.05296, for the noise sensitivity at one input, of whose mean over inputs
        this is the root (theirs of a set of inputs is the largest);
        Eftekhari & Papyan (2025), arXiv:2505.00685, table 4.
    """
    _check(model, level, draws, max_examples, seed)
    wanted = {"at": _patterns("at", at), "sites": _patterns("sites", sites)}
    with opened.opened(model, batches, batch_size=None, seed=seed) as found:
        walk = iter(found.inputs.batches)
        first = next(walk)
        routes = _routes(places.sites(model, first), wanted["at"], wanted["sites"])
        study = _Study(model=model, routes=routes, level=level, draws=draws, seed=seed)
        for batch in chain([first], walk):
            call = places.call_of(model, batch)
            study.update(call, min(call.n_examples, max_examples - study.n_examples))
            if study.n_examples == max_examples:
                break
    for message in study.messages():
        warnings.warn(message, GaussprobeWarning, stacklevel=2)
    return study.compute()


def _check(model: Any, level: Any, draws: Any, max_examples: Any, seed: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < math.inf:
        raise ValueError(f"level must be a positive number; got {level!r}")
    opened.check_integers(draws=(draws, 1), max_examples=(max_examples, 1), seed=(seed, 0))


def _patterns(name: str, given: Any) -> list[str] | None:
    several = isinstance(given, Iterable) and not isinstance(given, str)
    if given is not None and not all(isinstance(each, str) for each in (given if several else [given])):
        raise ValueError(f"{name} must be patterns of site names, or None; got {given!r}")
    return passes.patterns(given)


# -- which sites


@dataclass(frozen=True, kw_only=True)
class _Route:
    """Where noise is added, and where the change is read, in execution order."""

    at: Site
    later: tuple[Site, ...]
    output: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Of what is read."""
        return (*(site.name for site in self.later), *([OUTPUT] if self.output else []))

    @property
    def paths(self) -> set[str]:
        """Of the modules to be hooked."""
        return {site.path for site in (self.at, *self.later)}


def _routes(found: Sequence[Site], at: list[str] | None, wanted: list[str] | None) -> list[_Route]:
    starts = _default(found) if at is None else places.matched("at", at, found)
    if not starts:
        raise SelectionError(f"at {', '.join(at or ())!r} matches no output of a module")
    if wanted is None:
        ends = [site for site in found if places.is_output(site) and is_headline(site.kinds)]
    else:
        ends = places.matched("sites", wanted, found, besides=[OUTPUT])
    output = wanted is None or any(fnmatchcase(OUTPUT, pattern) for pattern in wanted)
    if output and any(site.name == OUTPUT for site in ends):
        warnings.warn(
            f"{OUTPUT!r} is the model's own output here: the module of that name is not read",
            GaussprobeWarning,
            stacklevel=3,
        )
        ends = [site for site in ends if site.name != OUTPUT]
    order = {site.name: number for number, site in enumerate(found)}
    routes = []
    for start in starts:
        later = tuple(site for site in ends if order[site.name] > order[start.name])
        if not later and not output:
            message = f"at {start.name!r}: none of the sites to be read runs after it"
            warnings.warn(message, GaussprobeWarning, stacklevel=3)
            continue
        routes.append(_Route(at=start, later=later, output=output))
    return routes


def _default(found: Sequence[Site]) -> list[Site]:
    outputs = [site for site in found if places.is_output(site)]
    for kind in ("norm", "affine"):
        starts = [site for site in outputs if kind in site.kinds]
        if starts:
            return starts
    raise CaptureError("the model calls no module that normalizes, and no linear layer or convolution")


# -- passes


@dataclass(kw_only=True)
class _Study:
    """Changes over batches: `update` with each, then `compute`."""

    model: nn.Module
    routes: list[_Route]
    level: float
    draws: int
    seed: int
    n_examples: int = 0
    totals: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: dict[str, None] = field(default_factory=dict)

    def update(self, call: places.Call, rows: int) -> None:
        """Add the first examples of a batch, all of which pass."""
        reader = places.Reader(call=call, rows=rows, seed=self.seed)
        clean = _clean_pass(self.model, reader, self.routes)
        left_out: dict[tuple[str, str], torch.Tensor] = {}
        for route in self.routes:
            for draw in range(self.draws):
                seed = places.seed_of(self.seed, route.at.name, 1, self.n_examples, draw)
                noisy = _NoisyPass(route=route, reader=reader, clean=clean, level=self.level, seed=seed)
                noisy.run(self.model)
                for name, change in noisy.changes.items():
                    known = ~change.isnan()
                    self.totals[route.at.name, name] += float(change[known].sum())
                    self.counts[route.at.name, name] += int(known.sum())
                for key, rows_lost in noisy.lost.items():
                    left_out[key] = left_out.get(key, rows_lost) | rows_lost
        self.lost.update({key: int(rows_lost.sum()) for key, rows_lost in left_out.items()})
        self.notes |= dict.fromkeys(reader.notes)
        self.n_examples += rows

    def messages(self) -> Iterator[str]:
        """What was left out, and why."""
        for (name, reason), count in self.lost.items():
            if count:
                yield f"{name}: {count} of {self.n_examples} examples left out: {reason}"
        yield from self.notes

    def compute(self) -> tuple[Carried, ...]:
        """The changes."""
        return tuple(
            Carried(
                at=route.at.name,
                site=name,
                change=math.sqrt(self.totals[pair] / self.counts[pair]) if self.counts[pair] else math.nan,
            )
            for route in self.routes
            for name in route.names
            for pair in [(route.at.name, name)]
        )


def _clean_pass(model: nn.Module, reader: places.Reader, routes: Sequence[_Route]) -> dict[str, torch.Tensor]:
    """What is kept of every site that is read, without noise."""
    kept: dict[str, torch.Tensor | None] = {}
    names = {name for route in routes for name in route.names}

    def see(name: str, module: nn.Module, tensor: torch.Tensor) -> None:
        if name in names:
            kept[name] = reader.site(name, module, tensor)

    paths = {path for route in routes for path in route.paths}
    output = _forward(model, reader.call, paths, see, "without noise")
    if OUTPUT in names:
        kept[OUTPUT] = reader.output(output)
    return {name: values for name, values in kept.items() if values is not None}


@dataclass(kw_only=True)
class _NoisyPass:
    """One pass with noise at one site.

    Attributes:
        changes: `(rows,)` of squared relative changes by site, NaN for examples that are left out.
        lost: `(rows,)` which examples these are, by site and reason.
    """

    route: _Route
    reader: places.Reader
    clean: dict[str, torch.Tensor]
    level: float
    seed: int
    changes: dict[str, torch.Tensor] = field(default_factory=dict)
    lost: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)
    _usable: torch.Tensor | None = field(default=None, init=False)

    def run(self, model: nn.Module) -> None:
        """Run it."""
        start = self.route.at.name
        output = _forward(model, self.reader.call, self.route.paths, self._see, f"with noise at {start!r}")
        if OUTPUT in self.route.names:
            self._compare(OUTPUT, self.reader.output(output))
        nothing = torch.full((self.reader.rows,), math.nan, dtype=torch.float64)
        everything = torch.ones(self.reader.rows, dtype=torch.bool)
        usable = self._usable
        if usable is None:
            self.lost = {(start, _UNREAD): everything}
            self.changes = dict.fromkeys(self.route.names, nothing)
            return
        self.lost[start, _UNUSABLE] = ~usable
        for name in self.route.names:
            if name not in self.changes:
                self.changes[name], self.lost[name, _UNREAD] = nothing, everything
                continue
            change = self.changes[name]
            self.lost[name, _UNUSABLE] = change.isnan() & usable
            self.changes[name] = change.where(usable, math.nan)

    def _see(self, name: str, module: nn.Module, tensor: torch.Tensor) -> torch.Tensor | None:
        if name == self.route.at.name:
            return self._add(module, tensor)
        if name in self.route.names:
            self._compare(name, self.reader.site(name, module, tensor))
        return None

    def _add(self, module: nn.Module, tensor: torch.Tensor) -> torch.Tensor | None:
        noisy = tensor.clone()  # whoever else holds the tensor sees it as it was
        view = self.reader.view(noisy, module)
        if view is None:
            return None
        generator = torch.Generator(view.device).manual_seed(self.seed)
        usable = add_noise(view, self.level, generator)
        self._usable = usable[: self.reader.rows].cpu()
        return noisy

    def _compare(self, name: str, found: torch.Tensor | None) -> None:
        known = self.clean.get(name)
        if known is not None and found is not None and known.shape == found.shape:
            self.changes[name] = squared_change(known, found).cpu().double()


def add_noise(x: torch.Tensor, level: float, generator: torch.Generator) -> torch.Tensor:
    """Add `eta ~ N(0, level^2 |x|^2 / D I)` to each example, in place.

    Args:
        x: `(n, ...)`, D numbers to each of n examples.
        level: norm of the noise over that of x.
        generator: on the device of x.

    Returns:
        `(n,)` bool: False for examples of norm 0, or with values that are not finite, which stay as they are.
    """
    dims = tuple(range(1, x.ndim))
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=places.precise(x))
    usable: torch.Tensor = norm.isfinite() & (norm > 0)
    scale = (level * norm / math.sqrt(max(x.shape[1:].numel(), 1))).where(usable, 0.0)
    # Half precision would round the noise before it is added.
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=dtype)
    x += noise.mul_(scale)
    return usable.flatten()


def squared_change(clean: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    """`|y' - y|^2 / |y|^2` of each row.

    Args:
        clean, noisy: `(n, k)`, y and y'.

    Returns:
        `(n,)`, NaN where y has norm 0 or either has values that are not finite.
    """
    apart = noisy - clean
    change: torch.Tensor = torch.linalg.vecdot(apart, apart) / torch.linalg.vecdot(clean, clean)
    return torch.where(change.isfinite(), change, math.nan)


def _forward(model: nn.Module, call: places.Call, paths: set[str], see: places.See, how: str) -> Any:
    try:
        return places.forward(model, call, paths, see)
    except GaussprobeError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise ForwardError(f"the model's forward failed {how}\n{said}") from error
