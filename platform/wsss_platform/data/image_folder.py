"""A folder of images with a label file.

FOLDER/images/ID.jpg      or FOLDER/ID.jpg; .jpg, .jpeg or .png
FOLDER/labels.csv         or labels.json, labels.npy (see `image_labels`)
FOLDER/masks/ID.png       ground truth of some splits, or of none
FOLDER/train.txt          ids of a split, one a line; val.txt and test.txt likewise. Without any, all are "train"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import DataConfig
from wsss_platform.data.convert.annotations import as_vector
from wsss_platform.data.files import FileSplit, FileTruth, FolderDataset, file_names, file_stems
from wsss_platform.data.image_labels import IMAGE_ENDINGS, LABEL_FILES, LabelTable, id_of, read_labels
from wsss_platform.data.lists import count_lines, read_list
from wsss_platform.data.reading import Problem
from wsss_platform.data.split import NO_TRUTH, Truth, check_id
from wsss_platform.errors import InputError, unknown

SPLITS = ("train", "val", "test")
_ALL = "train"


@dataclass(frozen=True, eq=False)
class ImageSplit(FileSplit):
    """A split of a folder of images; `root` is the folder that holds them."""

    files: Mapping[str, str] = field(default_factory=dict)
    """Image id -> file name."""

    def path(self, id: str) -> Path:
        """Of the image."""
        return self.root / self.files[id]

    @property
    def jpeg_folder(self) -> Path | None:
        """The folder, where every image is ID.jpg."""
        return self.root if all(self.files[id] == f"{id}.jpg" for id in self.ids) else None


@dataclass(frozen=True)
class NoTruth:
    """In the place of a ground truth that does not exist: a run may train and make masks, and cannot be scored."""

    root: Path
    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...] = ()

    def mask(self, id: str) -> NDArray[np.uint8]:
        """InputError."""
        raise InputError(f"{self.root}: split {self.name!r} has no ground truth; it belongs into masks/{id}.png")

    def fingerprint(self) -> str:
        """`split.NO_TRUTH`."""
        return NO_TRUTH


class ImageDataset(FolderDataset):
    """Implements `Dataset` on a folder of images.

    Raises:
        InputError: no label file, several of them and none chosen, or one that is wrong as a whole.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self.root = Path(config.root).expanduser().resolve()
        inside = self.root / "images"
        self.images = inside if inside.is_dir() else self.root
        self.table: LabelTable = read_labels(_label_file(self.root, config.labels))
        self.classes = self.table.classes
        self.name = self.table.name or "images"

    def lists(self) -> Mapping[str, int]:
        """The splits, and how many images each names."""
        files = self._split_files()
        return {name: count_lines(path) for name, path in files.items()} or {_ALL: len(self._files()[0])}

    def examine(self, name: str) -> tuple[ImageSplit, list[Problem]]:
        """The good images of a split, and every wrong row, line and file name."""
        files, problems = self._files()
        entries, wrong_lines = self._entries(name, files)
        problems += wrong_lines + self.table.problems
        problems += [
            Problem(place, f"image {id} has labels, but there is no {self.images / id}.jpg, .jpeg or .png")
            for id, place in self.table.places.items()
            if id not in files and id not in self.table.wrong
        ]
        kept: list[str] = []
        vectors: list[NDArray[np.bool_]] = []
        for id, where in entries:
            if id not in files:
                problems.append(Problem(where, f"image {id} is listed, but there is no {self.images / id}.jpg"))
            elif id in self.table.wrong:
                continue  # said above
            elif not self.table.labels.get(id):
                lacks = "has no class in" if id in self.table.labels else "is not in"
                place = self.table.places.get(id, str(self.table.path))
                problems.append(Problem(place, f"image {self.images / files[id]} {lacks} the labels"))
            else:
                kept.append(id)
                vectors.append(as_vector(self.table.labels[id], self.classes, self.table.places[id]))
        split = ImageSplit(
            root=self.images,
            name=name,
            classes=self.classes,
            ids=tuple(kept),
            labels_from=self.table.path.name,
            vectors=np.array(vectors, dtype=bool).reshape(len(kept), len(self.classes)),
            saliency_folder=self.folder_named("saliency"),
            files={id: files[id] for id in kept},
        )
        return split, problems

    def examine_truth(self, name: str) -> tuple[Truth, list[Problem]]:
        """The masks of a split and those that do not exist; `NoTruth` where there is none at all."""
        entries, problems = self._entries(name, self._files()[0])
        folder = self.folder_named("masks") or self.root / "masks"
        there = file_stems(folder, ".png") if folder.is_dir() else set()
        ids = tuple(id for id, _ in entries if id in there)
        if not ids:
            return NoTruth(self.root, name, self.classes), problems
        problems += [
            Problem(str(folder / f"{id}.png"), f"no such mask, but others of split {name!r} have one")
            for id, _ in entries
            if id not in there
        ]
        return FileTruth(folder, name, self.classes, ids), problems

    def _split_files(self) -> dict[str, Path]:
        found = {name: self.root / f"{name}.txt" for name in SPLITS}
        return {name: path for name, path in found.items() if path.is_file()}

    def _files(self) -> tuple[dict[str, str], list[Problem]]:
        """Image id -> file name, by id, and images whose name is no id or that of another one."""
        files: dict[str, str] = {}
        problems: list[Problem] = []
        for name in sorted(file_names(self.images)):
            if name.startswith(".") or not name.lower().endswith(IMAGE_ENDINGS):
                continue
            id, path = id_of(name), str(self.images / name)
            try:
                check_id(id, path)
            except InputError as error:
                problems.append(Problem(path, str(error).removeprefix(f"{path}: ")))
                continue
            if id in files:
                problems.append(Problem(path, f"the same id as {files[id]}; one of the two must go"))
            else:
                files[id] = name
        return dict(sorted(files.items())), problems

    def _entries(self, name: str, files: Mapping[str, str]) -> tuple[list[tuple[str, str]], list[Problem]]:
        """(id, place) of each image of a split, and wrong lines."""
        listed = self._split_files()
        if name not in (listed or [_ALL]):
            error = unknown("split", name, listed or [_ALL], name)
            raise error.in_context(f"{self.root}: {error}")
        if not listed:
            return [(id, str(self.images / file)) for id, file in files.items()], []
        entries, problems = read_list(listed[name], len(self.classes))
        return [(id_of(entry.id), f"{listed[name]}:{entry.line}") for entry in entries], problems


def label_files(folder: Path) -> list[Path]:
    """The label files that lie in a folder."""
    return [folder / name for name in LABEL_FILES if (folder / name).is_file()]


def _label_file(root: Path, said: str) -> Path:
    if said in ("xml", "masks", "list"):
        raise InputError(
            f"data.labels: {said!r}: a folder of images has labels in a file; expected 'auto' or its path",
            field="data.labels",
        )
    if said != "auto":
        return root / Path(said).expanduser()
    found = label_files(root)
    if not found:
        raise InputError(f"data.root: {root} has no label file: {', '.join(LABEL_FILES[:-1])} or {LABEL_FILES[-1]}")
    if found[1:]:
        *first, last = (path.name for path in found)
        raise InputError(
            f"{root}: {', '.join(first)} and {last} hold labels; keep one, or choose with --set data.labels={found[0]}",
            field="data.labels",
        )
    return found[0]
