"""A standard VOCdevkit/VOC2012 tree: JPEGImages, masks, ImageSets/Segmentation, image-level labels.

Opening reads lists, labels and folder listings, never an image (unless the labels are derived from masks).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import DataConfig
from wsss_platform.data.convert.annotations import VOC_CLASSES, as_vector, read_annotation, read_label_json
from wsss_platform.data.files import FileSplit, FileTruth, FolderDataset, file_stems
from wsss_platform.data.lists import Entry, count_lines, read_list
from wsss_platform.data.reading import Problem
from wsss_platform.errors import InputError, unknown

LABEL_JSON = "image_level_labels.json"
"""At the root of a tree: labels, and the names of its classes where they are not VOC's twenty."""
UNNAMED = "unnamed tree"
"""The data set's name in protocols where a tree has other classes than VOC and its label JSON no "name"."""
_MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")
_HINTS = ("VOC2012", "VOCdevkit/VOC2012", "..")


@dataclass(frozen=True, eq=False)
class VocSplit(FileSplit):
    """A list of a VOC tree, which is `root`."""

    def path(self, id: str) -> Path:
        """Of the image."""
        return self.root / "JPEGImages" / f"{id}.jpg"

    @property
    def jpeg_folder(self) -> Path:
        """JPEGImages."""
        return self.root / "JPEGImages"


