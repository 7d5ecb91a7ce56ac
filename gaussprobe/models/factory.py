"""`pkg.mod:fn`: objects named on the command line, imported from the current directory or the environment."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from gaussprobe.errors import FactoryError
from gaussprobe.models.wording import first_line

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(text: str) -> bool:
    """Whether `text` has the form `pkg.mod:fn`."""
    return _REFERENCE.fullmatch(text) is not None


@contextmanager
def importable_cwd() -> Iterator[None]:
    """Make the current directory importable for the time of an import."""
    folder = str(Path.cwd())
    if folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def load_object(reference: str) -> Any:
    """The object that `pkg.mod:fn` names; its module is imported, which runs it.

    Args:
        reference: module and attribute, divided by a colon; both may be dotted.

    Returns:
        The object.

    Raises:
        FactoryError: if the text is not of that form, the module does not import, or has no such name.
    """
    if not is_reference(reference):
        raise FactoryError(f"{reference!r} is not of the form pkg.mod:fn, such as models.small:build")
    module_name, _, attributes = reference.partition(":")
    try:
        with importable_cwd():
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise FactoryError(
                f"{reference}: there is no module {missing!r}; "
                f"searched the current directory ({Path.cwd()}) and the Python path"
            ) from error
        raise FactoryError(f"{reference}: importing {module_name} failed: {first_line(error)}") from error
    except (Exception, SystemExit, GeneratorExit) as error:
        raise FactoryError(f"{reference}: importing {module_name} failed: {first_line(error)}") from error
    where = module_name
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            near = difflib.get_close_matches(attribute, _own_callables(found), n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise FactoryError(f"{reference}: {where} has no {attribute!r}{hint}") from error
        where = f"{where}.{attribute}"
    return found


def _own_callables(owner: Any) -> list[str]:
    """Public functions and classes that a module (or class) defines itself, rather than imports."""
    home = owner.__name__ if inspect.ismodule(owner) else getattr(owner, "__module__", None)
    return [
        name
        for name, each in getattr(owner, "__dict__", {}).items()
        if name[0] != "_" and (inspect.isfunction(each) or inspect.isclass(each)) and each.__module__ == home
    ]


def load_callable(reference: str) -> Callable[[], Any]:
    """The function that `pkg.mod:fn` names.

    Raises:
        FactoryError: as `load_object`, or if it cannot be called.
    """
    found = load_object(reference)
    if not callable(found):
        raise FactoryError(
            f"{reference}: {type(found).__name__} is not a function; name one that takes no arguments"
        )
    return found  # type: ignore[no-any-return]


def call(reference: str) -> Any:
    """What the function named by `pkg.mod:fn` returns, called without arguments.

    Raises:
        FactoryError: as `load_callable`, or if the call raises.
    """
    function = load_callable(reference)
    try:
        with importable_cwd():
            return function()
    except (Exception, SystemExit, GeneratorExit) as error:
        raise FactoryError(
            f"{reference}: calling it without arguments failed: {first_line(error)}"
        ) from error


def build(reference: str) -> nn.Module:
    """The model that `pkg.mod:fn` makes, or is.

    Args:
        reference: a function (or class) that returns an `nn.Module` when called without arguments, or the
            name of a module object itself.

    Raises:
        FactoryError: as `call`, or if what comes back is not an `nn.Module`.
    """
    found = load_object(reference)
    if isinstance(found, nn.Module):
        return found
    built = call(reference)
    if not isinstance(built, nn.Module):
        raise FactoryError(f"{reference}: returned {_article(type(built).__name__)}, not a torch.nn.Module")
    return built


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
