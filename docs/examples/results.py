"""The recipes compared, beside what the paper on normality normalization found.

    python -m docs.examples.results --out build/results --page docs/results.md

trains them, some hours on two cores, and writes the page. What the folder has is not trained again, so that
it may be broken off; `--only cnn` runs one part, and the page has every part that the folder holds.
`--quick` is one epoch on two seeds: to see that it runs, not to see what comes of it.

Reference: Eftekhari & Papyan (2025), ICML, arXiv:2505.00685.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gaussprobe as gp
from docs.examples import results_page
from gaussprobe import recipes
from gaussprobe.comparison import Comparison
from gaussprobe.recipes import RECIPES, SWEEPS, VARIATIONS
from gaussprobe.sweep import Point, Sweep
from gaussprobe.trials.kept import read

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the page: a recipe as it is, a variation of one, or a sweep.

    Args:
        recipe: its name.
        of: one of `VARIATIONS` or `SWEEPS`; None for the recipe as it is.
        seeds: how many.
        epochs: None for the recipe's own.
    """

    recipe: str
    of: str | None = None
    seeds: int = 6
    epochs: int | None = None


PARTS: dict[str, Part] = {
    "cnn": Part(recipe="mnist5k-cnn"),
    "vit": Part(recipe="mnist5k-vit"),
    "mlp": Part(recipe="digits-mlp"),
    "ablation": Part(recipe="mnist5k-cnn", of="ablation", epochs=5),
    **{
        name: Part(recipe="mnist5k-cnn", of=name, seeds=3, epochs=5)
        for name in (*VARIATIONS, *SWEEPS)
        if name != "ablation"
    },
}


def run(
    part: Part, folder: Path, *, jobs: int = 1, quick: bool = False, progress: Progress | None = None
) -> Comparison | Sweep:
    """Train a part, or what is left of it.

    Args:
        part: one of `PARTS`.
        folder: its own.
        jobs: trainings at once.
        quick: one epoch on two seeds.
        progress: told of trials that ended.
    """
    recipe = RECIPES[part.recipe]
    epochs = 1 if quick else part.epochs or recipe.epochs
    seeds = range(2 if quick else part.seeds)
    if part.of in SWEEPS:
        return recipes.sweep(
            part.recipe, part.of, seeds=seeds, epochs=epochs, store=folder, jobs=jobs, progress=progress
        )
    settings = recipe.settings if part.of is None else recipes.variation(recipe, part.of)
    about = {"recipe": part.recipe, "epochs": str(epochs)} | (
        {} if part.of is None else {"variation": part.of}
    )
    return gp.compare(
        recipe.build,
        partial(recipe.train, epochs=epochs),
        settings=settings,
        seeds=seeds,
        store=folder,
        jobs=jobs,
        options=about,
        progress=progress,
    )


def kept(part: Part, folder: Path) -> Comparison | Sweep | None:
    """What a folder has of a part, as far as it got; None for nothing."""
    if part.of not in SWEEPS:
        return read(folder) if folder.exists() else None
    points = [
        Point(value=value, found=read(place))
        for value in RECIPES[part.recipe].values[part.of]
        if (place := folder / f"{part.of}-{value:g}").exists()
    ]
    return Sweep(name=part.of, recipe=part.recipe, points=tuple(points)) if points else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is asked for, and write the page of what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/results"))
    parser.add_argument("--page", type=Path, default=None)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "nothing"], default=list(PARTS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in _chosen(options.only):
        run(PARTS[name], options.out / name, jobs=options.jobs, quick=options.quick, progress=_said(name))
    text = results_page.page({name: kept(part, options.out / name) for name, part in PARTS.items()})
    if options.page is None:
        sys.stdout.write(text)
    else:
        options.page.write_text(text, encoding="utf-8")


def _chosen(names: Iterable[str]) -> list[str]:
    return [name for name in names if name != "nothing"]


def _said(name: str) -> Progress:
    """A line on stderr for each trial that ended."""
    return lambda what, done, total: print(f"{name}: {what} ({done} of {total})", file=sys.stderr)


if __name__ == "__main__":
    main()
