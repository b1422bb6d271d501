"""`show`: images of a scored run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsss_platform.api._run import open_run
from wsss_platform.cli.options import RunName, verb
from wsss_platform.cli.output import Output
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import StoredOptions
from wsss_platform.config.words import counted


@dataclass(frozen=True)
class ShowOptions(StoredOptions):
    """Of `show`."""

    folder: Path | None = option(
        None, "Write into this folder. Default: images/ in the run's.", "Output", metavar="DIR"
    )
    count: int = option(4, "Draw this many images of each kind: worst, best, random.", "Output", low=1)
    ids: list[str] | None = option(None, "Draw this image instead; repeatable.", "Output", flag="--id", metavar="ID")


@verb("show", ShowOptions)
def show(run: RunName, *, options: ShowOptions, out: Output) -> None:
    """Write images of a scored run: image, maps, mask and ground truth side by side, and the sweep curve."""
    document = open_run(run, options.storage).draw(options.folder, options.count, options.ids)
    out.result(document, f"{counted(len(document.files), 'file')} in {document.folder}", document.evaluations.words)
