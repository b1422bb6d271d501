"""COCO's annotations of instances as images with class masks.

COCO has no masks of classes, only outlines of instances, so whoever scores on it paints them; how is ours, and the same
for all: larger instances first, so that a smaller one in front keeps its pixels; crowds lowest, as regions of their
class; nothing is 255. Mask values are 1..80 in the order of COCO's category ids, whose gaps close. Images without
annotations are left out, which keeps 82,081 of 2014's 82,783 to train.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.convert.coco_outline import Outline, inside, read_outline
from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError, unknown

_LONGEST = 1 << 14  # pixels of an image's side: a wrong size must not make this allocate without bounds
_YEARS = ("2014", "2017")
_LISTS = ("train", "val")


@dataclass(frozen=True)
class Region:
    """One annotation."""

    value: int
    """Of its class in the mask, from 1."""
    area: float
    """In pixels, as COCO says."""
    crowd: bool
    """A region of many; drawn under all others."""
    outline: Outline
    """Checked against the image's size."""


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with annotations."""

    id: str
    file: Path
    height: int
    width: int
    regions: tuple[Region, ...]

    def values(self) -> list[int]:
        """Mask values of the classes that its annotations name, crowds too."""
        return sorted({region.value for region in self.regions})


@dataclass(frozen=True)
class Annotations:
    """One annotation file."""

    path: Path
    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    """Those with annotations, in the order of their names."""
    without: int
    """Images that have no annotation and are left out."""


def annotations_in(root: Path) -> dict[tuple[str, str], Path]:
    """(split, year) -> annotation file, of all that lie in COCO's folder."""
    found = {(name, year): _annotation_file(root, name, year) for year in _YEARS for name in _LISTS}
    return {key: path for key, path in found.items() if path.is_file()}


def images_of(root: Path, name: str, year: str) -> tuple[Path, Path]:
    """The two places where the images of a split may lie."""
    return root / f"{name}{year}", root / "images" / f"{name}{year}"


def _annotation_file(root: Path, name: str, year: str) -> Path:
    return root / "annotations" / f"instances_{name}{year}.json"


def annotation_files(root: Path, year: str, only: str | None = None) -> dict[str, tuple[Path, Path]]:
    """Split -> (annotation file, folder of images) of what lies in COCO's folder.

    Images lie in `train2014`, or in `images/train2014`.

    Args:
        root: holds `annotations`.
        year: "2014" or "2017".
        only: "train" or "val"; None is both, as far as there are annotations.

    Raises:
        InputError: another year or split, no annotations, or annotations without their folder of images.
    """
    if year not in _YEARS:
        raise unknown("year (--year)", year, _YEARS, "--year")
    if only is not None and only not in _LISTS:
        raise unknown("split (--split)", only, _LISTS, "--split")
    found: dict[str, tuple[Path, Path]] = {}
    names = _LISTS if only is None else (only,)
    for name in names:
        path = _annotation_file(root, name, year)
        if not path.is_file():
            continue
        folders = images_of(root, name, year)
        images = next((folder for folder in folders if folder.is_dir()), None)
        if images is None:
            other = next(each for each in _LISTS if each != name)
            raise InputError(
                f"{folders[0]}: no such folder, but {path} is there; --split {other} leaves {name} out",
                field=folders[0],
            )
        found[name] = path, images
    if not found:
        wanted = " nor ".join(f"instances_{name}{year}.json" for name in names)
        raise InputError(
            f"{root / 'annotations'}: {'neither ' if only is None else 'no '}{wanted}", field=root / "annotations"
        )
    return found


