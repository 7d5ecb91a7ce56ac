"""Model files that are programs are run in a process apart: what they do to it stays there.

A TorchScript or `torch.export` program is checked operator by operator before it runs, but torch's own
operators can crash the interpreter when they are called wrongly, and a loop without end listens to nobody.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from gaussprobe.cli.console import say

_INSIDE = "GAUSSPROBE_APART"
_VERBS = ("scan", "selftest", "diff")
# Members that only programs have: TorchScript's, then those of torch.export, today's and the first.
_MEMBERS = ("constants.pkl", "archive_format", "serialized_exported_program.json")
_PATIENCE = 3.0  # seconds that an interrupted program has to stop by itself
_UNUSABLE, _INTERRUPTED = 2, 130


def program(arguments: Sequence[str]) -> str | None:
    """The file among the arguments of a command that is a program, None where there is none.

    This decides where the command runs, not whether the file is opened: that is judged by its whole content.
    """
    if os.environ.get(_INSIDE) or not arguments or arguments[0] not in _VERBS:
        return None
    return next((each for each in arguments[1:] if not each.startswith("-") and _is_program(each)), None)


def _is_program(path: str) -> bool:
    try:
        if not Path(path).is_file():
            return False
        with Path(path).open("rb") as file:
            if file.read(2) != b"PK":
                return False
            with zipfile.ZipFile(file) as archive:
                return any(name.rsplit("/", 1)[-1] in _MEMBERS for name in archive.namelist())
    except Exception:  # noqa: BLE001  (a damaged archive: whoever opens it says what is wrong)
        return False


def run(arguments: Sequence[str], name: str) -> int:
    """Run the command line in a process of its own.

    Args:
        arguments: without the program's name.
        name: of the file, for messages.

    Returns:
        Its exit code; 2 if it was ended by a signal, 130 if it was interrupted.
    """
    # -P: no module of the current directory stands in for ours.
    command = [sys.executable, "-P", "-m", "gaussprobe", *arguments]
    child = subprocess.Popen(command, env={**os.environ, _INSIDE: "1"})  # noqa: S603  (ourselves)
    try:
        code = child.wait()
    except KeyboardInterrupt:  # which the child has got too
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        say("interrupted", "the model's program was stopped")
        return _INTERRUPTED
    if code >= 0:
        return code
    say(
        "error",
        f"{name}: its program crashed torch ({signal.Signals(-code).name})\n"
        "it is damaged, or calls an operator as it must not be called",
    )
    return _UNUSABLE
