"""COCO's form: pixel maps of category ids, and one JSON of class regions that pycocotools reads."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_platform.data.categories import category_ids
from wsss_platform.data.split import IGNORE
from wsss_platform.exchange.rle import compressed, runs
from wsss_platform.store.artefacts import write_atomic


def image_ids(ids: Sequence[str]) -> tuple[int, ...]:
    """COCO's image ids where every name ends in its twelve digits, else 1..N in the split's order."""
    digits = [re.search(r"(?<!\d)\d{12}$", id) for id in ids]
    numbers = tuple(int(found[0]) for found in digits if found)
    return numbers if len(set(numbers)) == len(ids) else tuple(range(1, len(ids) + 1))


def pixel_map(mask: NDArray[np.uint8], categories: Sequence[int]) -> bytes:
    """A grey PNG of category ids: 0 background, 255 undecided."""
    values = np.zeros(256, np.uint8)
    values[1 : len(categories) + 1] = categories
    values[IGNORE] = IGNORE
    buffer = io.BytesIO()
    Image.fromarray(values[mask]).save(buffer, format="PNG")
    return buffer.getvalue()


class RegionFile:
    """Writes the JSON as images come, so that 82,081 of them need no more memory than one; appears when closed."""

    def __init__(self, path: Path, classes: Sequence[str], about: str) -> None:
        self._path, self._categories = path, category_ids(classes)
        self._images: list[dict[str, Any]] = []
        self._annotations = 0
        self._part = path.with_name(f".{path.name}.part")
        self._stream: TextIO = self._part.open("w", encoding="utf-8")
        categories = [
            {"id": number, "name": name, "supercategory": name}
            for number, name in zip(self._categories, classes, strict=True)
        ]
        head = {"info": {"description": about}, "licenses": [], "categories": categories}
        self._stream.write(json.dumps(head)[:-1] + ', "annotations": [')

    def add(self, id: str, image_id: int, mask: NDArray[np.uint8]) -> None:
        """One region per class of the image; background and undecided pixels are in none."""
        height, width = mask.shape
        self._images.append({"id": image_id, "file_name": f"{id}.jpg", "height": height, "width": width})
        for value in np.unique(mask).tolist():
            if value in (0, IGNORE):
                continue
            region = mask == value
            rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
            left, top = int(columns[0]), int(rows[0])
            self._annotations += 1
            said = {
                "id": self._annotations,
                "image_id": image_id,
                "category_id": self._categories[value - 1],
                "iscrowd": 0,
                "area": int(region.sum()),
                "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                "segmentation": {"size": [height, width], "counts": compressed(runs(region))},
            }
            self._stream.write((",\n" if self._annotations > 1 else "\n") + json.dumps(said))

    def close(self) -> None:
        """Write the file of ids and give the file its name."""
        self._stream.write('\n], "images": ' + json.dumps(self._images) + "}\n")
        self._stream.close()
        self._part.rename(self._path)

    def drop(self) -> None:
        """Leave no file."""
        self._stream.close()
        self._part.unlink(missing_ok=True)


def write_map(path: Path, mask: NDArray[np.uint8], categories: Sequence[int]) -> None:
    """Write a pixel map; readers see the whole file or none."""
    write_atomic(path, pixel_map(mask, categories))
