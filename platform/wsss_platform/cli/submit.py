"""`submit`: send a command to a cluster, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wsss_platform.api import _submit
from wsss_platform.cli.options import verb
from wsss_platform.cli.output import Output
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import STORAGE, JsonOptions, PlanOptions
from wsss_platform.errors import InputError


class _SendIsTheDefault(TyperGroup):
    """`submit --on SITE -- VERB ...` is `submit send --on SITE -- VERB ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = ["send", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_SendIsTheDefault,
    help="Send a command to a cluster, as in submit --on SITE -- VERB.\n\nA site is a TOML file (`sites list`).",
    no_args_is_help=True,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, as `submit` prints it.", show_default=False)]


@dataclass(frozen=True)
class SubmitOptions(PlanOptions):
    """Of `submit`."""

    on: str = option("", "Send it to this site: a name of `sites list`, or a TOML file.", "Resources", metavar="SITE")
    nodes: int | None = option(None, "Take this many nodes. Default: the site's.", "Resources", low=1)
    gpus_per_node: int | None = option(None, "Take this many GPUs of each node.", "Resources", low=0)
    cpus_per_node: int | None = option(None, "Take this many CPU cores of each node.", "Resources", low=1)
    memory_per_node: str | None = option(None, "Take this much memory of each node.", "Resources", metavar="64G")
    gpus_per_worker: float | None = option(
        None, "Give each worker this many GPUs; the number of workers follows.", "Resources", low=0
    )
    time_limit: str | None = option(
        None, "End it after hours:minutes:seconds or days-hours:minutes:seconds.", "Resources", metavar="TIME"
    )
    partition: str | None = option(None, "Use this partition of Slurm.", "Resources", metavar="NAME")
    account: str | None = option(None, "Use this account of Slurm.", "Resources", metavar="NAME")
    dirty: bool = option(False, "Send changes of tracked files beside the commit.", "Resources")


@app.command("send", context_settings={"ignore_unknown_options": True})
@verb("submit", SubmitOptions)
def send(
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- VERB ...", help="What to run there, after two hyphens.", show_default=False),
    ],
    *,
    options: SubmitOptions,
    out: Output,
    context: typer.Context,
) -> None:
    """Send a command to a cluster, with the code as it is now."""
    from wsss_platform.report.tables.submit import along_lines, plan_result, sent_lines
    from wsss_platform.sites.documents import SubmissionDocument

    if not options.on:
        raise InputError("--on SITE is missing; `wsss-platform sites list` names them", field="--on")
    _check_usage(context, command)
    typed = {name: getattr(options, name) for name in _submit.TYPED}
    planned = _submit.plan_submission(command, options.on, typed, dirty=options.dirty)
    if options.dry_run:
        document = planned.document()
        out.result(document, *plan_result(document))
        return
    sent = SubmissionDocument.of(planned.send().sent)
    out.result(sent, *along_lines(planned.job.code.trees, planned.job.files), *sent_lines(sent))


def _check_usage(context: typer.Context, command: Sequence[str]) -> None:
    """Parse the command as it would be parsed there; nothing runs.

    Raises:
        UsageError: an option that its verb has not, or a wrong value; typer prints it.
    """
    parent: Any = context.find_root()
    here, words = parent.command, list(command)
    while words and words[0] in getattr(here, "commands", {}):
        name = words.pop(0)
        here = here.commands[name]
        if not hasattr(here, "commands"):
            here.make_context(name, words, parent=parent)
            return


@app.command("list")
@verb("submit list", JsonOptions)
def list_(*, options: JsonOptions, out: Output) -> None:
    """List every job that was sent from this machine."""
    from wsss_platform.report.tables.submit import list_result

    document = _submit.submissions()
    out.result(document, *list_result(document))


@app.command("status")
@verb("submit status", JsonOptions)
def status(id: Id, *, options: JsonOptions, out: Output) -> None:
    """Say how a job does."""
    from wsss_platform.report.tables.submit import status_lines

    document = _submit.open_submission(id).status()
    out.result(document, *status_lines(document))


@dataclass(frozen=True)
class LogsOptions(JsonOptions):
    """Of `submit logs`."""

    follow: bool = option(False, "Go on until the job ends.", "Output", typed=True)


@app.command("logs")
@verb("submit logs", LogsOptions)
def logs(
    id: Id,
    short: Annotated[bool, typer.Option("-f", help="The same as --follow.")] = False,
    *,
    options: LogsOptions,
    out: Output,
) -> None:
    """Print the output of a job."""
    if options.as_json:
        raise InputError("--json: the output of a job is text; leave it out", field="--json")
    for line in _submit.open_submission(id).logs(options.follow or short):
        out.show(line.rstrip("\n"))


@app.command("cancel")
@verb("submit cancel", JsonOptions)
def cancel(id: Id, *, options: JsonOptions, out: Output) -> None:
    """End a job.

    What it has finished stays.
    """
    from wsss_platform.report.tables.submit import status_lines

    found = _submit.open_submission(id)
    found.cancel()
    document = found.status()
    out.result(document, *status_lines(document))


@dataclass(frozen=True)
class FetchOptions(JsonOptions):
    """Of `submit fetch`."""

    storage: Path = option(STORAGE, "Copy into this storage folder.", "Storage", metavar="DIR", envvar="WSSS_STORAGE")
    everything: bool = option(False, "Copy its weights, maps and masks, too.", "Storage", flag="--all")


@app.command("fetch")
@verb("submit fetch", FetchOptions)
def fetch(id: Id, *, options: FetchOptions, out: Output) -> None:
    """Copy the records, scores, figures and pages of a job into the storage folder here."""
    from wsss_platform.report.tables.store import delivery_line

    document = _submit.open_submission(id).fetch(options.storage, options.everything)
    out.result(document, delivery_line(document, str(options.storage)))
