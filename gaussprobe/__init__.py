"""gaussprobe: how Gaussian a network's activations are, layer by layer.

Public names are imported when first used (PEP 562): `import gaussprobe` imports no torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gaussprobe.version import __version__

if TYPE_CHECKING:
    from gaussprobe import measures, nn, signal, stats
    from gaussprobe.compare import compare
    from gaussprobe.scan import scan
    from gaussprobe.store import load
    from gaussprobe.types import GofResult, LayerScore, Run, Samples, Site
    from gaussprobe.watch import watch

__all__ = [
    "GofResult",
    "LayerScore",
    "Run",
    "Samples",
    "Site",
    "__version__",
    "compare",
    "load",
    "measures",
    "nn",
    "scan",
    "signal",
    "stats",
    "watch",
]

_ROOMS = ("measures", "nn", "signal", "stats")
_HOMES = {
    "GofResult": "gaussprobe.types",
    "LayerScore": "gaussprobe.types",
    "Run": "gaussprobe.types",
    "Samples": "gaussprobe.types",
    "Site": "gaussprobe.types",
    "compare": "gaussprobe.compare",
    "load": "gaussprobe.store",
    "scan": "gaussprobe.scan",
    "watch": "gaussprobe.watch",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        value: Any = importlib.import_module(f"gaussprobe.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'gaussprobe' has no attribute {name!r}")
    globals()[name] = value
    return value


class _Package(ModuleType):
    """`gaussprobe.scan` is the function also after the module of that name was imported by itself."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
