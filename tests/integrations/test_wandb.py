"""Records in an offline run of Weights & Biases, read back from its file."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaussprobe.integrations import flat
from gaussprobe.integrations.wandb import WandbWriter
from gaussprobe.watch import Recorded
from tests import needs
from tests.integrations.recorded import alike, odd, train

_BLOCK, _HEADER = 32_768, 7


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with everything it writes in `tmp_path` and nothing sent."""
    for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    switches = {"MODE": "offline", "SILENT": "true", "ERROR_REPORTING": "false", "CONSOLE": "off"}
    for name, value in (switches | {"DISABLE_CODE": "true", "DISABLE_GIT": "true"}).items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    package = needs.package("wandb")
    yield package
    package.teardown()


def records(path: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format behind a header of 7 bytes.

    Blocks of 32 KiB hold pieces, each with its checksum, length and type: 1 whole, 2 first, 3 middle, 4 last.
    """
    data, at, parts = path.read_bytes(), _HEADER, b""
    assert data[:4] == b":W&B"
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:  # too little for another piece
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def history(wandb: Any, path: Path) -> list[dict[str, Any]]:
    """The rows of a finished run; parts of a histogram as `name/bins` and `name/values`."""
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # ends the process that writes, which may not be done yet
    rows = []
    for data in records(path):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
    return rows


def check(row: dict[str, Any], one: Recorded) -> None:
    """Assert that a row holds a record and nothing else by our name."""
    expected = flat.numbers(one) | {"gaussprobe/step": float(one.step)}
    shapes = dict(flat.histograms(one))
    ours = {name: value for name, value in row.items() if name.startswith("gaussprobe/")}
    of_shapes = {f"{name}/{part}" for name in shapes for part in ("_type", "bins", "values")}
    assert set(ours) == set(expected) | of_shapes | ({"gaussprobe/events"} if one.events else set())
    assert all(alike(ours[name], value) for name, value in expected.items())
    for name, shape in shapes.items():
        np.testing.assert_array_equal(ours[f"{name}/bins"], shape.edges)
        np.testing.assert_array_equal(ours[f"{name}/values"], shape.counts)


def test_a_training_read_back(wandb: Any) -> None:
    """The file of an offline run holds every number and histogram of every record, one row each."""
    with wandb.init(project="test") as run:
        path = Path(run.settings.sync_file)
        recorded = train(WandbWriter(run))
    rows = history(wandb, path)
    assert len(rows) == len(recorded) == 3
    for row, one in zip(rows, recorded, strict=True):
        check(row, one)
        assert row["_step"] == one.step


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("explicit", [True, False])
def test_beside_the_users_own_log(wandb: Any, before: bool, explicit: bool) -> None:
    """Whether the user logs before or after a record, with `step=` or without: no row of either is lost."""
    with wandb.init(project="test") as run:
        path, write = Path(run.settings.sync_file), WandbWriter(run)
        for step in range(5):
            if before:
                run.log({"loss": step / 8}, step=step if explicit else None)
            if step % 2 == 0:
                write(odd(step))
            if not before:
                run.log({"loss": step / 8}, step=step if explicit else None)
    rows = history(wandb, path)
    assert [row["loss"] for row in rows if "loss" in row] == [step / 8 for step in range(5)]
    ours = [row for row in rows if "gaussprobe/step" in row]
    assert [row["gaussprobe/step"] for row in ours] == [0, 2, 4]
    for row in ours:
        check(row, odd(int(row["gaussprobe/step"])))
        assert row["gaussprobe/events"] == "\n".join(flat.lines(odd(int(row["gaussprobe/step"]))))


def test_less_when_less_is_wanted(wandb: Any) -> None:
    """`quantities`, `histograms` and `prefix` decide what is written, and where."""
    with wandb.init(project="test") as run:
        path = Path(run.settings.sync_file)
        WandbWriter(run, quantities=["sd"], histograms=False, prefix="layers")(odd(3))
    (row,) = history(wandb, path)
    names = set(flat.numbers(odd(3), quantities=["sd"], prefix="layers"))
    assert {name for name in row if name.startswith("layers/")} == names | {"layers/step", "layers/events"}
