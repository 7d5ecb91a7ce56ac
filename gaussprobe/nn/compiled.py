"""The traced formulas through `torch.compile`, once for each shape; without a compiler, as they are."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch

from gaussprobe.errors import GaussprobeWarning

# A compiler that writes down what several loops read takes longer to fetch it than to work it out again; and
# sums of products need not be rounded twice.
_WISHES = {"realize_reads_threshold": 16, "cpp.enable_floating_point_contract_flag": "fast"}

_made: dict[Hashable, Callable[..., Any]] = {}
_broken = False


def works() -> bool:
    """Whether the compiler has not failed yet."""
    return not _broken


def run(function: Callable[..., Any], *given: Any) -> Any:
    """A function of tensors, compiled for the look of its arguments.

    The first failure of the compiler is told, and from then on functions run as they are.
    """
    global _broken
    plain = [_without_graph(one) for one in given]
    if not _broken:
        try:
            return _compiled(function, plain)
        except Exception as error:  # noqa: BLE001  (a compiler fails in many ways; the layer goes on without)
            _broken = True
            first = next(iter(str(error).splitlines()), "")
            warnings.warn(
                f"torch.compile failed ({type(error).__name__}: {first[:160]}): layers run without it",
                GaussprobeWarning,
                stacklevel=2,
            )
    return function(*plain)


def _compiled(function: Callable[..., Any], given: list[Any]) -> Any:
    key = (function.__name__, *(_look(one) for one in given))
    made = _made.get(key)
    if made is not None:
        return made(*given)
    # torch counts what it compiles by code object, and after eight gives up without a word: each look of the
    # arguments gets a code object of its own.
    assert isinstance(function, types.FunctionType)
    code = function.__code__.replace(co_name=f"{function.__name__}_{len(_made)}")
    own = types.FunctionType(code, function.__globals__, code.co_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's about itself, which may be errors to a caller
        made = torch.compile(own, dynamic=False, options=_options())
        found = made(*given)
    _made[key] = made
    return found


@functools.cache
def _options() -> dict[str, Any]:
    """What is wished of the compiler, as far as this release of it knows of it."""
    from torch import _inductor  # slow to import, and needs a compiler's packages

    known = set(_inductor.list_options())
    return {name: value for name, value in _WISHES.items() if name in known}


def _without_graph(one: Any) -> Any:
    return one.detach() if isinstance(one, torch.Tensor) and one.requires_grad else one


def _look(one: Any) -> Hashable:
    if isinstance(one, torch.Tensor):
        return one.shape, one.stride(), one.dtype, one.device
    return one  # type: ignore[no-any-return]
