"""COCO 2014 or 2017 as it is distributed: annotations/instances_*.json beside the folders of images.

Nothing is converted. Masks are painted from the annotations when they are asked for, by the rule of `convert.coco`.
Ids, labels, their order and so the fingerprint of a split are those of a tree that `data convert-coco` wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import DataConfig, fingerprint
from wsss_platform.data.coco_index import CocoIndex, open_index
from wsss_platform.data.convert.coco import annotations_in, images_of, paint
from wsss_platform.data.files import FileSplit, FolderDataset, file_stems
from wsss_platform.data.reading import Problem
from wsss_platform.errors import InputError, unknown

PAINTING = 1
"""Raised when the same annotations give other masks."""


@dataclass(frozen=True, eq=False)
class CocoSplit(FileSplit):
    """A split of COCO; `root` is the folder of its images."""

    def path(self, id: str) -> Path:
        """Of the image."""
        return self.root / f"{id}.jpg"

    @property
    def jpeg_folder(self) -> Path:
        """The folder of images."""
        return self.root


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """Ground truth of a split of COCO; see `Truth`."""

    annotations: Path
    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    digest: str
    """sha256 of the annotation file."""

    def path(self, id: str) -> Path:
        """What says the mask of an image: the annotation file."""
        return self.annotations

    def mask(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W]: 0 background, c + 1 for class c, no ignored pixels; InputError naming the annotation file."""
        index = open_index(self.annotations)
        if index.digest != self.digest:
            raise InputError(f"{self.annotations}: changed since this run opened it", field=self.annotations)
        try:
            return paint(index.image(id))
        except InputError as error:
            raise error.in_context(f"{self.annotations}: {error}") from None

    def fingerprint(self) -> str:
        """sha256 over classes, ids and the content of the annotation file."""
        said = {"classes": self.classes, "ids": self.ids, "annotations": self.digest, "painting": PAINTING}
        return fingerprint(said)


class CocoDataset(FolderDataset):
    """Implements `Dataset` on a folder of COCO: the splits "train" and "val" of one release.

    Raises:
        InputError: no annotations, several releases and none chosen, no images, or settings that COCO does not have.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self.root = Path(config.root).expanduser().resolve()
        for field in ("labels", "masks"):
            if (said := getattr(config, field)) != "auto":
                raise InputError(
                    f"data.{field}: {said!r}: labels and masks of COCO come from its annotations; expected 'auto'",
                    field=f"data.{field}",
                )
        files = annotations_in(self.root)
        year = _release(self.root, config.year, sorted({year for _, year in files}))
        self.name = f"coco{year}"
        self._files = {name: path for (name, of), path in files.items() if of == year}
        self._images = {name: images_of(self.root, name, year) for name in self._files}
        there = [name for name, folders in self._images.items() if any(folder.is_dir() for folder in folders)]
        if not there:
            raise self._no_images(next(iter(self._files)))
        smallest = min(there, key=lambda name: self._files[name].stat().st_size)  # reading the other may not be needed
        self.classes = open_index(self._files[smallest]).classes
        self._there = there

    def lists(self) -> Mapping[str, int]:
        """The splits whose images are there, and how many images with annotations each has."""
        return {name: len(self._index(name).ids) for name in self._there}

    def examine(self, name: str) -> tuple[CocoSplit, list[Problem]]:
        """The images of a split that are there, and those that are not."""
        index, folder = self._index(name), self._folder(name)
        stems = file_stems(folder, ".jpg")
        kept = [row for row, id in enumerate(index.ids) if id in stems]
        problems = [
            Problem(str(self._files[name]), f"image {id} has annotations, but there is no {folder / id}.jpg")
            for id in index.ids
            if id not in stems
        ]
        ids = tuple(index.ids[row] for row in kept)
        saliency = self.folder_named("saliency")
        return CocoSplit(folder, name, self.classes, ids, "annotations", index.labels[kept], saliency), problems

    def examine_truth(self, name: str) -> tuple[CocoTruth, list[Problem]]:
        """The ground truth of a split: every image of it has one."""
        index = self._index(name)
        return CocoTruth(self._files[name], name, self.classes, index.ids, index.digest), []

    def _index(self, name: str) -> CocoIndex:
        if name not in self._files:
            error = unknown("split", name, self._files, name)
            raise error.in_context(f"{self.root / 'annotations'}: {error}")
        index = open_index(self._files[name])
        if index.classes != self.classes:
            raise InputError(
                f"the annotation files have different categories: {', '.join(map(str, self._files.values()))}",
                field=self._files[name],
            )
        return index

    def _folder(self, name: str) -> Path:
        found = next((folder for folder in self._images[name] if folder.is_dir()), None)
        if found is None:
            raise self._no_images(name)
        return found

    def _no_images(self, name: str) -> InputError:
        first, second = self._images[name]
        return InputError(
            f"{self._files[name]} is there, but neither {first} nor {second}, which hold its images", field=first
        )


def _release(root: Path, wanted: int, there: list[str]) -> str:
    """The release that is read."""
    if not there:
        raise InputError(
            f"data.root: {root}: COCO needs annotations/instances_train2014.json there (or val, or 2017)",
            field="data.root",
        )
    if wanted and str(wanted) not in there:
        raise InputError(f"data.year: {root} has {' and '.join(there)}, not {wanted}", field="data.year")
    if not wanted and len(there) > 1:
        choices = " or ".join(f"--set data.year={year}" for year in there)
        raise InputError(f"data.year: {root} holds the annotations of {' and '.join(there)}; choose: {choices}")
    return str(wanted) if wanted else there[0]
