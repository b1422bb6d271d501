"""`wsss-platform import-maps`: a folder of another codebase's maps becomes a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wsss_platform.api import experiments
from wsss_platform.cli import options
from wsss_platform.cli.output import note, output
from wsss_platform.config import DataConfig
from wsss_platform.config.imported import UNKNOWN
from wsss_platform.errors import unknown
from wsss_platform.run import imported
from wsss_platform.store.artefacts import Store, check_name


def import_maps(
    folder: Annotated[Path, typer.Argument(help="Folder of maps, files named by picture id.")],
    name: Annotated[str, typer.Option("--name", help="Of the run to make.", metavar="RUN")],
    form: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="irn, seam, clip-es, puzzlecam, png or npz; default: by looking at the first file.",
            metavar="FORM",
        ),
    ] = None,
    data: options.Data = "sample",
    root: options.Root = "",
    list_name: Annotated[str | None, typer.Option("--list", help="List of the pictures.", metavar="NAME")] = None,
    supervision: Annotated[
        str,
        typer.Option(
            "--supervision", help='What the maps were made from, such as "labels + CLIP"; the protocol says it.'
        ),
    ] = UNKNOWN,
    normalise: Annotated[
        str, typer.Option("--normalise", help="none (scores are 0..1), max or minmax, per class over the picture.")
    ] = "none",
    gate: Annotated[
        str, typer.Option("--gate", help="Classes to take: labels (those of the image-level labels) or none (all).")
    ] = "labels",
    stretch: Annotated[
        bool, typer.Option("--stretch", help="Take maps of other proportions than their picture's.")
    ] = False,
    changes: options.Set = None,
    until: Annotated[str, typer.Option("--until", help="Last stage: maps, masks or score.")] = "maps",
    storage: options.Storage = options.STORAGE,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes; default: what there is room for.", min=1)
    ] = None,
    wandb: options.Wandb = "auto",
    max_failures: options.MaxFailures = 0,
    local: options.Local = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Take another codebase's maps; then masks, score, show and leaderboard work on them."""
    from wsss_platform.cli.stages import execute
    from wsss_platform.exchange.foreign_maps import foreign_maps

    with output(as_json) as out:
        if until not in ("maps", "masks", "score"):
            raise unknown("stage (--until)", until, ["maps", "masks", "score"])
        run_name = check_name(name)
        config_changes, data_changes = experiments.assignments(changes)
        data_config = experiments.build_data(
            DataConfig(), data_changes, kind=data, root=root, train_list=list_name, score_list=list_name
        )
        settings = {"normalise": normalise, "gate": gate, "stretch": stretch, "supervision": supervision}
        store = Store(storage, max_failures)
        experiment, taken = foreign_maps(folder, form, data_config, settings, config_changes, max_failures)
        note(f"{folder}: maps of the form {taken}{'' if form else ', by what its files hold'}")
        execute(
            out,
            experiment,
            store,
            run_name,
            until,
            local=local,
            gpus_per_worker=None,
            wandb=wandb,
            dry_run=dry_run,
            producers=workers,
            selection="unknown",
        )
        if not dry_run:
            _say_remarks(imported.remarks_of(store.open("maps", experiment.source.key).folder))


def _say_remarks(remarks: dict[str, dict[str, Any]]) -> None:
    """Name the pictures in which something was changed or is lacking."""
    words = {
        "resampled": "maps of another size than their picture, resampled",
        "dropped": "classes left out that their labels do not name (--gate none takes them)",
        "lacking": "no map of a class that their labels name",
    }
    for kind, pictures in remarks.items():
        if pictures:
            listed = ", ".join(list(pictures)[:8]) + (f" and {len(pictures) - 8} more" if len(pictures) > 8 else "")
            note(f"{len(pictures)} pictures: {words[kind]}: {listed}; all in {imported.REMARKS} of the maps")
