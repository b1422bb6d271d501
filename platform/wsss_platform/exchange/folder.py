"""Write a run's masks into a folder: atomic file by file, resumable, and what cannot be written is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.categories import category_ids
from wsss_platform.data.convert.annotations import write_label_json
from wsss_platform.data.files import FileSplit
from wsss_platform.data.palette import mask_file, read_mask
from wsss_platform.data.split import Split
from wsss_platform.data.voc import LABEL_JSON, UNNAMED
from wsss_platform.errors import InputError
from wsss_platform.exchange.coco import RegionFile, image_ids, write_map
from wsss_platform.exchange.readme import readme
from wsss_platform.exchange.scores import MaskRow, write_scores
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.pipeline import read_score
from wsss_platform.store.artefacts import Store, write_atomic

Layout = Literal["voc", "coco"]
MARKER = "export.json"
"""Says whose masks a folder holds, so that a second export continues the same and never mixes two."""
FAILURES = "failures.json"
"""[[image id, reason], ...] of the last attempt, when there were any."""


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    folder: Path
    images: int
    lacking: tuple[str, ...]
    """Images of the split that have no mask."""
    undecided: int
    """Pixels of value 255, over all images."""
    scored: bool
    """Whether the Parquet file has IoUs; it has them when the run was scored before."""


def export_masks(
    experiment: Experiment,
    store: Store,
    folder: Path,
    layout: Layout,
    lacking: Set[str] = frozenset(),
    on_done: Callable[[int], None] = lambda done: None,
) -> Exported:
    """Write all masks of an experiment's list.

    Args:
        experiment: whose masks are in the store.
        store: where they are.
        folder: to write to: new, empty, or holding an earlier attempt of the same export.
        layout: "voc" or "coco"; the README written into the folder says what is what.
        lacking: images whose masks failed, as the run allowed; they are left out of every list, and the README
            names them.
        on_done: called with the number of images written.

    Raises:
        InputError: a folder with something else in it, or images that cannot be read or written (each named in
            FAILURES; lists and summaries are then not written).
    """
    stage = experiment.stage("masks")
    masks = store.open("masks", stage.key).folder
    split = experiment.dataset.split(stage.list_name)
    folder = folder.expanduser().absolute()
    _claim(folder, {"masks": stage.key, "layout": layout, "list": stage.list_name})
    ids = [id for id in split.ids if id not in lacking]
    with _writer(folder, layout, split, ids, experiment.dataset.name) as write:
        rows, failures = _write_all(split, ids, masks, write, on_done)
        if failures:
            write_atomic(folder / FAILURES, json.dumps(failures, indent=1))
            listed = "\n  ".join(f"{id}: {reason}" for id, reason in failures[:20])
            more = f"\n  and {len(failures) - 20} more in {folder / FAILURES}" if len(failures) > 20 else ""
            raise InputError(f"{len(failures)} of {len(ids)} masks could not be exported:\n  {listed}{more}")
    (folder / FAILURES).unlink(missing_ok=True)
    score = experiment.stage("score")
    scored = read_score(experiment, store, "the run") if store.finished("score", score.key) else None
    write_scores(folder / "scores.parquet", rows, split.classes, scored)
    undecided = sum(row.undecided for row in rows)
    without = tuple(id for id in split.ids if id in lacking)
    write_atomic(folder / "README.md", readme(experiment, layout, len(rows), undecided, scored is not None, without))
    return Exported(folder, len(rows), without, undecided, scored is not None)


def _claim(folder: Path, marker: dict[str, str]) -> None:
    """Make the folder ours; InputError when it holds anything else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / MARKER).is_file():
            found: Any = json.loads((folder / MARKER).read_text(encoding="utf-8"))
            if found != marker:
                raise InputError(
                    f"{folder}: holds the export of other masks ({MARKER}); choose another folder", field=folder
                )
        elif any(folder.iterdir()):
            raise InputError(
                f"{folder}: not empty, and no earlier export of these masks; choose another folder", field=folder
            )
        write_atomic(folder / MARKER, json.dumps(marker, indent=1))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{folder}: cannot be used ({error})", field=folder) from None


Write = Callable[[str, NDArray[np.uint8], Path], None]
"""(image id, mask, its file in the store) -> written."""


@contextmanager
def _writer(folder: Path, layout: Layout, split: Split, ids: Sequence[str], name: str) -> Iterator[Write]:
    """What writes one mask; on leaving without an error the lists beside the masks are written."""
    if layout == "voc":
        (folder / "SegmentationClass").mkdir(exist_ok=True)
        yield lambda id, mask, source: _copy(source, folder / "SegmentationClass" / f"{id}.png")
        _voc_lists(folder, split, ids, name)
        return
    for part in ("annotations", "pixelmaps"):
        (folder / part).mkdir(exist_ok=True)
    categories, numbers = category_ids(split.classes), dict(zip(split.ids, image_ids(split.ids), strict=True))
    regions = RegionFile(folder / "annotations" / f"{split.name}.json", split.classes, f"pseudo masks of {split.name}")

    def write(id: str, mask: NDArray[np.uint8], source: Path) -> None:
        target = folder / "pixelmaps" / f"{id}.png"
        if not target.exists():
            write_map(target, mask, categories)
        regions.add(id, numbers[id], mask)

    try:
        yield write
        regions.close()
    finally:
        regions.drop()
    write_atomic(folder / f"{split.name}.txt", "".join(f"{id}\n" for id in ids))


def _copy(source: Path, target: Path) -> None:
    if not target.exists():  # written whole or not at all, by this export
        write_atomic(target, source.read_bytes())


def _write_all(
    split: Split, ids: Sequence[str], masks: Path, write: Write, on_done: Callable[[int], None]
) -> tuple[list[MaskRow], list[tuple[str, str]]]:
    rows: list[MaskRow] = []
    failures: list[tuple[str, str]] = []
    for id in ids:
        source = mask_file(masks, id)
        try:
            mask = read_mask(source)
            row = MaskRow.of(id, mask)
            if row.values and row.values[-1] > len(split.classes):
                raise InputError(f"{source}: value {row.values[-1]} is no class of the data set", field=source)
            write(id, mask, source)
        except (InputError, OSError) as error:
            failures.append((id, str(error)))
            continue
        rows.append(row)
        on_done(len(rows))
    return rows, failures


def _voc_lists(folder: Path, split: Split, ids: Sequence[str], name: str) -> None:
    """Lists, labels and the images' folder, so that the whole is a VOC tree of the same name."""
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    write_atomic(lists / f"{split.name}.txt", "".join(f"{id}\n" for id in ids))
    pairs = "".join(f"/JPEGImages/{id}.jpg /SegmentationClass/{id}.png\n" for id in ids)
    write_atomic(lists / f"{split.name}_pairs.txt", pairs)
    write_atomic(folder / "classes.txt", "".join(f"{name}\n" for name in ("background", *split.classes)))
    named = {id: [split.classes[place] for place in np.flatnonzero(split.labels(id))] for id in ids}
    write_label_json(folder / LABEL_JSON, split.classes, named, name="" if name == UNNAMED else name)
    images = folder / "JPEGImages"
    source = split.jpeg_folder if isinstance(split, FileSplit) else None
    if source is not None and not images.is_symlink():
        images.symlink_to(source, target_is_directory=True)
