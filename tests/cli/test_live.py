"""`gaussprobe live`: a run in progress."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gaussprobe import store
from gaussprobe.cli import live
from gaussprobe.errors import StoreError
from gaussprobe.journal import Journal
from gaussprobe.types import Run
from tests.reports.training_runs import build_training
from tests.runs import build_run
from tests.without_torch import WITHOUT_TORCH

RUN = build_training(steps=12)
PROGRAM = f"""{WITHOUT_TORCH}
from pathlib import Path
from gaussprobe.cli.live import live
sys.exit(live(Path(sys.argv[1]), interval=0.1, once="--once" in sys.argv))
"""


def append(journal: Journal, run: Run, step: int) -> None:
    """One recorded step of a run into a journal."""
    journal.append(
        step=step,
        scores=[score for score in run.scores if score.step == step],
        series=[record for record in run.series if record.step == step],
        metrics=[metric for metric in run.metrics if metric.step == step],
        events=[event for event in run.events if event.step == step],
    )


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, path: Path, columns: int = 100, lines: int = 30) -> None:
        self.shown = ""
        own, other = pty.openpty()
        self._own = own
        environment = {**os.environ, "COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment,
            start_new_session=True,
        )
        os.close(other)

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._own], [], [], seconds)
        with suppress(OSError):  # nobody is at the other end any more
            self.shown += os.read(self._own, 65_536).decode() if ready else ""

    def wait_for(self, text: str, seconds: float = 40.0) -> None:
        """Read until a text is shown."""
        until = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < until, self.shown[-3_000:]
            self._read(0.1)

    def type(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def end(self, seconds: float = 30.0) -> int:
        """Wait for the command to end, and what it returns."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, self.shown[-3_000:]
            self._read(0.05)
        self._read(0.05)
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own)


@pytest.fixture
def opened() -> Callable[[Path], Terminal]:
    """Terminals that are closed after the test."""
    made: list[Terminal] = []

    def start(path: Path) -> Terminal:
        made.append(Terminal(path))
        return made[-1]

    yield start  # type: ignore[misc]
    for terminal in made:
        terminal.close()


@pytest.mark.parametrize("arguments", [[], ["--once"]])
@pytest.mark.parametrize("columns", ["80", "140"])
def test_one_frame_where_there_is_no_terminal(tmp_path: Path, arguments: list[str], columns: str) -> None:
    """Into a pipe one frame is printed, with or without --once, in plain text, and the command ends clean."""
    path = tmp_path / "run.sqlite"
    store.save(RUN, path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, path, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": columns},
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= int(columns)
    for needed in (
        "run.sqlite: Classifier, step 550, 12 records",
        "heads.out",
        "Events (6)",
        "loss",
        "Drift:",
    ):
        assert needed in done.stdout


def test_follows_until_the_run_is_closed(tmp_path: Path, opened: Callable[[Path], Terminal]) -> None:
    """Steps appear as they are written; when the writer closes the run the last frame stays, exit 0."""
    path = tmp_path / "run.sqlite"
    journal = Journal.open(path, RUN.metadata)
    append(journal, RUN, 0)
    terminal = opened(path)
    terminal.wait_for("step 0, 1 record,")
    terminal.wait_for("q leaves")
    for step in range(50, 600, 50):
        append(journal, RUN, step)
    terminal.wait_for("step 550, 12 records")
    assert terminal.process.poll() is None
    journal.close()
    assert terminal.end() == 0
    assert "Drift:" in terminal.shown
    assert "no writer, the last" in terminal.shown


@pytest.mark.parametrize("how", ["q", "interrupt"])
def test_leaving(tmp_path: Path, opened: Callable[[Path], Terminal], how: str) -> None:
    """q and an interrupt leave a run that goes on, exit 0; the terminal is as it was before."""
    path = tmp_path / "run.sqlite"
    with Journal.open(path, RUN.metadata) as journal:
        append(journal, RUN, 0)
        terminal = opened(path)
        terminal.wait_for("q leaves")
        if how == "q":
            terminal.type("q")
        else:
            os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.end() == 0
        assert "Traceback" not in terminal.shown
        assert terminal.shown.count("\x1b[?1049l") == terminal.shown.count("\x1b[?1049h") == 1


def test_waits_for_the_first_record(tmp_path: Path, opened: Callable[[Path], Terminal]) -> None:
    """A run without a record yet is waited for, not refused."""
    path = tmp_path / "run.sqlite"
    with Journal.open(path, RUN.metadata) as journal:
        terminal = opened(path)
        terminal.wait_for("waiting for the first record")
        append(journal, RUN, 0)
        terminal.wait_for("heads.out")


def test_a_failing_read_is_said_and_outlived(tmp_path: Path, opened: Callable[[Path], Terminal]) -> None:
    """While the file cannot be read the last frame stays with the reason under it, and reading goes on."""
    path = tmp_path / "run.sqlite"
    with Journal.open(path, RUN.metadata) as journal:
        append(journal, RUN, 0)
        terminal = opened(path)
        terminal.wait_for("q leaves")
        path.rename(tmp_path / "away")
        terminal.wait_for("Cannot read")
        (tmp_path / "away").rename(path)
        append(journal, RUN, 50)
        terminal.wait_for("step 50, 2 records")


def test_a_scan_is_refused(tmp_path: Path) -> None:
    """A run without series that nobody writes is refused, with what to do instead."""
    build_run().save(tmp_path / "run.sqlite")
    with pytest.raises(StoreError, match=r"holds no run over training(.|\n)*gaussprobe report"):
        live.live(tmp_path / "run.sqlite", once=True)


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    """A file that is not there is an error at once, not something to wait for."""
    with pytest.raises(StoreError, match="Cannot read"):
        live.live(tmp_path / "nowhere.sqlite")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (3.2, "3 s"), (119, "119 s"), (600, "10 min"), (7_200, "2 h"), (1e6, "12 days")],
)
def test_spans_of_time(seconds: float, said: str) -> None:
    """A span is said in its largest unit that leaves two of it."""
    assert live._since(seconds) == said
