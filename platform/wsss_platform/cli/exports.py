"""`masks --out`: the masks in a folder for other codebases."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.cli.output import console
from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.experiment import Experiment
from wsss_platform.store.artefacts import Store

if TYPE_CHECKING:
    from wsss_platform.cli.run import Also


def exporter(store: Store, layout: str | None, folder: Path | None) -> Also | None:
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

    def export(experiment: Experiment) -> tuple[dict[str, Any], list[Any]]:
        with console.status("writing masks") as status:
            found = export_masks(
                experiment,
                store,
                folder,
                taken,
                _lacking(experiment, store),
                lambda done: status.update(f"{done} masks"),
            )
        said = {
            "folder": str(found.folder),
            "format": taken,
            "pictures": found.pictures,
            "lacking": list(found.lacking),
            "undecided_pixels": found.undecided,
            "scored": found.scored,
        }
        hint = "" if found.scored else "; no IoU in scores.parquet, as the run is not scored"
        lines = [f"{found.pictures} masks for other codebases in {found.folder}{hint}"]
        if found.lacking:
            lines.append(f"{len(found.lacking)} pictures have no mask and are in no list: {' '.join(found.lacking)}")
        return {"export": said}, lines

    return export


def _lacking(experiment: Experiment, store: Store) -> frozenset[str]:
    """Pictures whose masks failed and were allowed to (--max-failures)."""
    from wsss_platform.run.pipeline import FAILURES

    file = store.open("masks", experiment.stage("masks").key).folder / FAILURES
    return frozenset(id for id, _ in json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else frozenset()
