"""The command line: a file for each verb, named as the verb; parses, calls the API, prints.

Torch and ray are imported inside the API's functions, never for `--help`. Exit codes: `guide.EXIT_CODES`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from wsss_platform import __version__
from wsss_platform.cli import (
    compare,
    data,
    doctor,
    import_maps,
    import_masks,
    import_weights,
    leaderboard,
    maps,
    masks,
    methods,
    score,
    search,
    show,
    sites,
    store,
    submit,
    train,
    tune,
)
from wsss_platform.cli.guide import advice, verb_in, with_examples
from wsss_platform.cli.output import error_document, print_advice, print_error, usage_document, was_printed
from wsss_platform.errors import InputError, RunError
from wsss_platform.report.progress import show_log
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
app.command("import-masks")(import_masks.import_masks)
app.command("train")(train.train)
app.command("maps")(maps.maps)
app.command("masks")(masks.masks)
app.command("score")(score.score)
app.command("tune")(tune.tune)
app.command("search")(search.search)
app.command("compare")(compare.compare)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("show")(show.show)
app.command("doctor")(doctor.doctor)
app.add_typer(submit.app, name="submit")
app.add_typer(sites.app, name="sites")
with_examples(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wsss-platform {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Train, tune and honestly score weakly supervised semantic segmentation."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code."""
    show_log()
    _without_colour()
    typed = sys.argv[1:] if arguments is None else arguments
    own = typed[: typed.index("--")] if "--" in typed else typed  # `submit` sends what comes after it
    as_json, verb = "--json" in own, verb_in(own)

    def failed(error: BaseException, code: int, said: str | None = None, name: str | None = None) -> int:
        print_error(str(error) if said is None else said)
        if code != 130:
            print_advice(advice(error, verb))
        if as_json and not was_printed(error):
            print(json.dumps(error_document(error, name)))  # noqa: T201  # the one object on standard output
        return code

    try:
        app(arguments, prog_name="wsss-platform")
    except SystemExit as end:  # typer's own: 0 after a verb or help, 2 for wrong usage, 130 for Ctrl-C
        code = end.code if isinstance(end.code, int) else 1
        if code == 130:
            return failed(end, code, "interrupted; the same command continues where it stopped", "interrupted")
        if code == 2:
            print_advice(advice(None, verb))
            if as_json:
                print(json.dumps(usage_document(end.__context__)))  # noqa: T201
        return code
    except Interrupted as end:
        said = f" ({end})" if str(end) else ""
        return failed(end, 130, f"interrupted{said}; the same command continues where it stopped", "interrupted")
    except InputError as error:
        return failed(error, 2)
    except Exception as error:
        if os.environ.get("WSSS_TRACEBACK"):
            raise
        return failed(error, 1, str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}")
    return 0


def _without_colour() -> None:
    """NO_COLOR, also for help and for wrong usage, which typer prints."""
    if os.environ.get("NO_COLOR"):
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None
