"""What the scripts that generate a page share: the command line, and what the page was made on."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import statsmodels
import torch

from gaussprobe.machine import machine as machine


def write(
    description: str | None, seed: int, measure: Callable[[int, int], Any], page: Callable[..., str]
) -> None:
    """Command line of a script that measures, and writes a page of what it found.

    Args:
        description: for `--help`.
        seed: default of `--seed`.
        measure: of the number of processes and the seed.
        page: of what was measured, the seed and the seconds it took.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    start = time.monotonic()
    found = measure(arguments.processes, arguments.seed)
    text = page(found, seed=arguments.seed, seconds=time.monotonic() - start)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")


def versions() -> str:
    """Of Python and the packages that numbers depend on."""
    return (
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"statsmodels {statsmodels.__version__}, torch {torch.__version__}"
    )
