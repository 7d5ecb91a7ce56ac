"""What numbers were made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """The CPU and its cores."""
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    """Name of the CPU, as the operating system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
