"""`gaussprobe export`: what is in the file is what is in the run."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from gaussprobe import store
from gaussprobe.cli import export
from gaussprobe.errors import MissingExtraError, StoreError
from gaussprobe.reports import frame
from gaussprobe.types import Run
from tests import needs
from tests.runs import build_run
from tests.stored import watched_run

WHATS = ("scores", "series", "metrics", "events")


def run_export(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(export.export)
    return CliRunner().invoke(app, arguments)


def broken_numbers() -> Run:
    """A watched run with NaN, infinities, what was withheld, and a name that is not UTF-8."""
    run = watched_run(steps=2)
    odd = dataclasses.replace(run.series[0], site="caf\udce9", mean=math.inf, sd=math.nan, quantiles=())
    return dataclasses.replace(
        run,
        scores=(*build_run().scores, *run.scores),
        series=(odd, *run.series),
        metrics=(dataclasses.replace(run.metrics[0], value=-math.inf), *run.metrics),
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "run.sqlite"
    store.save(broken_numbers(), path)
    return path


def same(found: Any, expected: Any) -> bool:
    """Equal to the last bit, what is missing to what is missing."""
    return (pd.isna(found) and pd.isna(expected)) or found == expected


@pytest.mark.parametrize("what", WHATS)
def test_csv_holds_every_bit(stored: Path, what: str) -> None:
    """CSV has the frame's rows and columns; numbers read back are the same doubles."""
    done = run_export(str(stored), "--format", "csv", "--what", what)
    assert done.exit_code == 0, done.output
    rows = list(csv.reader(io.StringIO(done.stdout_bytes.decode("utf-8"))))
    expected = frame.table(broken_numbers(), what)  # type: ignore[arg-type]
    assert rows[0] == list(expected.columns)
    assert len(rows) == len(expected) + 1
    for row, (_, values) in zip(rows[1:], expected.iterrows(), strict=True):
        for cell, value in zip(row, values, strict=True):
            if isinstance(value, str):
                assert cell == value.replace("\udce9", r"\udce9")
            else:
                assert same(float(cell), value)


@pytest.mark.parametrize("what", WHATS)
def test_json_is_strict(stored: Path, what: str) -> None:
    """JSON has one object a row; NaN and what is missing are null, infinities their names."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    done = run_export(str(stored), "--format", "json", "--what", what)
    assert done.exit_code == 0, done.output
    assert done.stdout_bytes.isascii()
    rows = json.loads(done.stdout_bytes, parse_constant=refuse)
    expected = frame.table(broken_numbers(), what)  # type: ignore[arg-type]
    assert len(rows) == len(expected)
    named = {"Infinity": math.inf, "-Infinity": -math.inf}
    for row, (_, values) in zip(rows, expected.iterrows(), strict=True):
        assert list(row) == list(expected.columns)
        assert all(
            same(named.get(cell, cell), value) for cell, value in zip(row.values(), values, strict=True)
        )


@pytest.mark.parametrize("what", WHATS)
def test_parquet_holds_every_bit(stored: Path, tmp_path: Path, what: str) -> None:
    """Parquet read back is the frame, types included."""
    needs.package("pyarrow")
    out = tmp_path / "run.parquet"
    done = run_export(str(stored), "--format", "parquet", "--what", what, "-o", str(out))
    assert done.exit_code == 0, done.output
    expected = frame.table(broken_numbers(), what)  # type: ignore[arg-type]
    for name in expected.columns:
        if pd.api.types.is_string_dtype(expected[name]) or expected[name].dtype == "object":
            expected[name] = [value.replace("\udce9", r"\udce9") for value in expected[name]]
    pd.testing.assert_frame_equal(pd.read_parquet(out), expected, check_dtype=False, check_exact=True)


def test_scores_are_the_default(stored: Path) -> None:
    """Without --what the rows are those of `Run.to_frame`."""
    done = run_export(str(stored), "--format", "json")
    assert len(json.loads(done.stdout)) == len(broken_numbers().to_frame())


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_a_file_is_written_whole(stored: Path, tmp_path: Path, format_: str) -> None:
    """With -o the file holds what stdout would, and stdout nothing."""
    shown = run_export(str(stored), "--format", format_).stdout_bytes
    out = tmp_path / "out"
    done = run_export(str(stored), "--format", format_, "-o", str(out))
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "written" in done.stderr
    assert out.read_bytes() == shown


def test_a_run_without_series(tmp_path: Path) -> None:
    """A scan has no series: a header without rows, and an empty list."""
    path = tmp_path / "run.sqlite"
    store.save(build_run(), path)
    lines = run_export(str(path), "--format", "csv", "--what", "series").stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("step,site,source,mean,sd")
    assert json.loads(run_export(str(path), "--format", "json", "--what", "events").stdout) == []


def test_warnings_go_to_stderr(tmp_path: Path) -> None:
    """What the run warns of is said beside the data, not in it."""
    path = tmp_path / "run.sqlite"
    store.save(build_run(warnings=("incomplete: writing failed at step 120: disk full",)), path)
    done = run_export(str(path), "--format", "json")
    assert "disk full" in done.stderr
    assert "disk full" not in done.stdout


def test_without_pyarrow(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet without its package is refused in two lines that name the extra, before anything is read."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pyarrow" else find(name, *more)
    )
    done = run_export(str(tmp_path / "missing"), "--format", "parquet", "-o", str(tmp_path / "out"))
    assert isinstance(done.exception, MissingExtraError)
    assert "gaussprobe[parquet]" in str(done.exception)
    assert len(str(done.exception).splitlines()) == 2


def test_the_run_is_not_overwritten(stored: Path, tmp_path: Path) -> None:
    """An output that would replace the run, or has no folder, is refused."""
    before = stored.read_bytes()
    for out in (str(stored), str(tmp_path / "no" / "out")):
        done = run_export(str(stored), "--format", "csv", "-o", out)
        assert isinstance(done.exception, StoreError)
    assert stored.read_bytes() == before


def test_export_does_not_import_torch(stored: Path) -> None:
    """The whole command runs in a process where importing torch would fail."""
    code = (
        "import sys\nsys.modules['torch'] = None\nimport typer\nfrom gaussprobe.cli import export\n"
        "app = typer.Typer()\napp.command()(export.export)\n"
        "app([sys.argv[1], '--format', 'csv', '--what', 'metrics'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stored)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "step,name,value"
