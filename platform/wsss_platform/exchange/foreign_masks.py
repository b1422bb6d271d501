"""A folder of masks that anybody made as an experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import DataConfig, ImportedMasksConfig, validated
from wsss_platform.config.imported import IDS, Ids
from wsss_platform.config.supervision import Knowledge
from wsss_platform.data import Split, open_data
from wsss_platform.errors import InputError, unknown
from wsss_platform.masks.foreign import MaskFolder, Palette, labels, outside, possible_ids, read_numbers
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
    imported.check_files(source, split.ids, may_lack, "masks")
    masks, content = _read(source, split, may_lack, on_image)
    palette: Palette = "colours" if all(mask.coloured is not None for mask in masks.values()) else "index"
    if palette == "colours" and not any(mask.moved for mask in masks.values()):
        palette = "index"  # the same numbers
    seen = {id: _seen(mask, palette) for id, mask in masks.items()}
    taken, fitting = _ids(ids, seen, split, source, may_lack - (len(split.ids) - len(seen)))
    section = {
        "folder": str(place),
        "content": content,
        "supervision": tuple(supervision),
        "ids": taken,
        "palette": palette,
        "within_labels": _within_labels({id: seen[id] for id in fitting}, taken, split),
    }
    config = validated(ImportedMasksConfig, {"imported": section}, "import-masks")
    return Experiment(imported.MASKS, config, data)


_PALETTE = 3  # the colour type in a PNG's header


@dataclass(frozen=True)
class _Mask:
    """Which numbers a mask has, each bool [256]."""

    indexed: NDArray[np.bool_]
    """By the index of a palette."""
    coloured: NDArray[np.bool_] | None
    """By its colours; None where one is none of VOC's."""
    moved: bool
    """Whether both differ."""


def _read(
    source: MaskFolder, split: Split, may_lack: int, on_image: Callable[[int], object]
) -> tuple[dict[str, _Mask], str]:
    """Image id -> its mask, without those that mean nothing, where there may be so many; the content of all files."""

    def one(id: str) -> tuple[dict[str, str], _Mask | InputError | None]:
        files, mask = {}, None
        for path in source.files(id):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})", field=path) from None
            files[path.name] = hashlib.sha256(content).hexdigest()
            try:
                mask = _mask(content, str(path))
            except InputError as error:
                return files, error
        return files, mask

    found: dict[str, _Mask] = {}
    digests, errors = [], []
    with ThreadPoolExecutor(4) as pool:
        for done, (id, (files, mask)) in enumerate(zip(split.ids, pool.map(one, split.ids), strict=True), 1):
            digests.append((id, files))
            if isinstance(mask, InputError):
                errors.append(mask)
            elif mask is not None:
                found[id] = mask
            on_image(done)
    if len(split.ids) - len(found) > may_lack or not found:
        _refuse(errors)
    return found, imported.content_of(digests)


def _mask(content: bytes, where: str) -> _Mask:
    indexed = read_numbers(content, where)
    if content[25] != _PALETTE:
        return _Mask(_present(indexed), _present(indexed), moved=False)
    try:
        coloured = read_numbers(content, where, "colours")
    except InputError:
        return _Mask(_present(indexed), None, moved=False)
    return _Mask(_present(indexed), _present(coloured), moved=not np.array_equal(indexed, coloured))


def _present(numbers: NDArray[np.uint8]) -> NDArray[np.bool_]:
    found = np.zeros(256, np.bool_)
    found[numbers] = True
    return found


def _seen(mask: _Mask, palette: Palette) -> NDArray[np.bool_]:
    if palette == "index":
        return mask.indexed
    assert mask.coloured is not None
    return mask.coloured


def _refuse(errors: Sequence[InputError]) -> NoReturn:
    more = f"\n  and {len(errors) - 20} more" if len(errors) > 20 else ""
    listed = "\n  ".join(map(str, errors[:20]))
    raise errors[0].in_context(f"{len(errors)} masks cannot be used:\n  {listed}{more}" if errors[1:] else listed)


def _ids(
    asked: str | None, seen: dict[str, NDArray[np.bool_]], split: Split, source: MaskFolder, may_fail: int
) -> tuple[Ids, tuple[str, ...]]:
    """What the numbers are, and the images whose numbers do mean something."""
    every = possible_ids(np.zeros(256, np.bool_), split.classes)
    if asked is not None and asked not in IDS[1:]:
        raise unknown("numbers of masks (--ids)", asked, IDS[1:], "--ids")
    if asked is not None and asked not in every:
        raise InputError(
            f"--ids {asked}: only for the 80 classes of COCO, this data has {len(split.classes)}", field="--ids"
        )
    fits = {id: possible_ids(numbers, split.classes) for id, numbers in seen.items()}
    misfits = {ids: sum(ids not in found for found in fits.values()) for ids in every}
    least = min(misfits.values())
    best = [ids for ids in every if misfits[ids] == least]
    chosen = next((each for each in every if each == asked), None)
    if chosen is None and len(best) > 1:
        raise InputError(
            "the numbers of these masks fit COCO's classes by place (1..80) and COCO's own ids (1..90): say "
            f"--ids {' or --ids '.join(best)}",
            field="--ids",
        )
    taken = chosen or best[0]
    fitting = tuple(id for id, found in fits.items() if taken in found)
    if len(seen) - len(fitting) > may_fail or not fitting:
        _refuse([_strange(id, seen[id], taken, split, source) for id, found in fits.items() if taken not in found])
    return taken, fitting


def _strange(id: str, numbers: NDArray[np.bool_], ids: Ids, split: Split, source: MaskFolder) -> InputError:
    """What is wrong with the numbers of a mask."""
    try:
        labels(np.flatnonzero(numbers).astype(np.uint8), ids, split.classes, str(source.folder / f"{id}.png"))
    except InputError as error:
        return error
    raise AssertionError("these numbers fit")


def _within_labels(seen: dict[str, NDArray[np.bool_]], ids: Ids, split: Split) -> bool:
    def strange(id: str, numbers: NDArray[np.bool_]) -> list[int]:
        return outside(labels(np.flatnonzero(numbers).astype(np.uint8), ids, split.classes, id), split.labels(id))

    return not any(strange(id, numbers) for id, numbers in seen.items())
