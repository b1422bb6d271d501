"""The built-in sample written as COCO and as a folder of images with a label file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_platform.config import SampleConfig
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sample.tree import write_mask
from wsss_platform.exchange.rle import compressed, runs

SMALL = SampleConfig(train=6, val=3, size=64)


def number_of(id: str) -> int:
    """COCO's number of an image of the sample."""
    return int(id.rpartition("_")[2]) + (1 if id.startswith("train") else 1001)


def write_coco(folder: Path, *, year: str = "2014", splits: Sequence[str] = ("train", "val"), images: str = "") -> Path:
    """COCO's folder: instances with their visible pixels as run lengths, and the first one's box as a polygon, too.

    Args:
        folder: to create.
        year: of the release.
        splits: that are written.
        images: folder between `folder` and that of a split's images, such as "images".
    """
    made = SampleDataset(SMALL)
    categories = [{"id": 3 * place + 7, "name": name} for place, name in enumerate(made.classes)]
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for name in splits:
        split, truth = made.split(name), made.truth(name)
        place = folder / images / f"{name}{year}"
        place.mkdir(parents=True)
        said: dict[str, Any] = {"images": [], "categories": categories, "annotations": []}
        for id in reversed(split.ids):
            image, number = split.read(id).image, number_of(id)
            file, (height, width) = f"{number:012d}.jpg", image.shape[:2]
            Image.fromarray(image).save(place / file, quality=95)
            said["images"].append({"id": number, "file_name": file, "height": height, "width": width})
            instances = truth.instances(id)
            for row, (label, left, top, right, bottom) in enumerate(truth.boxes(id).tolist(), start=1):
                shape = instances == row
                outlines: list[Any] = [{"size": [height, width], "counts": compressed(runs(shape))}]
                if row == 1:
                    outlines.append([[left, top, right, top, right, bottom - 0.5, left, bottom]])
                for outline in outlines:
                    entry = {"id": len(said["annotations"]), "image_id": number, "category_id": 3 * label + 7}
                    area = int(shape.sum())
                    said["annotations"].append({**entry, "segmentation": outline, "area": area, "iscrowd": 0})
        (folder / "annotations" / f"instances_{name}{year}.json").write_text(json.dumps(said))
    return folder


def write_images(folder: Path, *, masks: bool = True, splits: bool = False) -> Path:
    """A folder of images with labels.csv, a row for each image and class.

    Args:
        folder: to create.
        masks: whether there is ground truth.
        splits: write train.txt and val.txt with the sample's two splits; else its split "train" alone is written.
    """
    made = SampleDataset(SMALL)
    (folder / "images").mkdir(parents=True)
    rows = ["id,class"]
    for name in ("train", "val") if splits else ("train",):
        split, truth = made.split(name), made.truth(name)
        for id in split.ids:
            sample = split.read(id)
            Image.fromarray(sample.image).save(folder / "images" / f"{id}.png")
            rows += [f"{id},{made.classes[place]}" for place in np.flatnonzero(sample.labels)]
            if masks:
                (folder / "masks").mkdir(exist_ok=True)
                write_mask(folder / "masks" / f"{id}.png", truth.mask(id))
        if splits:
            (folder / f"{name}.txt").write_text("\n".join(split.ids) + "\n")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "classes.txt").write_text("\n".join(made.classes) + "\n")
    return folder
