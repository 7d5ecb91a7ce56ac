"""What a test needs that a machine may lack: every skip says so, in one form.

With `GAUSSPROBE_NOTHING_MISSING=1`, as `.ci/run` sets it, only what no installation can give may be missing:
a skip for any other reason fails (`tests/conftest.py`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
from typing import Any

import pytest
import torch

MACHINE = "this machine has no "
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason=f"{MACHINE}CUDA device")
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason=f"{MACHINE}fork")
PROCESS_GROUPS = pytest.mark.skipif(not hasattr(os, "killpg"), reason=f"{MACHINE}process groups")


def package(name: str, *, extra: str = "dev") -> Any:
    """A package of an extra of pyproject.toml."""
    return pytest.importorskip(
        name, reason=f"needs {name}, of the extra {extra}, which is not installed", exc_type=ImportError
    )


def asset(name: str) -> Any:
    """A package that carries a real model, of requirements-assets.txt."""
    return pytest.importorskip(
        name, reason=f"needs {name}, of requirements-assets.txt, which is not installed", exc_type=ImportError
    )


def program(name: str) -> str:
    """Where a program of the system is."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} on the path")
    return found


def library_function(name: str) -> Any:
    """A function of the C library."""
    found = getattr(ctypes.CDLL(None), name, None)
    if found is None:
        pytest.skip(f"{MACHINE}{name} in its C library")
    return found


def forgivable(reason: str) -> bool:
    """Whether no installation could have given what a skipped test lacks, or `make test` leaves it out."""
    return MACHINE in reason or "--benchmark-skip active" in reason
