"""`gaussprobe demo`: train a small network on real digits, then scan it by the public command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gaussprobe.cli.console import Debug, progress, stderr
from gaussprobe.errors import StoreError


def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for model, data and report.")
    ] = Path("gaussprobe-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training digits.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the training and the sampling.")] = 0,
    _debug: Debug = False,
) -> int:
    """Train a BatchNorm CNN on 5,000 MNIST digits (seconds) and scan it on held-out ones."""
    from gaussprobe import recipes
    from gaussprobe.cli import main

    console = stderr()
    digits = recipes.load_mnist5k(seed=seed)
    with progress(True) as report:
        trained = recipes.train_mnist5k(digits, epochs=epochs, seed=seed, progress=report)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--out {out}: cannot be made: {error.strerror}") from error
    model, data = out / "model.pt", out / "held_out.npz"
    recipes.save_demo(trained, digits, model=model, data=data)
    console.print(
        f"trained on {len(digits.train_images):,} MNIST digits in {trained.seconds:.1f} s; "
        f"{trained.accuracy:.1%} of {len(digits.test_images):,} held-out digits right"
    )
    html = out / "report.html"
    arguments = [
        "scan", str(model), "--data", str(data), "--html", str(html), "--out", str(out / "run.sqlite"),
        "--seed", str(seed),
    ]  # fmt: skip
    console.print(f"$ {shlex.join(['gaussprobe', *arguments])}", markup=False, soft_wrap=True)
    code = main.main(arguments)
    if code == main.EXIT_CLEAN:
        console.print(f"the report is at {html}", markup=False, soft_wrap=True)
    return code
