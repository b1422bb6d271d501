"""`masks`: pseudo masks of a run, and with `--out` in a folder for other codebases."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsss_platform.cli import options
from wsss_platform.cli.output import console
from wsss_platform.errors import InputError, unknown

if TYPE_CHECKING:
    from wsss_platform.cli.stages import Also
    from wsss_platform.plan.experiment import Experiment
    from wsss_platform.run.documents import Export
    from wsss_platform.store.artefacts import Store


def masks(
    run: options.RunName,
    score_list: options.ScoreList = None,
    config: options.ConfigFile = None,
    changes: options.Set = None,
    storage: options.Storage = options.STORAGE,
    workers: options.Producers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    max_failures: options.MaxFailures = 0,
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    layout: Annotated[
        str | None, typer.Option("--format", help="With --out: voc (the default) or coco.", metavar="voc|coco")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Also write them for other codebases into this folder.", metavar="DIR")
    ] = None,
) -> None:
    """Turn a run's maps into pseudo masks (VOC palette PNG)."""
    from wsss_platform.cli.stages import continue_run
    from wsss_platform.store.artefacts import Store

    store = Store(storage, max_failures)
    continue_run(
        "masks",
        run,
        store,
        score_list=score_list,
        changes=changes,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        local=local,
        dry_run=dry_run,
        as_json=as_json,
        config=config,
        also=_exporter(store, layout, folder),
    )


def _exporter(store: Store, layout: str | None, folder: Path | None) -> Also | None:
    """What writes the masks after they were made; None when no folder is named.

    Raises:
        InputError: a form that there is not, or a form without a folder.
    """
    if layout is None and folder is None:
        return None
    from wsss_platform.exchange.folder import Layout, export_masks

    layouts: tuple[Layout, ...] = typing.get_args(Layout)
    if layout is not None and layout not in layouts:
        raise unknown("form of masks (--format)", layout, layouts)
    if folder is None:
        raise InputError(f"--format {layout} needs --out DIR, the folder to write to")
    taken = next(each for each in layouts if each == (layout or "voc"))

    def export(experiment: Experiment) -> Export:
        from wsss_platform.run.documents import Export
        from wsss_platform.run.pipeline import failed

        lacking = failed(store, experiment.stage("masks"))
        with console.status("writing masks") as status:
            found = export_masks(experiment, store, folder, taken, lacking, lambda done: status.update(f"{done} masks"))
        return Export(
            folder=str(found.folder),
            layout=taken,
            pictures=found.pictures,
            lacking=found.lacking,
            undecided_pixels=found.undecided,
            scored=found.scored,
        )

    return export
