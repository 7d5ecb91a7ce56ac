"""A recipe compared at several widths, depths or minibatch sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gaussprobe import passes
from gaussprobe.compare import compare
from gaussprobe.errors import StoreError
from gaussprobe.files import printable
from gaussprobe.recipes.registry import RECIPES, Recipe
from gaussprobe.sweep import Point, Sweep
from gaussprobe.trials.folder import PLAN

SWEEPS = ("width", "depth", "batch")


def sweep(
    recipe: str,
    name: str,
    *,
    values: Iterable[float] | None = None,
    seeds: Iterable[int] = range(6),
    epochs: int | None = None,
    store: str | Path | None = None,
    progress: passes.Progress | None = None,
    **options: Any,
) -> Sweep:
    """Compare the settings of a recipe at each value of one of its sizes: figures 2 to 4 of the paper.

    Args:
        recipe: a name in `RECIPES`.
        name: `"width"` (a multiple of the recipe's own), `"depth"` (layers) or `"batch"` (the minibatch size,
            the same epochs in all).
        values: distinct; None for the recipe's own.
        seeds: of each comparison.
        epochs: None for the recipe's own.
        store: folder with one comparison to a value, `<name>-<value>`, gone on with where it has any.
        progress: told of trials that ended, over all values.
        options: others of `gaussprobe.compare`.

    Returns:
        One comparison to a value.

    Raises:
        ValueError: for an unknown recipe or name, or values out of range.
        StoreError: if the folder cannot be written, or holds something else.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685, figures 2 to 4.
    """
    one, chosen = _checked(recipe, name, values)
    wanted = tuple(seeds)
    if store is not None and (Path(store) / PLAN).exists():
        raise StoreError(f"{printable(str(store))} holds a comparison, not a sweep\nChoose another folder.")
    report = progress or passes.silent
    each, passed = len(one.settings) * len(wanted), one.epochs if epochs is None else epochs
    points = []
    for index, value in enumerate(chosen):
        build, train = at(one, name, value, epochs=passed)
        found = compare(
            build,
            train,
            settings=one.settings,
            seeds=wanted,
            store=None if store is None else Path(store) / f"{name}-{value:g}",
            options={"recipe": recipe, "epochs": passed, name: f"{value:g}"},
            progress=_part(report, f"{name} {value:g}", index * each, len(chosen) * each),
            **options,
        )
        points.append(Point(value=value, found=found))
    return Sweep(name=name, recipe=recipe, points=tuple(points))


def at(
    recipe: Recipe, name: str, value: float, *, epochs: int
) -> tuple[Callable[..., Any], Callable[..., Mapping[str, Any]]]:
    """`build` and `train` of a recipe at one value of a size.

    Args:
        recipe: one of `RECIPES`.
        name: `"width"`, `"depth"` or `"batch"`.
        value: of it.
        epochs: passes over the training data.
    """
    train = partial(recipe.train, epochs=epochs)
    if name == "batch":
        return recipe.build, partial(train, batch=int(value))
    size = value if name == "width" else int(value)
    return partial(recipe.build, **{name: size}), train


def _checked(recipe: str, name: str, values: Iterable[float] | None) -> tuple[Recipe, tuple[float, ...]]:
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}; got {recipe!r}")
    if name not in SWEEPS:
        raise ValueError(f"name must be one of {', '.join(SWEEPS)}; got {name!r}")
    chosen = tuple(RECIPES[recipe].values[name] if values is None else values)
    whole = name == "width" or all(float(value).is_integer() for value in chosen)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 < v < math.inf for v in chosen) or not whole:
        kind = "numbers" if name == "width" else "integers"
        raise ValueError(f"values must be distinct positive {kind}, one at least; got {list(chosen)}")
    return RECIPES[recipe], chosen


def _part(report: passes.Progress, where: str, before: int, total: int) -> passes.Progress:
    """Progress of one comparison as a part of all."""

    def told(what: str, done: int, _total: int | None) -> None:
        report(f"{where}: {what}", before + done, total)

    return told
