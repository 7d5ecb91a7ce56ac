"""Workers that are watched: a case that crashes, falls silent or ends badly is named, and work goes on."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.kinds import possible

ROOT = Path(__file__).resolve().parents[2]
_USES = ("wrote", "open", "os.", "subprocess.")
_PATIENCE = 120.0  # seconds for what is no case: imports, the whole files, their first scan


class SilentError(Exception):
    """A worker said nothing for as long as it may."""


class GoneError(Exception):
    """A worker's process ended; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A case that broke the promise."""

    seed: int
    index: int
    kind: str
    what: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        again = f"python -m tests.fuzz.run --seed {self.seed} --only {self.index}"
        return f"{self.kind}: {self.what}: {'; '.join(self.problems)}\n    again: {again}"


@dataclass
class Tally:
    """What came of the cases of one kind."""

    cases: int = 0
    codes: collections.Counter[int | None] = field(default_factory=collections.Counter)
    slowest: float = 0.0


class Worker:
    """One process that runs cases.

    Args:
        area: a folder of its own, made anew.
        seeds: where the whole files lie.
        script: run in place of the module `worker`.
        patience: seconds for its start.
    """

    def __init__(
        self, area: Path, seeds: Path, *, script: Path | None = None, patience: float = _PATIENCE
    ) -> None:
        environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "COLUMNS": "100",
            "PYTHONPATH": str(ROOT),
        }
        program = ["-m", "tests.fuzz.worker"] if script is None else [str(script)]
        self.process = subprocess.Popen(
            [sys.executable, *program, str(area), str(seeds)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.receive(patience)
        except (SilentError, GoneError):
            self.stop()
            raise

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def receive(self, patience: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            SilentError: if none comes within `patience` seconds.
            GoneError: if the process ended.
        """
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            raise SilentError(f"{patience:g} s of silence") from None
        if line is None:
            code = self.process.wait()
            raise GoneError(
                f"the interpreter ended by signal {-code}" if code < 0 else f"it exited with {code}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, request: dict[str, Any], patience: float, longest: float) -> dict[str, Any]:
        """Run one case; signs of progress in it begin the wait anew.

        Raises:
            SilentError: after `patience` seconds without one, or `longest` seconds in all.
            GoneError: if the process ended.
        """
        self.send(request)
        what = str(self.receive(_PATIENCE).get("what"))
        deadline = time.monotonic() + longest
        try:
            while True:
                answer = self.receive(min(patience, max(deadline - time.monotonic(), 0.01)))
                if "problems" in answer:
                    return {**answer, "what": what}
        except (SilentError, GoneError) as error:
            return {"code": None, "seconds": patience, "problems": [str(error)], "what": what, "gone": True}

    def send(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Pool:
    """Runs cases on several workers.

    Args:
        folder: for the files; emptied by whoever made it.
        workers: processes.
        silence: seconds without progress that make a violation; a silent case is tried again alone first, as
            a busy machine may be the cause.
        longest: seconds that a case may take in all.
    """

    def __init__(
        self, folder: Path, *, workers: int = 2, silence: float = 5.0, longest: float = 60.0
    ) -> None:
        self.folder = folder
        self.workers = workers
        self.silence = silence
        self.longest = longest
        self.tallies = {kind.name: Tally() for kind in possible()}
        self.violations: list[Violation] = []
        self._made = 0
        self._lock = threading.Lock()

    def build(self) -> None:
        """Make the whole files, and see that each is opened: exit 0.

        Raises:
            GoneError: if one is not.
        """
        worker = self._worker()
        try:
            worker.send({"build": True})
            worker.receive(_PATIENCE)
        finally:
            worker.stop()

    def _worker(self) -> Worker:
        with self._lock:
            self._made += 1
            number = self._made
        return Worker(self.folder / f"worker{number}", self.folder / "seeds")

    def _warm(self) -> Worker:
        """A worker that has imported all that the kinds need, so that imports count as no case's time."""
        worker = self._worker()
        for number, kind in enumerate(possible()):
            answer = worker.run({"seed": 0, "kind": number}, _PATIENCE, _PATIENCE)
            # Caches are written on first use; that is no case's doing either.
            problems = [each for each in answer["problems"] if not each.startswith(_USES)]
            if answer["code"] != 0 or problems:
                worker.stop()
                raise GoneError(f"the whole {kind.name}: {problems} {answer.get('said', '')}")
        return worker

    def run(self, seed: int, indexes: Iterator[int], tell: Callable[[str], None] = print) -> None:
        """Run cases, and count what came of them in `tallies` and `violations`."""
        failures: list[BaseException] = []

        def work() -> None:
            worker: Worker | None = None
            try:
                while True:
                    with self._lock:
                        index = next(indexes, None)
                    if index is None or failures:
                        return
                    worker = worker or self._warm()
                    if self._case(worker, seed, index, tell):
                        worker.stop()
                        worker = None
            except BaseException as error:  # noqa: BLE001 (passed on below)
                failures.append(error)
            finally:
                if worker is not None:
                    worker.stop()

        threads = [threading.Thread(target=work) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _case(self, worker: Worker, seed: int, index: int, tell: Callable[[str], None]) -> bool:
        """Run one case; True if the worker is of no more use."""
        request = {"seed": seed, "index": index}
        answer = worker.run(request, self.silence, self.longest)
        if any("silence" in each for each in answer["problems"]):
            worker.stop()
            with self._lock:  # alone: the others wait
                second = self._again(request)
            gone, answer = True, second
        else:
            gone = bool(answer.get("gone"))
        kinds = possible()
        name = kinds[index % len(kinds)].name
        with self._lock:
            tally = self.tallies[name]
            tally.cases += 1
            tally.codes[answer["code"]] += 1
            tally.slowest = max(tally.slowest, answer["seconds"])
            if answer["problems"]:
                violation = Violation(
                    seed=seed, index=index, kind=name, what=answer["what"], problems=tuple(answer["problems"])
                )
                self.violations.append(violation)
                tell(str(violation))
        return gone

    def _again(self, request: dict[str, Any]) -> dict[str, Any]:
        self._made += 1
        worker = Worker(self.folder / f"worker{self._made}", self.folder / "seeds")
        try:
            kind = request["index"] % len(possible())
            worker.run({"seed": 0, "kind": kind}, _PATIENCE, _PATIENCE)
            return worker.run(request, self.silence, self.longest)
        finally:
            worker.stop()

    def table(self) -> str:
        """One line for each kind: cases, how they ended, the slowest."""
        lines = [f"{'kind':<32} {'cases':>6} {'exit 0':>7} {'exit 2':>7} {'other':>6} {'slowest':>8}"]
        for name, tally in self.tallies.items():
            other = tally.cases - tally.codes[0] - tally.codes[2]
            lines.append(
                f"{name:<32} {tally.cases:>6} {tally.codes[0]:>7} {tally.codes[2]:>7} {other:>6} "
                f"{tally.slowest:>6.2f} s"
            )
        return "\n".join(lines)
