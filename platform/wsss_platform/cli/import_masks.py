"""`import-masks`: a folder of masks that anybody made becomes a run that begins with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wsss_platform.api._data import data_named
from wsss_platform.api._imports import imported, plan_import_masks
from wsss_platform.cli.import_maps import Name
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import carried_out
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import ImportingOptions

Folder = Annotated[Path, typer.Argument(help="Folder of masks, ID.png each: grey, palette or VOC-coloured RGB.")]


@dataclass(frozen=True)
class ImportMasksOptions(ImportingOptions):
    """Of `import-masks`."""

    ids: str | None = option(
        None,
        "Read COCO's numbers as coco-80 (1..80, by place) or coco-91 (COCO's own 1..90). Default: the one that fits.",
        "Data",
        metavar="NUMBERS",
    )
    changes: list[str] | None = option(
        None, "Override one setting of the data; repeatable.", "Data", flag="--set", metavar="SETTING=VALUE"
    )
    until: str = option("masks", "End with this stage: masks or score.", "Method", metavar="STAGE")


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
        **options.planned,
    )
    carried_out(planned, options.output.dry_run, out, imported)
