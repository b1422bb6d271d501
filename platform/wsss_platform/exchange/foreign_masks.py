"""A folder of masks that anybody made as an experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import DataConfig, ImportedMasksConfig, validated
from wsss_platform.config.imported import IDS, Ids
from wsss_platform.config.supervision import Knowledge
from wsss_platform.data import Split, open_data
from wsss_platform.errors import InputError, unknown
from wsss_platform.masks.foreign import MaskFolder, labels, outside, possible_ids, read_numbers
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run import imported


def foreign_masks(
    folder: Path,
    ids: str | None,
    data: DataConfig,
    supervision: Sequence[Knowledge],
    may_lack: int,
    on_image: Callable[[int], object] = lambda done: None,
) -> Experiment:
    """The experiment of a folder of masks, whose files are read and hashed.

    Args:
        folder: of ID.png.
        ids: what the numbers of COCO's classes are, "coco-80" or "coco-91"; None: the one that fits.
        data: its scored split says which images.
        supervision: the knowledge that went into the masks.
        may_lack: images that may have no readable mask.
        on_image: called with the number of masks that have been read.

    Raises:
        InputError: a folder without masks of the split, a mask that cannot be read or has a number that means nothing,
            numbers that can mean two things, or `ids` that the data does not have.
    """
    split = open_data(data).split(data.score_list)
    place = folder.expanduser().resolve()
    if not place.is_dir():
        raise InputError(f"{folder}: no such folder", field=folder)
    source = MaskFolder(place)
    content = imported.scan(source, split.ids, may_lack, "masks")
    seen = _numbers_of(source, split, may_lack, on_image)
    taken = _ids(ids, seen, split, source)
    section = {
        "folder": str(place),
        "content": content,
        "supervision": tuple(supervision),
        "ids": taken,
        "within_labels": _within_labels(seen, taken, split),
    }
    config = validated(ImportedMasksConfig, {"imported": section}, "import-masks")
    return Experiment(imported.MASKS, config, data)


def _numbers_of(
    source: MaskFolder, split: Split, may_lack: int, on_image: Callable[[int], object]
) -> dict[str, NDArray[np.bool_]]:
    """Image id -> bool [256], which numbers its mask has."""

    def numbers(id: str) -> NDArray[np.bool_] | InputError:
        present = np.zeros(256, np.bool_)
        try:
            for path in source.files(id):
                present[read_numbers(path.read_bytes(), str(path))] = True
        except OSError as error:
            return InputError(f"{error.filename}: cannot be read ({error.strerror})", field=error.filename)
        except InputError as error:
            return error
        return present

    found: dict[str, NDArray[np.bool_]] = {}
    errors = []
    with ThreadPoolExecutor(4) as pool:
        for done, (id, present) in enumerate(zip(split.ids, pool.map(numbers, split.ids), strict=True), 1):
            if isinstance(present, InputError):
                errors.append(present)
            else:
                found[id] = present
            on_image(done)
    if len(errors) > may_lack or not found:
        more = f"\n  and {len(errors) - 20} more" if len(errors) > 20 else ""
        listed = "\n  ".join(map(str, errors[:20]))
        raise errors[0].in_context(f"{len(errors)} masks cannot be used:\n  {listed}{more}" if errors[1:] else listed)
    return found


def _ids(asked: str | None, seen: dict[str, NDArray[np.bool_]], split: Split, source: MaskFolder) -> Ids:
    """What the numbers are."""
    every = possible_ids(np.zeros(256, np.bool_), split.classes)
    if asked is not None and asked not in IDS[1:]:
        raise unknown("numbers of masks (--ids)", asked, IDS[1:], "--ids")
    if asked is not None and asked not in every:
        raise InputError(
            f"--ids {asked}: only for the 80 classes of COCO, this data has {len(split.classes)}", field="--ids"
        )
    fitting = possible_ids(np.logical_or.reduce(list(seen.values())), split.classes)
    chosen = next((each for each in every if each == asked), None)
    if chosen is None and len(fitting) > 1:
        raise InputError(
            "the numbers of these masks fit COCO's classes by place (1..80) and COCO's own ids (1..90): say "
            f"--ids {' or --ids '.join(fitting)}",
            field="--ids",
        )
    taken = chosen or (fitting or every)[0]
    for id, numbers in seen.items():  # the first that does not fit is named
        labels(np.flatnonzero(numbers).astype(np.uint8), taken, split.classes, str(source.folder / f"{id}.png"))
    return taken


def _within_labels(seen: dict[str, NDArray[np.bool_]], ids: Ids, split: Split) -> bool:
    def strange(id: str, numbers: NDArray[np.bool_]) -> list[int]:
        return outside(labels(np.flatnonzero(numbers).astype(np.uint8), ids, split.classes, id), split.labels(id))

    return not any(strange(id, numbers) for id, numbers in seen.items())
