"""Optional packages: the error that names the extra to install."""

from __future__ import annotations

from gaussprobe.errors import MissingExtraError


def missing_extra(what: str, *, package: str, extra: str) -> MissingExtraError:
    """The error for an optional package that is not installed.

    Args:
        what: what needs it, as the beginning of a sentence.
        package: the package.
        extra: the extra of gaussprobe that brings it.
    """
    return MissingExtraError(
        f'{what} needs the package {package}, which comes with the extra "{extra}"\n'
        f"pip install 'gaussprobe[{extra}]'"
    )
