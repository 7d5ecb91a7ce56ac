"""What is imported when, and what is said where a package is missing."""

from __future__ import annotations

import subprocess
import sys

PACKAGES = ("lightning", "pytorch_lightning", "transformers", "tensorboard", "wandb", "mlflow")

LIGHT = f"""
import sys
import gaussprobe
import gaussprobe.integrations
import gaussprobe.integrations.tensorboard
import gaussprobe.integrations.wandb
import gaussprobe.integrations.mlflow
print([name for name in {PACKAGES} if name in sys.modules])
"""

MISSING = f"""
import sys
for name in {PACKAGES}:
    sys.modules[name] = None  # what Python takes for a package that cannot be imported
from gaussprobe.errors import MissingExtraError
from gaussprobe.integrations.mlflow import MlflowWriter
from gaussprobe.integrations.wandb import WandbWriter

def lightning():
    from gaussprobe.integrations.lightning import GaussProbeCallback

def transformers():
    from gaussprobe.integrations.transformers import GaussProbeCallback

for use in (lightning, transformers, lambda: WandbWriter(None), lambda: MlflowWriter(None, "")):
    try:
        use()
    except MissingExtraError as error:
        print(" | ".join(str(error).splitlines()))
"""


def python(code: str) -> list[str]:
    """Lines that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_no_package_is_imported_before_it_is_used() -> None:
    """Importing the package, its integrations and the writers imports none of the others' packages."""
    assert python(LIGHT) == ["[]"]


def test_a_missing_package_is_named() -> None:
    """Where a package is missing, the error names it and the extra that brings it."""
    expected = {
        "lightning": "lightning",
        "transformers": "huggingface",
        "wandb": "wandb",
        "mlflow-skinny": "mlflow",
    }
    lines = python(MISSING)
    assert len(lines) == len(expected)
    for line, (package, extra) in zip(lines, expected.items(), strict=True):
        assert f'needs the package {package}, which comes with the extra "{extra}"' in line
        assert line.endswith(f"| pip install 'gaussprobe[{extra}]'")
