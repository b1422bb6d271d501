"""`import-masks`: a folder of masks that anybody made becomes a run that begins with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wsss_platform.api._data import data_named
from wsss_platform.api._imports import imported, plan_import_masks
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output, print_shown
from wsss_platform.config.options import group, option
from wsss_platform.config.verb_options import STORAGE, OutputOptions, TreeOptions
from wsss_platform.report.tables.run import plan_table, run_plan, run_result

Folder = Annotated[Path, typer.Argument(help="Folder of masks, ID.png each: grey, palette or VOC-coloured RGB.")]
Name = Annotated[str, typer.Option("--name", help="Name the run that is made.", metavar="RUN", show_default=False)]


@dataclass(frozen=True)
class ImportMasksOptions(TreeOptions):
    """Of `import-masks`."""

    ids: str | None = option(
        None,
        "Read COCO's numbers as coco-80 (1..80, by place) or coco-91 (COCO's own 1..90). Default: the one that fits.",
        "Data",
        metavar="NUMBERS",
    )
    split: str | None = option(None, "Take the images of this split.", "Data", metavar="NAME", former="--list")
    supervision: list[str] | None = option(
        None,
        "State knowledge that went into the masks: image-labels, image-text-pairs, self-supervised-features, "
        "class-agnostic-masks, saliency, class-masks or other; repeatable. The protocol says it.",
        "Data",
        metavar="KIND[:MODEL[@HASH]]",
    )
    changes: list[str] | None = option(
        None, "Override one setting of the data; repeatable.", "Data", flag="--set", metavar="SETTING=VALUE"
    )
    until: str = option("masks", "End with this stage: masks or score.", "Method", metavar="STAGE")
    workers: int | None = option(None, "Use this many processes. Default: what there is room for.", "Resources", low=1)
    max_failures: int = option(0, "Continue while at most this many images fail.", "Resources", low=0)
    local: bool = option(False, "Use this process alone, without Ray.", "Resources")
    storage: Path = option(STORAGE, "Keep the run in this folder.", "Storage", metavar="DIR", envvar="WSSS_STORAGE")
    output: OutputOptions = group(OutputOptions)


@verb("import-masks", ImportMasksOptions)
def import_masks(folder: Folder, name: Name, *, options: ImportMasksOptions, out: Output) -> None:
    """Make a run of masks that anybody made; score, show, export and leaderboard work on it."""
    planned = plan_import_masks(
        folder,
        name,
        data_named(options.data, options.root, options.split, options.split),
        settings(options.changes),
        ids=options.ids,
        supervision=options.supervision or (),
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
