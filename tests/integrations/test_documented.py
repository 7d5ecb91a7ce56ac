"""The examples of docs/integrations.md, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gaussprobe.integrations import flat
from tests import needs

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (.+?)\n\n```python\n(.+?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)

NEEDED = ("lightning", "accelerate", "tensorboard", "wandb", "mlflow", "sqlalchemy", "alembic")


@pytest.mark.filterwarnings("ignore")  # an example says nothing of what its packages warn of
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example runs as it stands and leaves behind what it says."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "WANDB_SILENT"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    packages = {name: needs.package(name) for name in NEEDED}
    titles = ["Lightning", "Transformers", "TensorBoard", "Weights & Biases", "MLflow"]
    assert [title for title, _ in EXAMPLES] == titles
    try:
        for _, code in EXAMPLES:
            exec(code, {"__name__": "__main__"})
    finally:
        packages["wandb"].teardown()
        packages["mlflow"].set_tracking_uri("")
    left = {path.name for path in tmp_path.iterdir()}
    for name in ("lightning", "transformers"):
        assert {f"{name}.sqlite", f"{name}.html"} <= left
    assert {"tensorboard-runs", "wandb", "mlflow.db"} <= left


def test_the_quantities_are_those_there_are() -> None:
    """The page names every quantity, and says which are written by default."""
    (text,) = re.findall(r"^By default the quantities are (.+?)^Metrics given", PAGE, flags=re.M | re.S)
    default, others = text.split("quantities=[...]")
    assert tuple(re.findall(r"`(\w+)`", default)[: len(flat.DEFAULT)]) == flat.DEFAULT
    assert {*flat.DEFAULT, *re.findall(r"`(\w+)`", others)} >= set(flat.QUANTITIES)
