"""A comparison read back from its folder; without torch."""

from __future__ import annotations

from pathlib import Path

from gaussprobe.comparison import Comparison
from gaussprobe.trials import analysis
from gaussprobe.trials.folder import Folder


def read(path: str | Path) -> Comparison:
    """The comparison that a folder holds, as far as it got.

    Raises:
        StoreError: if there is none, or it is damaged.
    """
    folder = Folder.read(path)
    seeds = folder.seeds()
    return analysis.compared(folder.plan.settings, seeds, list(folder.trials(seeds)), folder.plan.description)