def read_annotations(path: Path, folder: Path) -> Annotations:
    """An `instances_*.json` of COCO.

    Args:
        path: the file; it is read whole.
        folder: that holds its images.

    Raises:
        InputError: missing, not such a JSON, a name with a path in it, an unknown image or category, a wrong size,
            an outline that is none or does not fit its image, no annotations at all; names the file and the entry.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", field=path) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON: {error}", field=path) from None
    entries, annotations, categories = (_listed(data, key, path) for key in ("images", "annotations", "categories"))
    names = {_whole(entry, "id", path): _text(entry, "name", path) for entry in categories}
    if not 0 < len(set(names.values())) == len(names) == len(categories) < 255:
        raise InputError(f"{path}: expected 1 to 254 categories, each id and name once", field=path)
    sizes = {_whole(entry, "id", path): _sized(entry, path) for entry in entries}
    if not len(sizes) == len(entries) == len({name for name, _, _ in sizes.values()}):
        raise InputError(f"{path}: an image's id or file name comes twice", field=path)
    values = {number: 1 + place for place, number in enumerate(sorted(names))}
    regions: dict[int, list[Region]] = {}
    for entry in annotations:
        image, category = _whole(entry, "image_id", path), _whole(entry, "category_id", path)
        if image not in sizes or category not in values:
            lacks = f"image_id {image}" if image not in sizes else f"category_id {category}"
            raise InputError(f"{path}: annotation {entry.get('id')!r:.40}: its {lacks} is not in the file", field=path)
        regions.setdefault(image, []).append(_region(entry, values[category], sizes[image], path))
    if not regions:
        raise InputError(f"{path}: no image has an annotation", field=path)
    found = sorted((sizes[number], number) for number in regions)
    images = tuple(
        AnnotatedImage(Path(name).stem, folder / name, height, width, tuple(regions[number]))
        for (name, height, width), number in found
    )
    return Annotations(path, tuple(names[number] for number in sorted(names)), images, len(sizes) - len(images))


def paint(image: AnnotatedImage) -> NDArray[np.uint8]:
    """The mask uint8 [H, W] of an image: 0 background, else the value of the uppermost region."""
    mask = np.zeros((image.height, image.width), np.uint8)
    for region in sorted(image.regions, key=lambda region: (not region.crowd, -region.area)):
        mask[inside(region.outline, image.height, image.width)] = region.value
    return mask


def _region(entry: Any, value: int, image: tuple[str, int, int], path: Path) -> Region:
    name, height, width = image
    where = f"{path}: annotation {entry.get('id')!r:.40} of {name}"
    area, crowd = _get(entry, "area", path), _get(entry, "iscrowd", path)
    if type(area) not in (int, float) or not 0 <= area < math.inf or crowd not in (0, 1):
        raise InputError(f"{where}: area {area!r:.40}, iscrowd {crowd!r:.40}", field=path)
    outline = read_outline(_get(entry, "segmentation", path), height, width, where)
    return Region(value, float(area), crowd == 1, outline)


def _sized(entry: Any, path: Path) -> tuple[str, int, int]:
    """(file name, height, width) of an image."""
    name = _text(entry, "file_name", path)
    height, width = _whole(entry, "height", path), _whole(entry, "width", path)
    stem, dot, ending = name.rpartition(".")
    if f"{dot}{ending}" != ".jpg":
        raise InputError(f"{path}: file_name {name!r:.80}: expected a .jpg", field=path)
    check_id(stem, f"{path}: file_name {name!r:.80}")
    if not (0 < height <= _LONGEST and 0 < width <= _LONGEST):
        raise InputError(f"{path}: {name}: a size of {width} x {height} pixels", field=path)
    return name, height, width


def _listed(data: Any, key: str, path: Path) -> list[Any]:
    found = data.get(key) if isinstance(data, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{path}: not an annotation file of COCO's instances: it has no list {key!r}", field=path)
    return found


def _get(entry: Any, key: str, path: Path) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise InputError(f"{path}: {entry!r:.80}: it has no {key!r}", field=path)
    return entry[key]


def _whole(entry: Any, key: str, path: Path) -> int:
    value = _get(entry, key, path)
    if type(value) is not int:
        raise InputError(f"{path}: {entry!r:.80}: {key!r} is {value!r:.40}, expected a whole number", field=path)
    return value


def _text(entry: Any, key: str, path: Path) -> str:
    value = _get(entry, key, path)
    if not isinstance(value, str):
        raise InputError(f"{path}: {entry!r:.80}: {key!r} is {value!r:.40}, expected a text", field=path)
    return value
