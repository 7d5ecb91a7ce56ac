"""Arguments that more than one command takes."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Model: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model file, a Hugging Face directory, saved activations (scan only), or pkg.mod:fn.",
    ),
]
Data: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|DIR|pkg.mod:fn",
        help="Inputs: .pt, .npy, .npz, numeric CSV, a folder of images, lines of text (for a model with "
        "a tokenizer), or a function yielding batches. Without it, made up.",
    ),
]
Factory: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="pkg.mod:fn", help="Builds the model that a state_dict or checkpoint is for."),
]
TrustPickle: TypeAlias = Annotated[
    bool, typer.Option("--trust-pickle", help="Open a file that can run code when opened. Only your own.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
MaxSamples: TypeAlias = Annotated[int, typer.Option(min=8, help="Samples per unit that are tested.")]
BatchSize: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Examples in a batch, where a whole data set is given.")
]
Device: TypeAlias = Annotated[str | None, typer.Option(help="Where to run, such as cpu or cuda.")]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of everything that is drawn.")]
