"""`leaderboard`: local results, grouped by protocol."""

from __future__ import annotations

from dataclasses import dataclass

from wsss_platform.api import _leaderboard
from wsss_platform.cli.options import verb
from wsss_platform.cli.output import Output, note
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import StoredOptions
from wsss_platform.errors import InputError
from wsss_platform.report.tables.leaderboard import leaderboard_tables


@dataclass(frozen=True)
class LeaderboardOptions(StoredOptions):
    """Of `leaderboard`."""

    markdown: bool = option(False, "Print Markdown on standard output.", "Output")
    csv: bool = option(False, "Print CSV on standard output.", "Output")


@verb("leaderboard", LeaderboardOptions)
def leaderboard(*, options: LeaderboardOptions, out: Output) -> None:
    """Rank the scored runs of a storage folder, each protocol by itself."""
    if sum((options.as_json, options.markdown, options.csv)) > 1:
        raise InputError("--json, --markdown and --csv exclude one another")
    found = _leaderboard.leaderboard(options.storage)
    if options.markdown or options.csv:
        out.show((found.to_markdown() if options.markdown else found.to_csv()).rstrip("\n"))
        return
    if not len(found) and not options.as_json:
        note(
            f"no scored run in {options.storage}; try `wsss-platform tune fbr` or `wsss-platform train cam --until "
            "score`"
        )
    out.result(found.document(), *leaderboard_tables(found.groups), *[one.words for one in found.seen if len(found)])
