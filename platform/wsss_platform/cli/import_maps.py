"""`import-maps`: a folder of another codebase's maps becomes a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wsss_platform.api._data import data_named
from wsss_platform.api._imports import imported, plan_import
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import carried_out
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import ImportingOptions

Folder = Annotated[Path, typer.Argument(help="Folder of maps, files named by image id.")]
Name = Annotated[str, typer.Option("--name", help="Name the run that is made.", metavar="RUN", show_default=False)]


@dataclass(frozen=True)
class ImportOptions(ImportingOptions):
    """Of `import-maps`."""

    form: str | None = option(
        None,
        "Read files of this codebase: irn, seam, clip-es, puzzlecam, png or npz. Default: by the first file.",
        "Data",
        flag="--as",
        metavar="FORM",
    )
    normalise: str = option("none", "Scale scores: none (they are 0..1), max or minmax, per class and image.", "Data")
    gate: str = option("labels", "Take the classes of the image-level labels (labels) or all (none).", "Data")
    stretch: bool = option(False, "Take maps of other proportions than their image's.", "Data")
    changes: list[str] | None = option(
        None, "Override one setting of the masks; repeatable.", "Method", flag="--set", metavar="SETTING=VALUE"
    )
    until: str = option("maps", "End with this stage: maps, masks or score.", "Method", metavar="STAGE")


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
        **options.planned,
    )
    carried_out(planned, options.output.dry_run, out, imported)
