"""`tune RUN`: rule and CRF of a run's stored maps, searched and confirmed on other pictures. No Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from wsss_platform.cli.output import Output, console, note
from wsss_platform.errors import InputError
from wsss_platform.search.space import load_space
from wsss_platform.store import Store

if TYPE_CHECKING:
    from wsss_platform.search.masks.halving import Found

SETTINGS, PICTURES, CONFIRM = 64, 162, 200
"""Defaults: settings tried, pictures they are chosen on, pictures the winner is confirmed on."""

Pictures = Annotated[int, typer.Option("--pictures", help="Of a run: pictures to choose the settings on.", min=8)]
Confirm = Annotated[int, typer.Option("--confirm", help="Of a run: other pictures to confirm the winner on.", min=0)]


def is_run(store: Store, name: str) -> bool:
    """Whether a name means a recorded run; the name of a method never does."""
    import wsss_methods
    from wsss_platform.tracking.records import RECORD

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
    from wsss_platform.cli.run import load_run
    from wsss_platform.search.masks.searches import plan_search, run_search

    experiment, _ = load_run(store, run, score_list, changes)
    axes = load_space(space, experiment.config, solved={})  # after a CRF no sweep solves the background
    asked: dict[str, Any] = {"settings": settings, "images": pictures, "confirm": confirm, "seed": seed, "name": name}
    search = plan_search(run, experiment, store, axes, **asked)
    planned = search.document()
    words = (
        f'study {planned["study"]}: {planned["settings"]} settings with "no CRF"; rungs of '
        f"{', '.join(map(str, planned['rungs']))} pictures of {planned['list']}; the winner is confirmed on "
        f"{planned['confirmed_on']} others"
    )
    if dry_run:
        shown = [setting.name for setting in search.settings]
        out.result(planned | {"candidates": shown}, words, ", ".join(shown))
        return
    note(words)
    with Progress(
        TextColumn("{task.description:<20}"), BarColumn(bar_width=24), MofNCompleteColumn(),
        TextColumn("pictures x {task.fields[settings]} settings"), TimeRemainingColumn(), console=console,
    ) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def watch(what: str, done: int, total: int, settings: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, settings=settings)
            bars.update(tasks[what], completed=done)

        found, document = run_search(search, store, watch, threads)
    out.result(document, *_shown(document, found, run))


def _shown(document: dict[str, Any], found: Found, run: str) -> list[Any]:
    """For a person: rungs, confirmation, what was looked at, what to do next."""
    from wsss_platform.search.masks.settings import NO_CRF

    last = found.rungs[-1]
    title = f"{document['study']}: mean IoU over {last.images} pictures, percent (chosen on them)"
    table = Table("setting", "mean IoU", "what differs from the run", title=title, title_justify="left")
    for name, value in sorted(last.scores.items(), key=lambda item: -item[1]):
        changes = found.settings[name].changes
        words = ", ".join(f"{path.rsplit('.', 1)[-1]} {value}" for path, value in changes.items())
        table.add_row(name, f"{100 * value:.2f}", words)
    confirmation = Table(
        "the winner against", "winner", "it", "difference", "95 % interval",
        title=f"confirmation on {document['confirmed_on']} other pictures", title_justify="left",
    )  # fmt: skip
    for name, item in found.confirmation.items():
        gap = item.difference
        numbers = (f"{100 * value:.2f}" for value in (item.a.value, item.b.value))
        interval = f"{100 * gap.low:+.2f} .. {100 * gap.high:+.2f}"
        confirmation.add_row(name, *numbers, f"{100 * gap.value:+.2f}", interval)
    verdict = f"{found.winner.name} is better than no CRF on pictures it was not chosen on"
    if found.winner.name == NO_CRF:
        verdict = "no setting is better than no CRF"
    elif not found.confirmed:
        verdict = f"{found.winner.name} is not shown to be better than no CRF on pictures it was not chosen on"
    return [
        table,
        *([confirmation] if found.confirmation else []),
        verdict,
        f"looks at pixel truth: {found.looks} (settings x pictures), {found.computed} of them computed now; "
        f"selection: {document['selection']}",
        f"results: {document['results']}; curves: {document['curves']}",
        f"next: wsss-platform score {run} --config {document['best']}",
    ]