class VocDataset(FolderDataset):
    """Implements `Dataset` on a VOC tree.

    Raises:
        InputError: no such tree (with the folder that was probably meant), or a wrong label JSON.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self.root = _find_root(config.root)
        named = self.root / LABEL_JSON
        if config.labels not in ("auto", "xml", "masks", "list"):
            named = Path(config.labels).expanduser()
            if not named.is_file():
                raise InputError(
                    f"data.labels: {config.labels!r} is neither 'auto', 'xml', 'masks', 'list' nor a label JSON",
                    field="data.labels",
                )
        self.label_json = named
        self.classes: tuple[str, ...] = VOC_CLASSES
        self._json: Mapping[str, tuple[str, ...]] | None = None
        own = self.root / LABEL_JSON
        of_tree = read_label_json(own) if own.is_file() else None
        read = of_tree if named == own else read_label_json(named)
        if read is not None:
            self.classes, self._json = read.classes, read.labels
        if self.classes != VOC_CLASSES and set(self.classes) == set(VOC_CLASSES):
            raise InputError(
                f"{named}: classes are VOC's in another order than the mask values: {VOC_CLASSES}", field=named
            )
        said = of_tree.name if of_tree is not None and of_tree.classes == self.classes else ""
        self.name = said or ("voc12" if self.classes == VOC_CLASSES else UNNAMED)

    def lists(self) -> Mapping[str, int]:
        """Lists there are and how many images each names."""
        return {path.stem: count_lines(path) for path in self._list_files()}

    def examine(self, name: str) -> tuple[VocSplit, list[Problem]]:
        """The good entries of a list, and every line without image or labels, duplicates, illegal ids."""
        path, entries, problems = self._entries(name)
        images = file_stems(self.root / "JPEGImages", ".jpg")
        source = self._source(entries)
        read = self._vectors(source, entries)
        kept: list[str] = []
        vectors: list[NDArray[np.bool_]] = []
        for entry in entries:
            where = f"{path}:{entry.line}"
            image = self.root / "JPEGImages" / f"{entry.id}.jpg"
            if entry.id not in images:
                problems.append(Problem(where, f"image {entry.id} is listed, but there is no {image}"))
                continue
            try:
                vector = read(entry)
            except InputError as error:
                problems.append(Problem(where, str(error)))
                continue
            if not vector.any():
                problems.append(Problem(where, f"image {entry.id} has no class in its labels ({source})"))
                continue
            kept.append(entry.id)
            vectors.append(vector)
        table = np.array(vectors, dtype=bool).reshape(len(kept), len(self.classes))
        said = {"json": self.label_json.name, "masks": "masks (ground truth)"}.get(source, source)
        saliency = self.folder_named("saliency")
        return VocSplit(self.root, name, self.classes, tuple(kept), said, table, saliency), problems

    def examine_truth(self, name: str) -> tuple[FileTruth, list[Problem]]:
        """The ground truth of the entries that have a mask, wrong lines, and masks that do not exist."""
        _, entries, problems = self._entries(name)
        folder, missing = self._mask_folder(entries)
        problems += [Problem(str(folder / f"{id}.png"), f"no such mask for list {name!r}") for id in missing]
        lacking = set(missing)
        ids = tuple(entry.id for entry in entries if entry.id not in lacking)
        return FileTruth(folder, name, self.classes, ids), problems

    def _list_files(self) -> list[Path]:
        return sorted((self.root / "ImageSets" / "Segmentation").glob("*.txt"))

    def _entries(self, name: str) -> tuple[Path, list[Entry], list[Problem]]:
        paths = {path.stem: path for path in self._list_files()}
        if name not in paths:
            error = unknown("split", name, paths, name)
            raise error.in_context(f"{self.root / 'ImageSets' / 'Segmentation'}: {error}")
        return paths[name], *read_list(paths[name], len(self.classes))

    def _mask_folder(self, entries: Sequence[Entry]) -> tuple[Path, list[str]]:
        """The folder of masks and the ids that it lacks."""
        names = _MASK_FOLDERS if self.config.masks == "auto" else (self.config.masks,)
        folders = [self.root / Path(name).expanduser() for name in names]
        present = [folder for folder in folders if folder.is_dir()]
        if not present:
            near = [entry.name for entry in os.scandir(self.root) if entry.is_dir()]
            error = unknown("mask folder", Path(names[-1]).name, near, "data.masks")
            raise error.in_context(f"{self.root}: {error}")
        for folder in present:
            masks = file_stems(folder, ".png")
            missing = [entry.id for entry in entries if entry.id not in masks]
            if not missing:
                break
        return folder, missing

    def _source(self, entries: Sequence[Entry]) -> str:
        """Which of "xml", "json", "list", "masks" the labels come from."""
        chosen = self.config.labels
        if chosen in ("xml", "masks", "list"):
            if chosen == "xml" and not (self.root / "Annotations").is_dir():
                raise InputError(
                    f"{self.root / 'Annotations'}: no such folder, but data.labels is 'xml'",
                    field=self.root / "Annotations",
                )
            return chosen
        if chosen == "auto" and (self.root / "Annotations").is_dir():
            return "xml"
        if self._json is not None:
            return "json"
        return "list" if any(entry.indices for entry in entries) else "masks"

    def _vectors(self, source: str, entries: Sequence[Entry]) -> Callable[[Entry], NDArray[np.bool_]]:
        """How one entry's labels are read; what it returns raises InputError naming the file."""
        classes, table = self.classes, self._json
        if source == "xml":

            def read_xml(entry: Entry) -> NDArray[np.bool_]:
                path = self.root / "Annotations" / f"{entry.id}.xml"
                return as_vector(read_annotation(path), classes, str(path))

            return read_xml
        if source == "masks":
            folder, _ = self._mask_folder(entries)
            truth = FileTruth(folder, "", classes, ())
            return lambda entry: np.isin(np.arange(1, len(classes) + 1), truth.mask(entry.id))
        if source == "list":
            return lambda entry: np.isin(np.arange(len(classes)), entry.indices)

        def read_json(entry: Entry) -> NDArray[np.bool_]:
            if table is None or entry.id not in table:
                raise InputError(f"{self.label_json}: no labels of image {entry.id}", field=self.label_json)
            return as_vector(table[entry.id], classes, str(self.label_json))

        return read_json


def _find_root(text: str) -> Path:
    if not text:
        raise InputError(
            "data.root: expected the folder of a VOC2012 tree (it holds JPEGImages and ImageSets)", field="data.root"
        )
    root = Path(text).expanduser().resolve()
    if (root / "JPEGImages").is_dir() and (root / "ImageSets" / "Segmentation").is_dir():
        return root
    for hint in _HINTS:
        if (root / hint / "JPEGImages").is_dir():
            raise InputError(
                f"data.root: {root} is not a VOC2012 tree; did you mean {(root / hint).resolve()}?", field="data.root"
            )
    if not root.is_dir():
        raise InputError(f"data.root: {root}: no such folder", field="data.root")
    lacks = "JPEGImages" if not (root / "JPEGImages").is_dir() else "ImageSets/Segmentation"
    raise InputError(f"data.root: {root} is not a VOC2012 tree: it has no {lacks}", field="data.root")
