"""COCO's annotations -> a tree of pictures, masks, lists and labels that every reader here takes.

COCO has no masks of classes, only outlines of instances, so whoever scores on it paints them; how is ours, and the same
for all: larger instances first, so that a smaller one in front keeps its pixels; crowds lowest, as regions of their
class; nothing is 255. Labels are the classes of a picture's annotations, crowds too. Mask values are 1..80 in the order
of COCO's category ids, whose gaps close. Pictures without annotations are left out: 82,081 of 2014's 82,783 to train.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_platform.data.annotations import write_label_json
from wsss_platform.data.split import check_id
from wsss_platform.data.tree import voc_palette
from wsss_platform.errors import InputError, unknown
from wsss_platform.store import write_atomic

_LARGEST = 1 << 26  # pixels of a picture: a wrong size must not make this allocate without bounds
_YEARS = ("2014", "2017")
_AT_ONCE = 64  # pictures per task of a worker process
_SOURCE = "source.json"
"""In the tree: which annotation files it was made of."""


@dataclass(frozen=True)
class Region:
    """One annotation."""

    value: int
    """Of its class in the mask, from 1."""
    area: float
    """In pixels, as COCO says."""
    crowd: bool
    """A region of many; drawn under all others."""
    outline: Any
    """Polygons [[x, y, x, y, ...], ...] in pixels, or {"size": [H, W], "counts": run lengths}."""


@dataclass(frozen=True)
class Picture:
    """A picture with annotations."""

    id: str
    file: Path
    height: int
    width: int
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Annotations:
    """One annotation file."""

    path: Path
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    without: int
    """Pictures that have no annotation and are left out."""


def annotation_files(root: Path, year: str) -> dict[str, tuple[Path, Path]]:
    """List name -> (annotation file, folder of pictures) of what lies in COCO's folder.

    Pictures lie in `train2014`, or in `images/train2014`.

    Raises:
        InputError: another year than 2014 or 2017, or neither list is there.
    """
    if year not in _YEARS:
        raise unknown("year (--year)", year, _YEARS)
    found: dict[str, tuple[Path, Path]] = {}
    for name in ("train", "val"):
        path = root / "annotations" / f"instances_{name}{year}.json"
        if path.is_file():
            images = root / "images" / f"{name}{year}"
            found[name] = path, images if images.is_dir() else root / f"{name}{year}"
    if not found:
        raise InputError(
            f"{root / 'annotations'}: neither instances_train{year}.json nor instances_val{year}.json is there"
        )
    return found


def read_annotations(path: Path, folder: Path) -> Annotations:
    """An `instances_*.json` of COCO, pictures in the order of their names.

    Args:
        path: the file; it is read whole.
        folder: that holds its pictures.

    Raises:
        InputError: missing, not such a JSON, a name with a path in it, an unknown picture or category, a wrong size;
            names the file and the entry.
    """
    try:
        data = json.loads(path.read_bytes())
        images, annotations, categories = (data[key] for key in ("images", "annotations", "categories"))
        names = {int(entry["id"]): str(entry["name"]) for entry in categories}
        sizes = {int(entry["id"]): _checked(entry, path) for entry in images}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not an annotation file of COCO's instances ({_said(error)})") from None
    if not 0 < len(set(names.values())) == len(names) == len(categories) < 255:
        raise InputError(f"{path}: expected 1 to 254 categories, each id and name once")
    if not len(sizes) == len(images) == len({name for name, _, _ in sizes.values()}):
        raise InputError(f"{path}: an image's id or file name comes twice")
    values = {number: 1 + place for place, number in enumerate(sorted(names))}
    regions: dict[int, list[Region]] = {}
    for entry in annotations:
        try:
            image, category = int(entry["image_id"]), int(entry["category_id"])
            where = f"{path}: annotation {entry['id']}"
            region = Region(
                values.get(category, 0), float(entry["area"]), bool(entry["iscrowd"]), entry["segmentation"]
            )
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: annotation {entry!r:.80}: {_said(error)}") from None
        if image not in sizes or not region.value:
            lacks = f"image_id {image}" if image not in sizes else f"category_id {category}"
            raise InputError(f"{where}: its {lacks} is not in the file")
        regions.setdefault(image, []).append(region)
    found = sorted((sizes[number], tuple(entries)) for number, entries in regions.items())
    pictures = tuple(
        Picture(Path(name).stem, folder / name, height, width, entries) for (name, height, width), entries in found
    )
    return Annotations(path, tuple(names[number] for number in sorted(names)), pictures, len(sizes) - len(pictures))


def paint(picture: Picture) -> NDArray[np.uint8]:
    """The mask uint8 [H, W] of a picture: 0 background, else the value of the uppermost region.

    Raises:
        InputError: an outline that is none or does not fit the picture; names the picture.
    """
    mask = np.zeros((picture.height, picture.width), np.uint8)
    for region in sorted(picture.regions, key=lambda region: (not region.crowd, -region.area)):
        mask[_inside(region.outline, picture)] = region.value
    return mask


def convert(
    splits: dict[str, Annotations],
    folder: Path,
    name: str,
    show: Callable[[int, int], None],
    *,
    copy: bool = False,
    processes: int | None = None,
) -> None:
    """Write JPEGImages, SegmentationClass (palette PNG), ImageSets/Segmentation and image_level_labels.json.

    Masks are made beside the folder, which appears when all is there; after an interruption the same call goes on.

    Args:
        splits: list name -> its annotations.
        folder: to create.
        name: of the data set, such as "coco2014": every score's protocol will say it.
        show: told (pictures done, of how many).
        copy: copy the pictures instead of linking to them.
        processes: that paint; None is one per core.

    Raises:
        InputError: the folder exists and is not empty, the lists have other classes or a picture in common, a picture
            or annotation is wrong (named), or a file cannot be written.
    """
    folder = folder.absolute()
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: not empty; a tree is written into a new folder")
    classes = {split.classes for split in splits.values()}
    if len(classes) != 1:
        raise InputError("the annotation files have different categories: " + ", ".join(map(str, _paths(splits))))
    pictures = [picture for split in splits.values() for picture in split.pictures]
    if len({picture.id for picture in pictures}) < len(pictures):
        raise InputError("a picture is in two lists: " + ", ".join(map(str, _paths(splits))))
    try:
        partial = _partial(splits, folder)
        masks = partial / "SegmentationClass"
        for done in _painted(pictures, masks, partial / "JPEGImages", copy, processes):
            show(done, len(pictures))
        for list_name, split in splits.items():
            lines = "".join(f"{picture.id}\n" for picture in split.pictures)
            write_atomic(partial / "ImageSets" / "Segmentation" / f"{list_name}.txt", lines)
        (ordered,) = classes
        labels = {picture.id: [ordered[value - 1] for value in _values(picture)] for picture in pictures}
        write_label_json(partial / "image_level_labels.json", ordered, labels, name=name)
        os.replace(partial, folder)  # noqa: PTH105 (also over an empty folder)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be written ({error.strerror})") from None


def _partial(splits: dict[str, Annotations], folder: Path) -> Path:
    """The folder that masks are made in; what an interrupted call left there counts when it was of the same files."""
    partial = folder.with_name(f".{folder.name}.partial")
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (partial / name).mkdir(parents=True, exist_ok=True)
    said = json.dumps({name: _identity(split.path) for name, split in splits.items()}, indent=1) + "\n"
    source = partial / _SOURCE
    if not source.is_file() or source.read_text(encoding="utf-8") != said:
        for path in (partial / "SegmentationClass").iterdir():
            path.unlink()
        write_atomic(source, said)
    return partial


def _identity(path: Path) -> dict[str, str | int]:
    stat = path.stat()
    return {"annotations": str(path), "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}


def _painted(pictures: list[Picture], masks: Path, images: Path, copy: bool, processes: int | None) -> Iterator[int]:
    """Paint what is not there yet; how many are there, again and again."""
    there = {path.stem for path in masks.glob("*.png")}
    tasks = [pictures[first : first + _AT_ONCE] for first in range(0, len(pictures), _AT_ONCE)]
    done = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=context) as pool:
        todo = [[picture for picture in task if picture.id not in there] for task in tasks]
        waiting = [pool.submit(_paint_all, task, masks) if task else None for task in todo]
        try:
            for task, result in zip(tasks, waiting, strict=True):
                for picture in task:
                    _place(picture.file, images / f"{picture.id}.jpg", copy)
                if result is not None:
                    result.result()
                done += len(task)
                yield done
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _paint_all(pictures: list[Picture], folder: Path) -> None:
    palette = voc_palette().tobytes()
    for picture in pictures:
        image = Image.fromarray(paint(picture))
        image.putpalette(palette)
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        write_atomic(folder / f"{picture.id}.png", buffer.getvalue())


def _place(source: Path, target: Path, copy: bool) -> None:
    if not source.is_file():
        raise InputError(f"{source}: no such picture, but it is in the annotations")
    if target.is_symlink() or target.exists():
        target.unlink()
    if copy:
        write_atomic(target, source.read_bytes())
    else:
        target.symlink_to(source.resolve())


def _inside(outline: Any, picture: Picture) -> NDArray[np.bool_]:
    """bool [H, W] of an outline."""
    try:
        from pycocotools import mask as coco
    except ImportError:
        raise InputError("COCO's outlines are read by pycocotools: pip install 'wsss-platform[coco]'") from None
    height, width = picture.height, picture.width
    where = f"picture {picture.id}"
    if isinstance(outline, dict):
        if outline.get("size") != [height, width]:
            raise InputError(f"{where}: a region of size {outline.get('size')!r:.40}, expected {[height, width]}")
        counts = outline.get("counts")
        if isinstance(counts, list):
            return _from_runs(counts, picture)
        if not isinstance(counts, str):
            raise InputError(f"{where}: run lengths that are neither a list nor a text: {counts!r:.40}")
        try:
            decoded = coco.decode({"size": [height, width], "counts": counts.encode("ascii")})
        except (ValueError, UnicodeEncodeError) as error:
            raise InputError(f"{where}: run lengths that cannot be read: {error}") from None
        return np.asarray(decoded, dtype=bool)
    if not isinstance(outline, list) or not outline or not all(_is_polygon(polygon) for polygon in outline):
        raise InputError(f"{where}: expected polygons of at least three points or run lengths, got {outline!r:.60}")
    parts = coco.frPyObjects([[float(number) for number in polygon] for polygon in outline], height, width)
    return np.asarray(coco.decode(coco.merge(parts)), dtype=bool)


def _from_runs(counts: list[Any], picture: Picture) -> NDArray[np.bool_]:
    """Uncompressed run lengths, of zeros first, down the columns."""
    good = all(isinstance(count, int) and count >= 0 for count in counts)
    if not good or sum(counts) != picture.height * picture.width:
        raise InputError(
            f"picture {picture.id}: run lengths that do not add up to its {picture.height} x {picture.width}"
        )
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(picture.width, picture.height).T


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(isinstance(number, int | float) and abs(number) < 2**20 for number in polygon)
    )


def _checked(entry: Any, path: Path) -> tuple[str, int, int]:
    """(file name, height, width) of an image."""
    name, height, width = str(entry["file_name"]), int(entry["height"]), int(entry["width"])
    stem, dot, ending = name.rpartition(".")
    check_id(stem, f"{path}: file_name {name!r}")
    if f"{dot}{ending}" != ".jpg":
        raise InputError(f"{path}: file_name {name!r}: expected a .jpg")
    if not (height > 0 and width > 0 and height * width <= _LARGEST):
        raise InputError(f"{path}: {name}: a size of {width} x {height} pixels")
    return name, height, width


def _values(picture: Picture) -> list[int]:
    return sorted({region.value for region in picture.regions})


def _paths(splits: dict[str, Annotations]) -> list[Path]:
    return [split.path for split in splits.values()]


def _said(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
