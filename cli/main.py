"""The command line: the app, and the one place where failures become exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import gaussprobe
from gaussprobe.cli import demo, report, scan
from gaussprobe.cli.console import Debug, debugging
from gaussprobe.errors import GaussprobeError

app = typer.Typer(
    name="gaussprobe",
    help="How Gaussian a network's activations are, layer by layer.",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("scan")(scan.scan)
app.command("report")(report.report)
app.command("demo")(demo.demo)

# Typer exports one class of its error tree; the tree is click's own or a copy of it, by Typer's version.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

EXIT_CLEAN, EXIT_FAILED_ON, EXIT_UNUSABLE, EXIT_INTERRUPTED = 0, 1, 2, 130


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gaussprobe {gaussprobe.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    _debug: Debug = False,
) -> None:
    """How Gaussian a network's activations are, layer by layer."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes them from `sys.argv`.

    Returns:
        0 clean; 1 a layer at or past `--fail-on`; 2 unusable or refused input; 130 interrupted.
    """
    debugging.on = False
    try:
        code = app(
            args=None if arguments is None else list(arguments),
            prog_name="gaussprobe",
            standalone_mode=False,
        )
    except _ClickError as error:
        return _complain(error, _usage_message(error))
    except typer.Abort:
        return _interrupted()
    except GaussprobeError as error:
        return _complain(error, str(error))
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining again when it flushes at exit.
        sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115, PTH123
        return EXIT_CLEAN
    except Exception as error:  # noqa: BLE001  (the last resort: one line instead of a traceback)
        first = next(iter(str(error).splitlines()), "")
        return _complain(error, f"unexpected {type(error).__name__}: {first}\n--debug shows where")
    return code if isinstance(code, int) else EXIT_CLEAN


def _usage_message(error: BaseException) -> str:
    """Message of a mistake in the command line, and where its help is."""
    message = str(getattr(error, "format_message", error.__str__)())
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message}\ntry: {context.command_path} --help"


def _complain(error: BaseException, message: str) -> int:
    if debugging.on:
        traceback.print_exception(error)
    lines = [line for line in message.splitlines() if line.strip()][:2]
    typer.echo("gaussprobe: error: " + "\n  ".join(lines), err=True)
    return EXIT_UNUSABLE


def _interrupted() -> int:
    typer.echo("gaussprobe: interrupted", err=True)
    return EXIT_INTERRUPTED


def run() -> None:
    """Entry point of the installed script."""
    sys.exit(main())
