"""`leaderboard`: local results, grouped by protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsss_platform.api import _leaderboard
from wsss_platform.cli.options import verb
from wsss_platform.cli.output import Output, note
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import StoredOptions
from wsss_platform.errors import InputError
from wsss_platform.report.tables.leaderboard import leaderboard_tables

if TYPE_CHECKING:
    from wsss_platform.api.tracked_leaderboard import TrackedLeaderboard


@dataclass(frozen=True)
class LeaderboardOptions(StoredOptions):
    """Of `leaderboard`."""

    markdown: bool = option(False, "Print Markdown on standard output.", "Output")
    csv: bool = option(False, "Print CSV on standard output.", "Output")
    wandb: bool = option(
        False,
        "Also send it to W&B: table, intervals, runs that were never tracked, and a report when logged in.",
        "Output",
    )
    entity: str | None = option(None, "Send it to this user or team. Default: your own.", "Output", metavar="NAME")
    project: str | None = option(None, "Send it to this project. Default: wsss-platform.", "Output", metavar="NAME")


@verb("leaderboard", LeaderboardOptions)
def leaderboard(*, options: LeaderboardOptions, out: Output) -> None:
    """Rank the scored runs of a storage folder, each protocol by itself."""
    if sum((options.as_json, options.markdown, options.csv)) > 1:
        raise InputError("--json, --markdown and --csv exclude one another")
    if (options.entity or options.project) and not options.wandb:
        raise InputError("--entity and --project say where --wandb sends the leaderboard; add --wandb", field="--wandb")
    found = _leaderboard.leaderboard(options.storage)
    if options.wandb:
        _sent(found.track(entity=options.entity, project=options.project))
    if options.markdown or options.csv:
        out.show((found.to_markdown() if options.markdown else found.to_csv()).rstrip("\n"))
        return
    if not len(found) and not options.as_json:
        note(
            f"no scored run in {options.storage}; try `wsss-platform tune fbr` or `wsss-platform train cam --until "
            "score`"
        )
    out.result(found.document(), *leaderboard_tables(found.groups), *[one.words for one in found.seen if len(found)])


def _sent(tracked: TrackedLeaderboard) -> None:
    """Say where it went, on standard error."""
    if tracked.folder:
        note(f"W&B, {tracked.mode}: the table is in {tracked.folder}")
    if tracked.sent:
        note(f"W&B, {tracked.mode}: {len(tracked.sent)} runs that were not tracked: {', '.join(tracked.sent[:8])}")
    note(f"W&B report: {tracked.report or f'kept in {tracked.kept} until this command runs logged in'}")
