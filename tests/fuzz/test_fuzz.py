"""Altered files of every kind through the command line, and the watch that is kept on them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import kinds, worker
from tests.fuzz.mutations import mutate
from tests.fuzz.pool import GoneError, Pool, SilentError, Worker

CASES = 200
SEED = 20_260_101


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_altered_files_are_opened_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """200 altered files over every kind: exit 0 or 2, and nothing printed, written or run but what is due."""
    pool = Pool(tmp_path, workers=2)
    pool.build()
    pool.run(SEED, iter(range(CASES)))
    assert not pool.violations, "\n".join(map(str, pool.violations))
    tallies = pool.tallies.values()
    assert sum(tally.cases for tally in tallies) == CASES
    assert sum(tally.codes[0] for tally in tallies) > CASES / 10
    assert sum(tally.codes[2] for tally in tallies) > CASES / 10
    assert all(tally.cases >= CASES // len(pool.tallies) for tally in tallies)


def test_a_case_is_the_same_every_time(tmp_path: Path) -> None:
    """Seed and number alone decide what is altered and how; another number decides otherwise."""
    seeds = tmp_path / "seeds"
    for number, kind in enumerate(kinds.possible()):
        for name in kind.altered:
            path = seeds / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(range(256)) * 8)
    count = len(kinds.possible())

    def content(run: str, index: int) -> tuple[str, bytes]:
        folder = tmp_path / run / str(index)
        folder.parent.mkdir(exist_ok=True)
        kind, what = worker.prepare(seeds, folder, 7, index)
        return what, (folder / kind.altered[0]).read_bytes()

    assert [content("a", i) for i in range(30)] == [content("b", i) for i in range(30)]
    assert content("c", 3)[1] != content("c", 3 + count)[1]


@pytest.mark.parametrize("name", ["x.json", "x.safetensors", "x.txt", "x.bin"])
def test_every_way_of_altering_gives_a_file(tmp_path: Path, name: str) -> None:
    """No content and no random state makes the alteration itself fail."""
    random_ = random.Random(0)
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(24)
    content = {"x.json": header, "x.safetensors": whole, "x.txt": b"1,2\n3,4", "x.bin": b"x"}[name]
    path, seen = tmp_path / name, set()
    for _ in range(300):
        path.write_bytes(content)
        mutate(path, random_)
        seen.add(path.read_bytes())
    assert len(seen) > (2 if name == "x.bin" else 100)


def run_planted(tmp_path: Path, code: str, *, silence: float = 60.0) -> list[str]:
    """Problems found in a case whose command runs `code`, in a worker of its own."""
    script = tmp_path / "planted.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from tests.fuzz import worker\n"
        "from tests.fuzz.kinds import Kind\n"
        "kind = Kind(name='k', build=lambda folder: None, altered=('f',), command=('scan', '{}'))\n"
        f"def main(arguments):\n    {code}\n    return 0\n"
        "def prepare(seeds, folder, *rest):\n    folder.mkdir()\n    return kind, 'planted'\n"
        "import gaussprobe.cli.main\n"
        "gaussprobe.cli.main.main = main\n"
        "worker.prepare = prepare\n"
        "worker.serve(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    planted = Worker(tmp_path / "area", tmp_path / "seeds", script=script)
    try:
        answer: dict[str, Any] = planted.run({"seed": 0, "index": 0}, silence, 60.0)
    finally:
        planted.stop()
    return list(answer["problems"])


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("pass", None),
        ("Path('dropped').write_text('x')", "wrote 'case/dropped'"),
        ("os.system('true')", "os.system"),
        ("raise KeyError('x')", "KeyError left main"),
        ("print('Traceback (most recent call last)')", "traceback"),
        ("print('\\x1b[31m')", "control characters"),
        ("return 1", "exit 1"),
        ("os.abort()", "signal 6"),
        ("time.sleep(30)", "silence"),
    ],
)
def test_a_broken_promise_is_seen(tmp_path: Path, code: str, problem: str | None) -> None:
    """What no file may cause is found when it is planted, and nothing is found where nothing is."""
    problems = run_planted(tmp_path, code, silence=1.0 if "sleep" in code else 60.0)
    assert (problem is None) == (not problems)
    assert problem is None or any(problem in each for each in problems), problems


def test_a_worker_that_ends_is_told_from_one_that_is_silent(tmp_path: Path) -> None:
    """A process that exits at once and one that says nothing are different errors."""
    for code, error in (("raise SystemExit(3)", GoneError), ("import time\ntime.sleep(30)", SilentError)):
        script = tmp_path / "script.py"
        script.write_text(code)
        with pytest.raises(error):
            Worker(tmp_path, tmp_path, script=script, patience=2.0)
