"""Kill a writer at random moments and read what it left: `python -m tests.crashes --times 50`.

A killed run must open, hold every step that the writer had got back from `append`, whole, and at most the one
in flight beyond it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gaussprobe import store
from gaussprobe.types import Run

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 0.3  # seconds from a writer's first step to its end


@dataclass(frozen=True, kw_only=True)
class Crash:
    """What a killed writer said it had written, and what was found."""

    said: int
    found: int
    whole: bool
    warned: bool

    @property
    def sound(self) -> bool:
        """At most the step in flight is missing or beyond, and nothing is torn."""
        return self.whole and self.warned and self.said <= self.found <= self.said + 1


def write(path: Path, steps: int, *, journal: bool = False) -> None:
    """Write steps as fast as possible, saying the number of each when it is written.

    Args:
        path: where.
        steps: how many.
        journal: with a rollback journal, as on a network disk.
    """
    from gaussprobe import walfile
    from gaussprobe.journal import Journal
    from tests.stored import METADATA, step_metrics, step_scores, step_series

    if journal:
        walfile.is_on_network = lambda path: True
    with Journal.open(path, METADATA, resume=True) as writer:
        first = 0 if writer.last_step is None else writer.last_step + 1
        for step in range(first, first + steps):
            writer.append(
                step=step, scores=step_scores(step), series=step_series(step), metrics=step_metrics(step)
            )
            os.write(1, f"{step}\n".encode())


def crash(path: Path, random_: random.Random, *, journal: bool = False) -> Crash:
    """Start a writer in a process of its own, kill it, read the file.

    Args:
        path: where it writes; it goes on with what is there.
        random_: when it is killed.
        journal: as `write`.
    """
    code = (
        "import sys, pathlib; from tests.crashes import write; "
        "write(pathlib.Path(sys.argv[1]), 1_000_000, journal=sys.argv[2] == 'True')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(journal)], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(random_.uniform(0, LONGEST))
        process.send_signal(signal.SIGKILL)
        said = (first + process.stdout.read()).decode()
    # The last line may have been cut by the kill; a pipe takes a line of this length whole.
    last = int(said.split()[-1])
    run = store.load(path)
    return Crash(
        said=last,
        found=run.scores[-1].step,
        whole=_is_whole(run),
        warned=any(warning.startswith("not closed") for warning in run.warnings),
    )


def _is_whole(run: Run) -> bool:
    """Whether each step is there, with all its rows, as it was written."""
    from tests.stored import step_metrics, step_scores, step_series

    steps = range(run.scores[-1].step + 1)
    return (
        run.scores == tuple(score for step in steps for score in step_scores(step))
        and run.series == tuple(record for step in steps for record in step_series(step))
        and run.metrics == tuple(metric for step in steps for metric in step_metrics(step))
    )


def crashes(times: int, seed: int, *, journal: bool = False, resumed: int = 5) -> list[Crash]:
    """Kill so many writers; every so many of them go on with one file, one after the other."""
    random_ = random.Random(seed)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(times):
            path = Path(folder, f"run{number // resumed}.sqlite")
            found.append(crash(path, random_, journal=journal))
    return found


def main() -> int:
    """Print one line of what was found; 0 when every file was sound."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--journal", action="store_true", help="with a rollback journal")
    options = parser.parse_args()
    found = crashes(options.times, options.seed, journal=options.journal)
    sound = sum(one.sound for one in found)
    beyond = sum(one.found > one.said for one in found)
    steps = sum(one.found + 1 for one in found)
    print(
        f"{options.times} writers killed: {sound} files open and whole, no step missing that was written; "
        f"{beyond} hold the step in flight too; {steps:,} steps read"
    )
    return int(sound < len(found))


if __name__ == "__main__":
    sys.exit(main())
