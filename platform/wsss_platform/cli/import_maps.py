"""`import-maps`: a folder of another codebase's maps becomes a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wsss_platform.api._data import data_named
from wsss_platform.api._imports import imported, plan_import
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output, print_shown
from wsss_platform.config.options import group, option
from wsss_platform.config.verb_options import STORAGE, OutputOptions, TreeOptions
from wsss_platform.report.tables.run import plan_table, run_plan, run_result

Folder = Annotated[Path, typer.Argument(help="Folder of maps, files named by image id.")]
Name = Annotated[str, typer.Option("--name", help="Name the run that is made.", metavar="RUN", show_default=False)]


@dataclass(frozen=True)
class ImportOptions(TreeOptions):
    """Of `import-maps`."""

    form: str | None = option(
        None,
        "Read files of this codebase: irn, seam, clip-es, puzzlecam, png or npz. Default: by the first file.",
        "Data",
        flag="--as",
        metavar="FORM",
    )
    split: str | None = option(None, "Take the images of this split.", "Data", metavar="NAME", former="--list")
    supervision: list[str] | None = option(
        None,
        "State knowledge that went into the maps: image-labels, image-text-pairs, self-supervised-features, "
        "class-agnostic-masks, saliency, class-masks or other; repeatable. The protocol says it.",
        "Data",
        metavar="KIND[:MODEL[@HASH]]",
    )
    normalise: str = option("none", "Scale scores: none (they are 0..1), max or minmax, per class and image.", "Data")
    gate: str = option("labels", "Take the classes of the image-level labels (labels) or all (none).", "Data")
    stretch: bool = option(False, "Take maps of other proportions than their image's.", "Data")
    changes: list[str] | None = option(
        None, "Override one setting of the masks; repeatable.", "Method", flag="--set", metavar="SETTING=VALUE"
    )
    until: str = option("maps", "End with this stage: maps, masks or score.", "Method", metavar="STAGE")
    workers: int | None = option(None, "Use this many processes. Default: what there is room for.", "Resources", low=1)
    max_failures: int = option(0, "Continue while at most this many images fail.", "Resources", low=0)
    local: bool = option(False, "Use this process alone, without Ray.", "Resources")
    storage: Path = option(STORAGE, "Keep the run in this folder.", "Storage", metavar="DIR", envvar="WSSS_STORAGE")
    output: OutputOptions = group(OutputOptions)


@verb("import-maps", ImportOptions)
def import_maps(folder: Folder, name: Name, *, options: ImportOptions, out: Output) -> None:
    """Make a run of another codebase's maps; masks, score, show and leaderboard work on it."""
    planned = plan_import(
        folder,
        name,
        data_named(options.data, options.root, options.split, options.split),
        settings(options.changes),
        form=options.form,
        said={
            "supervision": options.supervision or (),
            **{name: getattr(options, name) for name in ("normalise", "gate", "stretch")},
        },
        until=options.until,
        storage=options.storage,
        workers=options.workers,
        local=options.local,
        max_failures=options.max_failures,
        wandb=options.output.wandb,
    )
    plan = planned.document()
    if options.output.dry_run:
        out.result(plan, *run_plan(plan))
        return
    print_shown(plan_table(plan))
    result = imported(planned).result
    out.result(result, *run_result(result))
