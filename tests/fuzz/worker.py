"""The process that runs cases: altered copies of files, given to the command line's own entry point.

It speaks with its parent in lines of JSON. Everything that a case prints goes to files, is looked at after
the case, and is told in the answer; a crash of the interpreter is seen by the parent as the end of the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from tests.fuzz.kinds import Kind, build_all, possible
from tests.fuzz.mutations import mutate

_MOST_GROWTH = 2**30  # bytes that one case may add to the process's peak
_BEATS = 0.5  # seconds between two signs of progress that are passed on
# What Python itself tells of that no reader of a file has a use for.
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
_CHANGING = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.truncate",
)


class Watch:
    """Notes of what a case does outside of its own files, told by Python's audit events."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        self.allowed: tuple[str, ...] = ()
        sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is None:
            return
        if event == "subprocess.Popen" and arguments[0] == sys.executable and "-I" in arguments[1]:
            return  # a tokenizer is tried in a process of its own
        if event in _FORBIDDEN or event in _CHANGING:
            if event in _FORBIDDEN or not self._own(arguments[0]):
                self.seen.append(f"{event} {arguments[0]!r:.80}")
        elif event == "open" and not isinstance(arguments[0], int):
            mode, flags = arguments[1], arguments[2] or 0
            writing = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
            if (writing or (isinstance(mode, str) and set(mode) & set("wax+"))) and not self._own(
                arguments[0]
            ):
                self.seen.append(f"open {arguments[0]!r:.80} for writing")

    def _own(self, path: Any) -> bool:
        if not isinstance(path, str | os.PathLike):
            return False
        # An output is written beside its place first, and then moved there.
        beside = len(self.allowed) > 1 and os.fspath(path).endswith(".part")
        return os.fspath(path) in self.allowed or beside

    @contextlib.contextmanager
    def watching(self, outputs: tuple[str, ...]) -> Iterator[list[str]]:
        self.allowed = (os.devnull, *outputs)
        self.seen = seen = []
        try:
            yield seen
        finally:
            self.seen = None


def case_of(seed: int, index: int) -> tuple[int, Kind, random.Random]:
    """Number and kind of the file of a case, and the generator that decides how it is altered."""
    kinds = possible()
    number = index % len(kinds)
    return number, kinds[number], random.Random(f"{seed}:{index}")


def prepare(seeds: Path, folder: Path, seed: int, index: int | None, number: int = 0) -> tuple[Kind, str]:
    """Lay out the files of a case in a folder; without an index, the whole files of kind `number`."""
    if index is None:
        kind, what = possible()[number], "whole"
        shutil.copytree(seeds / str(number), folder)
        return kind, what
    number, kind, random_ = case_of(seed, index)
    shutil.copytree(seeds / str(number), folder)
    name = random_.choice(kind.altered)
    return kind, f"{name} {mutate(folder / name, random_)}"


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything under a folder, by name."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_size, 0 if path.is_dir() else status.st_mtime_ns)
    return found


def run_case(area: Path, kind: Kind, watch: Watch, main: Callable[[list[str]], int]) -> dict[str, Any]:
    """Run the command of a case in its folder and say what came of it, `problems` first of all."""
    folder = area / "case"
    os.chdir(folder)
    before = listing(area)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for descriptor in (1, 2):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
    problems: list[str] = []
    started = time.monotonic()
    outputs = tuple(each for name in kind.outputs for each in (name, str(folder / name)))
    code: int | None = None
    with watch.watching(outputs) as done:
        try:
            code = main(kind.arguments)
        except BaseException as error:  # noqa: BLE001 (nothing may leave the entry point)
            problems.append(f"{type(error).__name__} left main: {error!s:.200}")
    seconds = time.monotonic() - started
    sys.stdout.flush()
    sys.stderr.flush()
    printed, said = (os.pread(descriptor, 2**22, 0).decode(errors="replace") for descriptor in (1, 2))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    changed = {
        name
        for name, state in listing(area).items()
        if before.get(name) != state and name.removeprefix("case/") not in kind.outputs
    }
    # A folder changes when what was asked for is put into it.
    problems += [f"wrote {name!r}" for name in sorted(changed)]
    problems += [f"removed {name!r}" for name in sorted(before.keys() - listing(area).keys())]
    problems += done
    if code not in (0, 2) and not problems:
        problems.append(f"exit {code}")
    problems += list(_unsightly(printed, said, code, kind))
    if grown > _MOST_GROWTH:
        problems.append(f"took {grown / 2**30:.1f} GiB of memory")
    return {"code": code, "seconds": seconds, "problems": problems, "said": said[-2_000:]}


def _unsightly(printed: str, said: str, code: int | None, kind: Kind) -> Iterator[str]:
    """What a user must never see."""
    if "Traceback (most recent call last)" in said + printed:
        yield "traceback"
    if "gaussprobe: error: unexpected" in said:
        yield "an exception that nothing caught before the last resort"
    if any(not (each.isprintable() or each == "\n") for each in printed + said):
        yield "control characters"
    if code == 2 and not said.startswith("gaussprobe: error: "):
        yield "exit 2 without an error, or with more than it"
    if code == 2 and printed:
        yield "results in spite of an error"
    if code == 0 and "--json" in kind.command:
        try:
            json.loads(printed, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
        except ValueError as error:
            yield f"stdout is not one JSON document ({error!s:.60})"


def _answer(to: IO[str], **fields: Any) -> None:
    to.write(json.dumps(fields) + "\n")
    to.flush()


def _beating(to: IO[str]) -> Callable[[bool], Any]:
    """In place of the progress bar: what it would show is a sign of life."""

    @contextlib.contextmanager
    def progress(enabled: bool) -> Iterator[Callable[[str, int, int | None], None]]:
        last = 0.0

        def report(what: str, done: int, total: int | None) -> None:
            nonlocal last
            if time.monotonic() - last > _BEATS:
                last = time.monotonic()
                _answer(to, beat=what)

        yield report

    return progress


def serve(area: Path, seeds: Path) -> None:
    """Answer requests from stdin until it ends."""
    to = os.fdopen(os.dup(1), "w")
    area.mkdir(parents=True)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(
            area.with_name(f"{area.name}.{name}"), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        )
        os.dup2(file, descriptor)
        os.close(file)
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        (area / name).mkdir()
        os.environ[name] = str(area / name)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import torch

    from gaussprobe.cli import scan
    from gaussprobe.cli.main import main

    torch.set_num_threads(1)
    scan.progress = _beating(to)
    watch = Watch()
    _answer(to, ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("build"):
            build_all(seeds)
            _answer(to, built=True)
            continue
        shutil.rmtree(area / "case", ignore_errors=True)
        kind, what = prepare(
            seeds, area / "case", request["seed"], request.get("index"), request.get("kind", 0)
        )
        _answer(to, what=what)
        _answer(to, **run_case(area, kind, watch, main))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
