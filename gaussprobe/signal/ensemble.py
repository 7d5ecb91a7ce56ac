"""Laws of the units of any model over random initializations, at one input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from gaussprobe import initializations, passes, scores
from gaussprobe.initializations.networks import Build
from gaussprobe.types import Kind, Mode, Run


def ensemble(
    build: Build,
    x: Any,
    *,
    draws: int = 1000,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    kind: Kind | Sequence[Kind] | None = None,
    seed: int = 0,
    max_units: int = 4096,
    mode: Mode = "eval",
    deep: bool | Literal["logits"] = False,
    device: str | None = None,
    progress: passes.Progress | None = None,
) -> Run:
    """Score how Gaussian each unit is over random initializations of a network, at one input.

    `z_j(k)`, k = 1, ..., draws, is what unit j of a site is in the k-th network, run on `x`; where a site has
    positions (pixels, tokens), at the middle one, in every network the same. Networks are independent, so the
    rows of a site are, and p-values mean what they say.

    Null hypothesis: of each test, that `z_j` is normal with unknown mean and variance.

    Args:
        build: makes a network when called without arguments, or `"pkg.mod:fn"` that names such a function.
            It is called `draws` times, with the generators of torch, NumPy and Python seeded anew each time,
            and must draw all weights from those; their state is as before afterwards.
        x: a batch of one example: a tensor, a dict of keyword arguments, or a tuple or list of positional
            ones. Each network has a copy of its own.
        draws: networks, at least 8.
        include: shell-style patterns of site names to score, None for all.
        exclude: patterns of site names to leave out.
        kind: keep only sites of these kinds, None for all.
        seed: of all networks; `gaussprobe.initializations.draw_seed(seed, k)` is that of network k, from 0.
        max_units: units per site that are scored; random ones, noted, where there are more.
        mode: `"eval"`, or `"train"`, in which layers that normalize by the batch see one example.
        deep: look inside attention and recurrent layers, as `scan` does.
        device: where to run, None for where the networks are built.
        progress: told of how the work goes on.

    Returns:
        The run: scores of view `"init"` in execution order, pictures, what was not captured and why,
            warnings.

    Raises:
        ValueError: for an argument out of its range, or more than one example in `x`.
        FactoryError: if a network cannot be built, naming the draw; or if the second network has the weights
            of the first.
        DataError: if `x` does not fit the network's `forward`.
        ForwardError: if a network's forward raises, naming the draw.
        SelectionError: if `include`, `exclude` or `kind` leave nothing.
        CaptureError: if the networks have no site that fires.

    Reference:
        Wolinski & Arbel (2025), TMLR, arXiv:2205.12379, for the question, asked there of fully connected
        networks.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < scores.MIN_SAMPLES:
        raise ValueError(f"draws must be an integer of at least {scores.MIN_SAMPLES}; got {draws!r}")
    settings = initializations.Settings(
        draws=draws,
        seed=seed,
        max_units=max_units,
        include=include,
        exclude=exclude,
        kinds=passes.check_options(deep, seed, kind, mode, max_units),
        mode=mode,
        deep=deep,
        device=device,
        report=progress or passes.silent,
    )
    return initializations.run(build, lambda module: initializations.one_example(x, module), settings)
