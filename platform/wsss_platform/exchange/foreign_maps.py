"""A folder of another codebase's maps as an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss_platform.config import DataConfig, ImportedConfig, override, validated
from wsss_platform.data import open_data
from wsss_platform.errors import InputError, unknown
from wsss_platform.maps.foreign.folder import FORMS, ForeignFolder, detect
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run import imported


def foreign_maps(
    folder: Path,
    form: str | None,
    data: DataConfig,
    settings: dict[str, Any],
    changes: dict[str, Any],
    may_lack: int,
) -> tuple[Experiment, str]:
    """The experiment of a folder of other code's maps, whose files are found and hashed, and the form they have.

    Args:
        folder: of maps, files named by image id.
        form: which codebase's files they are; None: by what the first one holds.
        data: its scored split says which images.
        settings: fields of `ImportSection` beside form, folder and content.
        changes: of the config, by dotted path.
        may_lack: images that may have no map.

    Raises:
        InputError: an unknown form, a folder without maps of the list, or settings that make no sense.
    """
    split = open_data(data).split(data.score_list)
    place = folder.expanduser().resolve()
    if form is not None and form not in FORMS:
        raise unknown("form of maps (--as)", form, FORMS, "--as")
    taken = next(each for each in FORMS if each == (form or detect(place, split.ids, split.classes)))
    source = ForeignFolder(place, taken, split.classes)
    if not place.is_dir():
        raise InputError(f"{folder}: no such folder", field=folder)
    section = {"form": taken, "folder": str(place), "content": "0" * 64, **settings}
    config = override(validated(ImportedConfig, {"imported": section}, "import-maps"), changes, "--set")
    content = imported.scan(source, split.ids, may_lack)
    return Experiment(imported.MAPS, override(config, {"imported.content": content}), data), taken
