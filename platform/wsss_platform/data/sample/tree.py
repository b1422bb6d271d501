"""Write the sample set as a VOC tree, to view it or to read it back through `voc`."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_platform.data.convert.annotations import write_label_json
from wsss_platform.data.sample.dataset import SampleDataset, SampleTruth
from wsss_platform.errors import InputError

_FOLDERS = (
    "JPEGImages",
    "SegmentationClass",
    "SegmentationObject",
    "Saliency",
    "Annotations",
    "ImageSets/Segmentation",
)


def write_tree(dataset: SampleDataset, folder: Path) -> None:
    """Write JPEGImages (quality 95), SegmentationClass and SegmentationObject (palette PNG), Saliency (grey PNG),
    Annotations, ImageSets/Segmentation and image_level_labels.json (which names the classes).

    Args:
        dataset: what to write, all splits.
        folder: to create; it appears complete or not at all.

    Raises:
        InputError: the folder exists and is not empty, or cannot be made.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: not empty; a tree is written into a new folder", field=folder)
    partial = folder.absolute().with_name(f".{folder.absolute().name}.{uuid.uuid4().hex}.tmp")
    try:
        for name in _FOLDERS:
            (partial / name).mkdir(parents=True)
        labels: dict[str, list[str]] = {}
        for list_name in dataset.lists():
            labels |= _write_list(dataset, list_name, partial)
        write_label_json(partial / "image_level_labels.json", dataset.classes, labels, name="sample-tree")
        os.replace(partial, folder.absolute())  # noqa: PTH105 (also over an empty folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})", field=folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_list(dataset: SampleDataset, list_name: str, folder: Path) -> dict[str, list[str]]:
    split, truth = dataset.split(list_name), dataset.truth(list_name)
    labels: dict[str, list[str]] = {}
    for id in split.ids:
        sample = split.read(id)
        Image.fromarray(sample.image).save(folder / "JPEGImages" / f"{id}.jpg", quality=95)
        write_mask(folder / "SegmentationClass" / f"{id}.png", truth.mask(id))
        write_mask(folder / "SegmentationObject" / f"{id}.png", truth.instances(id))
        Image.fromarray(split.saliency(id)).save(folder / "Saliency" / f"{id}.png")
        xml = _annotation(dataset.classes, truth, id, sample.image.shape[:2])
        (folder / "Annotations" / f"{id}.xml").write_text(xml, encoding="utf-8")
        labels[id] = [dataset.classes[index] for index in np.flatnonzero(sample.labels).tolist()]
    lines = "".join(f"{id}\n" for id in split.ids)
    (folder / "ImageSets" / "Segmentation" / f"{list_name}.txt").write_text(lines, encoding="utf-8")
    return labels


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """uint8 [H, W] -> PNG with VOC's palette."""
    image = Image.fromarray(mask)
    image.putpalette(voc_palette().tobytes())
    image.save(path)


def voc_palette() -> NDArray[np.uint8]:
    """uint8 [256, 3]: VOC's colours: the bits of the index spread over the channels (VOCdevkit, VOClabelcolormap)."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((index >> channel) & 1) << (7 - bit)
        index >>= 3
    return palette.astype(np.uint8)


def _annotation(classes: tuple[str, ...], truth: SampleTruth, id: str, size: tuple[int, ...]) -> str:
    objects = "".join(
        f"  <object>\n    <name>{classes[label]}</name>\n    <difficult>0</difficult>\n"
        f"    <bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>\n"
        "  </object>\n"
        for label, left, top, right, bottom in truth.boxes(id).tolist()
    )
    return (
        f"<annotation>\n  <filename>{id}.jpg</filename>\n"
        f"  <size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>\n"
        f"  <segmented>1</segmented>\n{objects}</annotation>\n"
    )
