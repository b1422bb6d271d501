"""Weak supervision as types: `Split` has image-level labels and no masks, only `Truth` has masks.

Anything that selects with ground truth must ask for a `Truth` in sight of the reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError

IGNORE = 255
"""Pixels of a mask that belong to nothing and are never scored."""
NO_TRUTH = "none"
"""In the place of a ground truth's fingerprint where a split has no ground truth."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")


def check_id(name: str, where: str) -> str:
    """The id, if it is a plain name; InputError when it has a path or other traps in it."""
    if not _ID.fullmatch(name) or ".." in name:
        raise InputError(
            f"{where}: image id {name!r} is not a plain name (letters, digits, '_', '-', '.'; no path)", field=name
        )
    return name


@dataclass(frozen=True)
class Sample:
    """One image with what weak supervision knows of it."""

    id: str
    image: NDArray[np.uint8]
    """RGB uint8 [H, W, 3]."""
    labels: NDArray[np.bool_]
    """bool [C]: which foreground classes are in the image."""


class Split(Protocol):
    """Images with image-level labels. Cheap to build, picklable, no masks."""

    @property
    def name(self) -> str:
        """Of the split, such as "train"."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C foreground classes; mask value of class c is c + 1, background is 0."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Image ids in the split's order, unique."""
        ...

    @property
    def labels_from(self) -> str:
        """Where the image-level labels come from, for the protocol ("xml", "masks", ...)."""
        ...

    def labels(self, id: str) -> NDArray[np.bool_]:
        """Image-level labels bool [C]."""
        ...

    def size(self, id: str) -> tuple[int, int]:
        """(height, width) of an image in pixels, without decoding it."""
        ...

    def read(self, id: str) -> Sample:
        """Decode one image; InputError naming the file when it is missing, truncated or not an image."""
        ...

    def saliency(self, id: str) -> NDArray[np.uint8]:
        """Saliency of an image: uint8 [H, W], 0 nothing to 255 salient; supervision beyond labels.

        Raises:
            InputError: this split has no saliency, or the file is missing or no grey PNG; names it.
        """
        ...

    def fingerprint(self) -> str:
        """sha256 over ids, labels and the byte size of each image (or the generator's parameters)."""
        ...

    def saliency_fingerprint(self) -> str:
        """sha256 over ids and saliency files (or the generator's parameters); InputError when there are none."""
        ...


class Truth(Protocol):
    """Ground truth of a split; only scoring and openly declared selection take one."""

    @property
    def name(self) -> str:
        """Of the split."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """As in `Split`."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Image ids in the split's order."""
        ...

    def mask(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W]: 0 background, c + 1 for class c, 255 ignore; InputError naming the file
        when it is missing, unreadable, or holds a value above C that is not 255."""
        ...

    def fingerprint(self) -> str:
        """sha256 over ids and masks (or the generator's parameters); `NO_TRUTH` where there is none."""
        ...


class Dataset(Protocol):
    """What `open_data` returns."""

    @property
    def name(self) -> str:
        """For protocols: "sample" with its parameters' hash, "voc12", or what the tree's label JSON says."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C foreground classes."""
        ...

    def lists(self) -> Mapping[str, int]:
        """List names and their lengths."""
        ...

    def split(self, name: str) -> Split:
        """A split with image-level labels; InputError with the nearest name when there is none."""
        ...

    def truth(self, name: str) -> Truth:
        """The ground truth of a split."""
        ...
