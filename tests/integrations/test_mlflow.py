"""Records in a local run of MLflow, read back by its client."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from gaussprobe.integrations import flat
from gaussprobe.integrations.mlflow import MlflowWriter, metric_name
from gaussprobe.watch import Recorded
from tests import needs
from tests.integrations.recorded import alike, odd, site_score, train

# Its database models use a loader that SQLAlchemy 2.1 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

LARGEST = sys.float_info.max


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with nothing written outside of `tmp_path` and nothing sent."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
    return needs.package("mlflow")


@pytest.fixture(params=["sqlite", "file"])
def client(request: pytest.FixtureRequest, mlflow: Any, tmp_path: Path) -> Any:
    """A client of a new store, in a database or in files."""
    if request.param == "file":
        return mlflow.MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    needs.package("sqlalchemy")
    needs.package("alembic")
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def new_run(client: Any, folder: Path) -> str:
    """A run in an experiment whose artifacts go to `folder`."""
    experiment = client.create_experiment("test", artifact_location=folder.as_uri())
    return str(client.create_run(experiment).info.run_id)


def check(client: Any, run_id: str, recorded: list[Recorded], database: bool) -> None:
    """Assert that a run's metrics are those of the records, infinity in a database the largest float."""
    largest = LARGEST if database else math.inf
    expected: dict[str, list[tuple[int, float]]] = {}
    for one in recorded:
        for name, value in flat.numbers(one).items():
            expected.setdefault(metric_name(name), []).append((one.step, value))
    assert set(client.get_run(run_id).data.metrics) == set(expected)
    for name, points in expected.items():
        found = [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]
        assert len(found) == len(points), name
        for (step, value), (at, given) in zip(found, points, strict=True):
            assert step == at, name
            assert alike(value, min(max(given, -largest), largest) if math.isinf(given) else given), name


def test_a_training_read_back(client: Any, tmp_path: Path) -> None:
    """The store holds every number of every record of a watched training."""
    run_id = new_run(client, tmp_path / "artifacts")
    recorded = train(MlflowWriter(client, run_id))
    check(client, run_id, recorded, database=(tmp_path / "mlflow.db").exists())


def test_odd_records_read_back(client: Any, tmp_path: Path) -> None:
    """NaN stays NaN, infinity is the largest float in a database, and events are artifacts."""
    run_id = new_run(client, tmp_path / "artifacts")
    write = MlflowWriter(client, run_id)
    for step in (0, 50):
        write(odd(step))
    check(client, run_id, [odd(0), odd(50)], database=(tmp_path / "mlflow.db").exists())
    assert "gaussprobe/net.0-relu-2/delta" in client.get_run(run_id).data.metrics
    names = [file.path for file in client.list_artifacts(run_id, "gaussprobe/events")]
    assert names == [f"gaussprobe/events/{step:09d}.txt" for step in (0, 50)]
    written = (tmp_path / "artifacts" / run_id / "artifacts" / names[1]).read_text(encoding="utf-8")
    assert written.splitlines() == flat.lines(odd(50))


def test_more_metrics_than_go_into_one_request(mlflow: Any, tmp_path: Path) -> None:
    """A record of 2,001 numbers is written in parts, all of it."""
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    run_id = new_run(client, tmp_path / "artifacts")
    many = Recorded(
        step=0,
        scores=tuple(site_score(f"layer{i}", i / 1000, step=0) for i in range(500)),
        series=(),
        metrics=(),
        events=(),
    )
    MlflowWriter(client, run_id)(many)
    assert client.get_run(run_id).data.metrics == flat.numbers(many)
    assert len(flat.numbers(many)) == 2001


def test_the_module_will_do(mlflow: Any, tmp_path: Path) -> None:
    """Given the module, the writer uses the tracking URI that is set there."""
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    try:
        client = mlflow.MlflowClient()
        run_id = new_run(client, tmp_path / "artifacts")
        MlflowWriter(mlflow, run_id, quantities=["sd"], prefix="layers")(odd(3))
        names = set(client.get_run(run_id).data.metrics)
    finally:
        mlflow.set_tracking_uri("")
    assert names == {metric_name(n) for n in flat.numbers(odd(3), quantities=["sd"], prefix="layers")}
