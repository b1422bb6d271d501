"""The command line: a file for each verb, named as the verb, and what verbs share; parses, calls, prints.

Torch and ray are imported inside a verb, never for `--help`. Exit codes: 0 done, 2 wrong input,
1 failure, 130 interrupted.
"""

from __future__ import annotations

import os
import sys

import typer

from wsss_platform.cli import (
    compare,
    data,
    import_maps,
    import_weights,
    leaderboard,
    maps,
    masks,
    methods,
    score,
    show,
    store,
    train,
    tune,
)
from wsss_platform.cli.output import print_error, show_log
from wsss_platform.errors import InputError, RunError
from wsss_platform.run.interrupts import Interrupted

app = typer.Typer(
    name="wsss-platform",
    help="Train, tune and honestly score weakly supervised semantic segmentation.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("methods")(methods.methods)
app.add_typer(data.app, name="data")
app.add_typer(store.app, name="store")
app.command("import-weights")(import_weights.import_weights)
app.command("import-maps")(import_maps.import_maps)
app.command("train")(train.train)
app.command("maps")(maps.maps)
app.command("masks")(masks.masks)
app.command("score")(score.score)
app.command("tune")(tune.tune)
app.command("compare")(compare.compare)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("show")(show.show)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code."""
    show_log()
    try:
        app(arguments, prog_name="wsss-platform")
    except SystemExit as end:  # typer's own: 0 after a verb or help, 2 for wrong usage, 130 for Ctrl-C
        code = end.code if isinstance(end.code, int) else 1
        if code == 130:
            print_error("interrupted; the same command continues where it stopped")
        return code
    except Interrupted as end:
        said = f" ({end})" if str(end) else ""
        print_error(f"interrupted{said}; the same command continues where it stopped")
        return 130
    except InputError as error:
        print_error(str(error))
        return 2
    except Exception as error:
        if os.environ.get("WSSS_TRACEBACK"):
            raise
        print_error(str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}")
        print_error("set WSSS_TRACEBACK=1 for the traceback")
        return 1
    return 0
