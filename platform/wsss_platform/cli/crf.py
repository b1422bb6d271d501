"""`tune RUN`: rule and CRF of a run's stored maps, searched and confirmed on other pictures. No Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from wsss_platform.cli.output import Output, console, note
from wsss_platform.errors import InputError
from wsss_platform.search.space import load_space
from wsss_platform.store.artefacts import Store

SETTINGS, PICTURES, CONFIRM = 64, 162, 200
"""Defaults: settings tried, pictures they are chosen on, pictures the winner is confirmed on."""

Pictures = Annotated[int, typer.Option("--pictures", help="Of a run: pictures to choose the settings on.", min=8)]
Confirm = Annotated[int, typer.Option("--confirm", help="Of a run: other pictures to confirm the winner on.", min=0)]


def is_run(store: Store, name: str) -> bool:
    """Whether a name means a recorded run; the name of a method never does."""
    import wsss_methods
    from wsss_platform.run.records import RECORD

    return name not in wsss_methods.names() and (store.root / "runs" / name / RECORD).is_file()


def refuse(run: str, given: Mapping[str, object]) -> None:
    """InputError for options that a run has settled already."""
    for option in [name for name, value in given.items() if value]:
        raise InputError(f"{option}: run {run!r} has its own; a search of its stored maps takes --set masks.* only")


def tune(
    out: Output,
    store: Store,
    run: str,
    *,
    space: Path,
    score_list: str | None,
    changes: list[str] | None,
    settings: int,
    pictures: int,
    confirm: int,
    seed: int,
    threads: int | None,
    name: str | None,
    dry_run: bool,
) -> None:
    """Search, write the study's folder and print the table."""
    from wsss_platform.api.runs import load_run
    from wsss_platform.report.tables.search import search_line, search_plan, search_result
    from wsss_platform.search.masks.searches import plan_search, run_search

    experiment, _ = load_run(store, run, score_list, changes)
    axes = load_space(space, experiment.config, solved={})  # after a CRF no sweep solves the background
    asked: dict[str, Any] = {"settings": settings, "images": pictures, "confirm": confirm, "seed": seed, "name": name}
    search = plan_search(run, experiment, store, axes, **asked)
    planned = search.document()
    if dry_run:
        out.result(planned, *search_plan(planned))
        return
    note(search_line(planned))
    with Progress(
        TextColumn("{task.description:<20}"), BarColumn(bar_width=24), MofNCompleteColumn(),
        TextColumn("pictures x {task.fields[settings]} settings"), TimeRemainingColumn(), console=console,
    ) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def watch(what: str, done: int, total: int, settings: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, settings=settings)
            bars.update(tasks[what], completed=done)

        _, document = run_search(search, store, watch, threads)
    out.result(document, *search_result(document, run))
