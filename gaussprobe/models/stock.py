"""What a torch file may hold: tensors, plain data, and modules of stock `torch.nn` classes in a stock state.

Two looks at the same rules: `gaussprobe.models.judge` judges the tree of a pickle before anything is built,
`check_module` the module that was built. Either alone would do for honest files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import torch
from torch import nn

from gaussprobe.models.kernels import misfit
from gaussprobe.models.pickles import Storage
from gaussprobe.models.wording import printable
from gaussprobe.nn import OURS
from gaussprobe.nn.layers import MARK, LayerNormalNorm

TENSOR_MAKERS = {
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
}
PARAMETER_MAKERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
PLAIN_MAKERS = {
    "collections.OrderedDict",
    "builtins.set",
    "torch.Size",
    "torch.device",
    "collections.Counter",
}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "torch.nn.functional.relu": torch.nn.functional.relu,
    "torch._C._nn.gelu": torch.nn.functional.gelu,
    "torch.nn.functional.gelu": torch.nn.functional.gelu,
}
STORAGES = {
    f"torch.{kind}Storage": width
    for kind, width in {
        "Double": 8,
        "Float": 4,
        "Half": 2,
        "BFloat16": 2,
        "Long": 8,
        "Int": 4,
        "Short": 2,
        "Char": 1,
        "Byte": 1,
        "Bool": 1,
        "ComplexDouble": 16,
        "ComplexFloat": 8,
    }.items()
} | {"torch.storage.UntypedStorage": 1}


class UnsafeContentError(Exception):
    """A file would do more on loading than make tensors, plain data and stock modules; says what."""


class UnknownGlobalsError(UnsafeContentError):
    """A file names functions or classes that are not stock.

    Args:
        names: the names, sorted.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(names))
        super().__init__(", ".join(self.names))


@cache
def stock_classes() -> dict[str, type[nn.Module]]:
    """Classes of `torch.nn` but for lazy ones, and of `gaussprobe.nn`, by the name a pickle gives them."""

    def subclasses(parent: type[nn.Module]) -> Iterator[type[nn.Module]]:
        for child in parent.__subclasses__():
            yield child
            yield from subclasses(child)

    lazy = torch.nn.modules.lazy.LazyModuleMixin
    found = {
        f"{each.__module__}.{each.__qualname__}": each
        for each in subclasses(nn.Module)
        if each.__module__.startswith("torch.nn.modules.") and not issubclass(each, lazy)
    }
    found["torch.nn.parallel.data_parallel.DataParallel"] = nn.DataParallel
    found |= {f"{each.__module__}.{each.__qualname__}": each for each in OURS}
    # A class that claims to live in torch.nn.modules but is not found there is not stock.
    return {name: each for name, each in found.items() if _resolves(name, each)}


def _resolves(name: str, expected: type) -> bool:
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None) is expected


def allowed_globals() -> list[Any]:
    """Classes and functions `torch.load(weights_only=True)` must be told of to build stock modules."""
    functions: list[Any] = [(function, name) for name, function in ACTIVATIONS.items()]
    return [*stock_classes().values(), *functions]


def unknown(names: Iterable[str]) -> list[str]:
    """Those of `names` that are neither torch's own nor stock modules, sorted."""
    return sorted({name for name in names if not _is_known(name)})


def _is_known(name: str) -> bool:
    if name in TENSOR_MAKERS | PARAMETER_MAKERS | PLAIN_MAKERS or name == "_codecs.encode":
        return True
    if name in ACTIVATIONS or name in STORAGES or name in stock_classes():
        return True
    return dtype_of(name) is not None or name == "torch.serialization._get_layout"


def dtype_of(name: str) -> torch.dtype | None:
    """The dtype that a pickle names, None if the name is something else's."""
    package, _, attribute = name.partition(".")
    found = getattr(torch, attribute, None) if package == "torch" and attribute.isidentifier() else None
    return found if isinstance(found, torch.dtype) else None


def storage_bytes(storage: Storage) -> int:
    """Bytes a storage says it holds."""
    return storage.numel * STORAGES[storage.type]


def check_module(module: nn.Module) -> None:
    """Refuse a loaded module that is not made of stock classes in a stock state.

    Args:
        module: what was loaded; `check_tree` has passed its file, so it is neither cyclic nor deep.

    Raises:
        UnsafeContentError: naming the class and what is wrong with it.
    """
    allowed = set(stock_classes().values())
    for name, child in module.named_modules():
        title = f"{printable(name) or 'the model'} ({type(child).__name__})"
        if type(child) not in allowed:
            raise UnsafeContentError(f"{title} is not a torch.nn class")
        state = vars(child)
        for needed in ("_parameters", "_buffers", "_modules", "training"):
            if needed not in state:
                raise UnsafeContentError(f"{title} is damaged: it lacks {needed}")
        if not isinstance(state["training"], bool):
            raise UnsafeContentError(f"{title} is damaged: it has no training mode")
        for key, value in state.items():
            flag = key == "_is_full_backward_hook" and (value is None or isinstance(value, bool))
            marked = key == "_forward_pre_hooks" and isinstance(child, LayerNormalNorm) and value == MARK
            if "_hook" in key and not (flag or marked or (isinstance(value, dict) and not value)):
                raise UnsafeContentError(f"{title} carries a hook ({printable(key)})")
            # Weak references are callable; `RNNBase.__setstate__` keeps a list of them, none by itself.
            if callable(value) and not (key == "activation" and value in ACTIVATIONS.values()):
                raise UnsafeContentError(f"{title} has its {printable(key)!r} replaced")
        wrong = misfit(child)
        if wrong is not None:
            raise UnsafeContentError(f"{title} is damaged: {wrong}")
