"""The command line: the app, and the one place where failures become exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import gaussprobe
from gaussprobe.cli import apart, compare, demo, diff, export, gaussianize, init, live, report, scan, selftest
from gaussprobe.cli.console import Debug, abandon_stdout, invocation, say
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
app.command("selftest")(selftest.selftest)
app.command("live")(live.live)
app.command("export")(export.export)
app.command("diff")(diff.diff)
app.command("compare")(compare.compare)
app.command("gaussianize")(gaussianize.gaussianize)
app.command("init")(init.init)

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
    invocation.arguments = tuple(sys.argv[1:] if arguments is None else arguments)
    invocation.debug = False
    try:
        code = app(args=list(invocation.arguments), prog_name="gaussprobe", standalone_mode=False)
    except _ClickError as error:
        return _complain(error, _usage_message(error))
    except GaussprobeError as error:
        return _complain(error, str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has gone: Typer exits then.
        abandon_stdout()
        return EXIT_CLEAN
    except Exception as error:  # noqa: BLE001  (the last resort: one line instead of a traceback)
        return _complain(
            error, f"unexpected {type(error).__name__}: {_first_line(error)}\n--debug shows where"
        )
    if code == EXIT_INTERRUPTED:
        say("interrupted", "nothing more was written")
    return code if isinstance(code, int) else EXIT_CLEAN


def _first_line(error: BaseException) -> str:
    try:
        return next(iter(str(error).splitlines()), "")
    except Exception:  # noqa: BLE001  (an exception whose own text fails)
        return ""


def _usage_message(error: BaseException) -> str:
    """Message of a mistake in the command line, and where its help is."""
    message = str(getattr(error, "format_message", error.__str__)()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message}\ntry: {context.command_path} --help"


def _complain(error: BaseException, message: str) -> int:
    if invocation.debug:
        traceback.print_exception(error)
    say("error", message)
    return EXIT_UNUSABLE


def run() -> None:
    """Entry point of the installed script."""
    arguments = sys.argv[1:]
    name = apart.program(arguments)
    sys.exit(main() if name is None else apart.run(arguments, name))
