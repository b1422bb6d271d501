"""What data sets of files have in common: images, image-level labels, saliency maps and masks by image id."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import DataConfig, fingerprint
from wsss_platform.data.reading import Problem, digests, image_size, read_grey, read_image, read_mask
from wsss_platform.data.split import IGNORE, Sample, Truth
from wsss_platform.errors import InputError, unknown


@dataclass(frozen=True, eq=False)
class FileSplit(ABC):
    """A list of image files with their image-level labels; see `Split`."""

    root: Path
    """Folder of the data set, or of its images."""
    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels_from: str
    """Such as "xml", a file's name, or "masks (ground truth)"."""
    vectors: NDArray[np.bool_]
    """bool [N, C], rows in the order of `ids`."""
    saliency_folder: Path | None = None
    """Of grey PNGs by id, when there is one."""

    @cached_property
    def _row(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.ids)}

    def labels(self, id: str) -> NDArray[np.bool_]:
        """Image-level labels bool [C]."""
        vector: NDArray[np.bool_] = self.vectors[self._row[id]]
        return vector

    @abstractmethod
    def path(self, id: str) -> Path:
        """Of the image."""

    @property
    @abstractmethod
    def jpeg_folder(self) -> Path | None:
        """The folder that holds each image as ID.jpg; None where one has another name."""

    def size(self, id: str) -> tuple[int, int]:
        """(height, width) in pixels, from the header."""
        return image_size(self.path(id))

    def read(self, id: str) -> Sample:
        """Decode one image; InputError naming the file."""
        return Sample(id, read_image(self.path(id)), self.labels(id))

    def fingerprint(self) -> str:
        """sha256 over classes, ids, labels and the byte size of each image."""
        try:
            sizes = [self.path(id).stat().st_size for id in self.ids]
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})", field=error.filename) from None
        rows = [np.flatnonzero(vector).tolist() for vector in self.vectors]
        return fingerprint({"classes": self.classes, "pictures": list(zip(self.ids, rows, sizes, strict=True))})

    def saliency_path(self, id: str) -> Path:
        """Of the saliency map; InputError when the config names no folder of them."""
        if self.saliency_folder is None:
            raise InputError(
                "data.saliency: this config uses saliency maps and no folder of them is set "
                "(8-bit grey PNGs named by image id)",
                field="data.saliency",
            )
        return self.saliency_folder / f"{id}.png"

    def saliency(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W], 0..255; InputError naming the file, also when its size is not the image's."""
        saliency, size = read_grey(self.saliency_path(id)), self.size(id)
        if saliency.shape != size:
            raise InputError(
                f"{self.saliency_path(id)}: saliency of {saliency.shape[1]} x {saliency.shape[0]} pixels,"
                f" but the image {self.path(id)} has {size[1]} x {size[0]}",
                field=self.saliency_path(id),
            )
        return saliency

    def saliency_fingerprint(self) -> str:
        """sha256 over ids and the content of the saliency files."""
        contents = digests(self.saliency_path(id) for id in self.ids)
        return fingerprint({"saliency": list(zip(self.ids, contents, strict=True))})


@dataclass(frozen=True, eq=False)
class FileTruth:
    """Ground truth of a split as PNGs of class numbers, named by image id; see `Truth`."""

    folder: Path
    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]

    def path(self, id: str) -> Path:
        """Of the mask."""
        return self.folder / f"{id}.png"

    def mask(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W]: 0 background, c + 1 for class c, 255 ignore; InputError naming the file."""
        mask = read_mask(self.path(id))
        wrong = np.unique(mask[(mask > len(self.classes)) & (mask != IGNORE)])
        if len(wrong):
            raise InputError(
                f"{self.path(id)}: mask values {wrong.tolist()[:8]} are out of range:"
                f" 0..{len(self.classes)} and {IGNORE} are legal",
                field=self.path(id),
            )
        return mask

    def fingerprint(self) -> str:
        """sha256 over classes, ids and the content of the mask files."""
        contents = digests(self.path(id) for id in self.ids)
        return fingerprint({"classes": self.classes, "masks": list(zip(self.ids, contents, strict=True))})


class FolderDataset(ABC):
    """A data set in a folder: `Dataset`, and everything that is wrong with a list."""

    config: DataConfig
    root: Path
    name: str
    classes: tuple[str, ...]

    @abstractmethod
    def lists(self) -> Mapping[str, int]:
        """Lists there are and how many images each names."""

    @abstractmethod
    def examine(self, name: str) -> tuple[FileSplit, list[Problem]]:
        """The good entries of a list, and what is wrong with the others; decodes no image."""

    @abstractmethod
    def examine_truth(self, name: str) -> tuple[Truth, list[Problem]]:
        """The ground truth of the entries that have one, and what is wrong with the others."""

    def split(self, name: str) -> FileSplit:
        """A list with image-level labels.

        Raises:
            InputError: no such list, or the first of its problems (`examine` gives all).
        """
        split, problems = self.examine(name)
        raise_first(problems)
        return split

    def truth(self, name: str) -> Truth:
        """The ground truth of a list.

        Raises:
            InputError: no such list or ground truth, a line that is wrong, or an image without a mask.
        """
        truth, problems = self.examine_truth(name)
        raise_first(problems)
        return truth

    def folder_named(self, field: str) -> Path | None:
        """The folder that a setting such as "saliency" names, absolute or under the root; None where it names none.

        Raises:
            InputError: no such folder (with the nearest one).
        """
        said: str = getattr(self.config, field)
        if said in ("", "auto"):
            return None
        folder = self.root / Path(said).expanduser()
        if not folder.is_dir():
            near = [entry.name for entry in os.scandir(self.root) if entry.is_dir()]
            error = unknown(f"{field} folder", folder.name, near, f"data.{field}")
            raise error.in_context(f"data.{field}: {folder}: {error}")
        return folder


def raise_first(problems: Sequence[Problem]) -> None:
    """InputError with the first of some problems and the number of the others; nothing without any."""
    if problems:
        more = f" (and {len(problems) - 1} more: `wsss-platform data check` names all)" if problems[1:] else ""
        raise InputError(f"{problems[0]}{more}", field=problems[0].file)


def file_names(folder: Path) -> list[str]:
    """Names in a folder, in no order; InputError when it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})", field=folder) from None


def file_stems(folder: Path, suffix: str) -> set[str]:
    """Names in a folder that end with `suffix`, without it; InputError when it cannot be listed."""
    return {name[: -len(suffix)] for name in file_names(folder) if name.endswith(suffix)}
