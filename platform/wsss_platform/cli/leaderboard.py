"""`leaderboard`: local results, grouped by protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from wsss_platform.cli import options
from wsss_platform.cli.output import note, output
from wsss_platform.errors import InputError
from wsss_platform.store.artefacts import Store


def leaderboard(
    storage: options.Storage = options.STORAGE,
    as_json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on standard output.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
) -> None:
    """Local results, grouped by protocol: rows of different protocols are never ranked together."""
    from wsss_platform.report import leaderboard as board
    from wsss_platform.report.documents import LeaderboardDocument
    from wsss_platform.report.looks import looks
    from wsss_platform.report.tables.leaderboard import leaderboard_csv, leaderboard_markdown, leaderboard_tables
    from wsss_platform.run.records import read_records

    if sum((as_json, markdown, csv)) > 1:
        raise InputError("--json, --markdown and --csv exclude one another")
    with output(as_json) as out:
        found = read_records(Store(storage))
        for name, reason in found.damaged:
            note(f"left out: run {name}: {reason}")
        groups = board.rows(found.records)
        if markdown or csv:
            out.show((leaderboard_markdown if markdown else leaderboard_csv)(groups).rstrip("\n"))
            return
        if not groups and not as_json:
            note(f"no scored run in {storage}; try `wsss-platform tune fbr` or `wsss-platform train cam --until score`")
        seen = looks(Store(storage))
        document = LeaderboardDocument.of(groups, seen)
        out.result(document, *leaderboard_tables(groups), *[one.words for one in seen if groups])
