"""Names of modules as the user knows them, without the wrappers that torch puts around models."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.optim.swa_utils import AveragedModel

# Names that only wrappers give the module inside: torch.compile, FSDP, checkpoint_wrapper.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Classes that name it as anybody might.
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def own_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module of a model once, with its path, parents before children.

    Args:
        model: the model, wrapped or not.

    Returns:
        Path and module; the wrapper and what it wraps have one path. A module under several names has the
        first.
    """
    modules = dict(model.named_modules())
    for name, module in modules.items():
        parts = name.split(".") if name else []
        kept = []
        for i, part in enumerate(parts):
            outer = modules.get(".".join(parts[:i]))
            if part in _WRAPPERS or (part == "module" and isinstance(outer, _PARALLEL)):
                continue
            kept.append(part)
        yield ".".join(kept), module
