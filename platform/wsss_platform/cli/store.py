"""`store`: what lies in the storage folder, whether it is whole, what may go, and copies elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from wsss_platform.api._store import push_submission, store_clear, store_list, store_pull, store_push, store_verify
from wsss_platform.cli.options import RunName, verb
from wsss_platform.cli.output import Output, note
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import StoredOptions
from wsss_platform.config.words import counted
from wsss_platform.errors import InputError, RunError
from wsss_platform.upkeep.retention import DAYS, KEEP_BEST

if TYPE_CHECKING:
    from wsss_platform.upkeep.documents import Copy

app = typer.Typer(help="List, check, clear and copy what is in the storage folder.", no_args_is_help=True)


@app.command("list")
@verb("store list", StoredOptions)
def list_(*, options: StoredOptions, out: Output) -> None:
    """List every stage output with its size, its age, and who refers to it."""
    from wsss_platform.report.tables.store import list_result

    document = store_list(options.storage)
    out.result(document, *list_result(document))


@dataclass(frozen=True)
class VerifyOptions(StoredOptions):
    """Of `store verify`."""

    full: bool = option(False, "Decode every mask, not 32 of each artefact.", "Resources")


@app.command("verify")
@verb("store verify", VerifyOptions)
def verify_(*, options: VerifyOptions, out: Output) -> None:
    """Read every artefact as a run would and name what is damaged.

    Exits with 1 when there is any.
    """
    from wsss_platform.report.tables.store import verification_lines

    document = store_verify(options.storage, options.full)
    out.result(document, *verification_lines(document))
    if damaged := document.damaged:
        raise RunError(
            f"{counted(len(damaged), 'problem')}, named above; delete such a folder, and the next run makes it again"
        )


@dataclass(frozen=True)
class ClearOptions(StoredOptions):
    """Of `store gc`."""

    days: float = option(
        DAYS, "Take the unfinished and the unreferenced after this many days.", "Storage", low=0, flag="--older-than"
    )
    losing: bool = option(
        False,
        "Take maps and masks of trials, too, that are not among the best of a study.",
        "Storage",
        flag="--drop-maps-of-losing-trials",
    )
    keep_best: int = option(KEEP_BEST, "Keep maps and masks of this many trials of a study then.", "Storage", low=1)
    yes: bool = option(False, "Delete. Without it, only say what would go.", "Storage")


@app.command("gc")
@verb("store gc", ClearOptions)
def gc(*, options: ClearOptions, out: Output) -> None:
    """List what nobody needs any more, and with --yes delete it.

    What a recorded run needs never goes.
    """
    from wsss_platform.report.tables.store import clearance_result

    keep_best = options.keep_best if options.losing else None
    document = store_clear(options.storage, options.days, keep_best, options.yes)
    out.result(document, *clearance_result(document))
    if document.entries and not options.yes:
        note("nothing was deleted; --yes does it")


Remote = Annotated[
    str,
    typer.Option(
        "--remote",
        help="Copy to or from this place: s3://bucket/folder, gs://..., file:///... or a folder.",
        metavar="URL",
        envvar="WSSS_REMOTE",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class PushOptions(StoredOptions):
    """Of `store push`."""

    submission: str | None = option(
        None, "Copy what this job of `submit` has made, in place of one run.", "Storage", metavar="ID"
    )
    everything: bool = option(False, "Copy its weights, maps and masks, too.", "Storage", flag="--all")


@app.command("push")
@verb("store push", PushOptions)
def push(
    remote: Remote,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Name of a run in the storage folder.")] = None,
    *,
    options: PushOptions,
    out: Output,
) -> None:
    """Copy a run and what the store has of it to another place, and read it back."""
    if (run is None) == (options.submission is None):
        raise InputError("RUN or --submission: expected one of them", field="RUN")
    if run is not None:
        _copied(store_push(run, remote, options.storage), out)
        return
    from wsss_platform.report.tables.store import delivery_line

    assert options.submission is not None
    document = push_submission(options.submission, remote, options.storage, options.everything)
    out.result(document, delivery_line(document))


@app.command("pull")
@verb("store pull", StoredOptions)
def pull(run: RunName, remote: Remote, *, options: StoredOptions, out: Output) -> None:
    """Copy a run from another place into the store, every file checked by its sha256."""
    _copied(store_pull(run, remote, options.storage), out)


def _copied(document: Copy, out: Output) -> None:
    from wsss_platform.report.tables.store import copy_lines

    out.result(document, *copy_lines(document))
