"""`tune RUN`: rule and CRF of a run's stored maps, searched by halving and confirmed on other pictures. No Ray."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from wsss_platform.cli import options
from wsss_platform.cli.output import Output, console, note
from wsss_platform.config import fingerprint
from wsss_platform.errors import InputError
from wsss_platform.experiment import REVISIONS, Experiment
from wsss_platform.space import load_space
from wsss_platform.store import Store, check_name, write_atomic

if TYPE_CHECKING:
    from wsss_platform.crf_search.candidates import Candidate
    from wsss_platform.crf_search.halving import Found
    from wsss_platform.crf_search.pictures import Plan
    from wsss_platform.data import Split

SETTINGS, PICTURES, CONFIRM = 64, 162, 200
"""Defaults: settings tried, pictures they are chosen on, pictures the winner is confirmed on."""
RESULTS, CURVES, BEST, TABLE = "results.parquet", "curves.png", "best.toml", "search.json"

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
    from wsss_platform.crf_search.candidates import draw
    from wsss_platform.crf_search.halving import Search
    from wsss_platform.crf_search.kept import Kept
    from wsss_platform.crf_search.pictures import plan

    experiment, _ = load_run(store, run, score_list, changes)
    maps = experiment.stage("maps")
    if not store.finished("maps", maps.key):
        listed = "" if score_list is None else f" --score-list {score_list}"
        raise InputError(
            f"run {run!r} has no stored maps of list {maps.list_name!r}: `wsss-platform maps {run}{listed}`"
        )
    section = maps.phase.masks
    axes = load_space(space, experiment.config, solved={})  # after a CRF no sweep solves the background
    candidates = draw(axes, experiment.config, section, settings, seed)
    split, truth = experiment.dataset.split(maps.list_name), experiment.dataset.truth(maps.list_name)
    shares = plan(_with_maps(split, store.folder("maps", maps.key)), pictures, confirm, seed)
    # settings are found again by their content, so every search of these maps shares one folder
    source = fingerprint([maps.key, truth.fingerprint(), REVISIONS["masks"]])
    study = check_name(name or f"{run}-crf-{source[:8]}", "study name")
    folder = store.study_folder(study)
    document: dict[str, Any] = {
        "study": study,
        "folder": str(folder),
        "list": maps.list_name,
        "truth": truth.fingerprint()[:12],
        "space": str(space),
        "settings": len(candidates) + 1,
        "rungs": list(shares.rungs),
        "confirmed_on": len(shares.confirm),
        "selection": "train truth" if experiment.data.score_list == experiment.data.train_list else "val truth",
    }
    if dry_run:
        shown = [candidate.name for candidate in candidates]
        out.result(document | {"candidates": shown}, f"study {study}: {_plan_words(document)}", ", ".join(shown))
        return
    folder.mkdir(parents=True, exist_ok=True)
    note(f"study {study}: {_plan_words(document)}")
    with Progress(
        TextColumn("{task.description:<20}"), BarColumn(bar_width=24), MofNCompleteColumn(),
        TextColumn("pictures x {task.fields[settings]} settings"), TimeRemainingColumn(), console=console,
    ) as bars:  # fmt: skip
        kept = Kept(folder / RESULTS, truth.classes, source)
        found = Search(store.folder("maps", maps.key), split, truth, kept, _Bars(bars), threads).run(candidates, shares)
    document |= _written(folder, experiment, found, shares, section, document["selection"], [a.path for a in axes.axes])
    write_atomic(folder / TABLE, json.dumps(document, indent=1))
    out.result(document, *_shown(document, found, run))


def _with_maps(split: Split, folder: Path) -> Split:
    """The list without the pictures whose maps failed and were allowed to (--max-failures)."""
    from wsss_platform.data.part import SplitPart
    from wsss_platform.pipeline import FAILURES

    file = folder / FAILURES
    lacking = {id for id, _ in json.loads(file.read_text(encoding="utf-8"))} if file.is_file() else set()
    if not lacking:
        return split
    return SplitPart(split, split.name, tuple(id for id in split.ids if id not in lacking))


class _Bars:
    """One bar per step of the search."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int, settings: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, settings=settings)
        self._bars.update(self._tasks[what], completed=done)


def _plan_words(document: dict[str, Any]) -> str:
    rungs = ", ".join(str(size) for size in document["rungs"])
    return (
        f'{document["settings"]} settings with "no CRF"; rungs of {rungs} pictures of {document["list"]}; the winner '
        f"is confirmed on {document['confirmed_on']} others"
    )


def _written(
    folder: Path, experiment: Experiment, found: Found, shares: Plan, section: str, selection: str, axes: list[str]
) -> dict[str, Any]:
    """Write the curves and the best settings; the search's result as plain data."""
    from wsss_platform.crf_search.figure import curves

    curves(found, axes).savefig(folder / CURVES)
    dumped = _section(found.winner)
    if found.winner.masks.crf != "none":
        dumped["crf_backend"] = "lattice"  # what computed the scores
    data: dict[str, Any] = dumped
    for part in reversed(section.split(".")):
        data = {part: data}
    chosen = {
        "study": folder.name,
        "setting": found.winner.name,
        "selection": selection,
        "pictures": shares.rungs[-1],
        "confirmed": found.confirmed,
    }
    write_atomic(folder / BEST, tomli_w.dumps(data | {options.CHOSEN: chosen}))
    last = found.rungs[-1]
    return {
        "winner": found.winner.name,
        "masks": dumped,
        "searched": last.scores,
        "scores": [{"pictures": rung.pictures, "mean_iou": rung.scores} for rung in found.rungs],
        "changes": {name: candidate.changes for name, candidate in found.candidates.items()},
        "confirmation": {
            name: {
                "winner": comparison.a.value,
                "reference": comparison.b.value,
                "difference": comparison.difference.value,
                "low": comparison.difference.low,
                "high": comparison.difference.high,
            }
            for name, comparison in found.confirmation.items()
        },
        "confirmed": found.confirmed,
        "looks_at_truth": found.looks,
        "computed": found.computed,
        "best": str(folder / BEST),
        "results": str(folder / RESULTS),
        "curves": str(folder / CURVES),
    }


def _section(candidate: Candidate) -> dict[str, Any]:
    return candidate.masks.model_dump(mode="json", exclude_none=True)


def _shown(document: dict[str, Any], found: Found, run: str) -> list[Any]:
    """For a person: rungs, confirmation, what was looked at, what to do next."""
    from wsss_platform.crf_search.candidates import NO_CRF

    last = found.rungs[-1]
    title = f"{document['study']}: mean IoU over {last.pictures} pictures, percent (chosen on them)"
    table = Table("setting", "mean IoU", "what differs from the run", title=title, title_justify="left")
    for name, value in sorted(last.scores.items(), key=lambda item: -item[1]):
        changes = found.candidates[name].changes
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
