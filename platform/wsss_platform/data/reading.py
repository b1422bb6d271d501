"""Decode images and masks completely, or say which file is wrong."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsss_platform.data.index_png import read_plain_indices
from wsss_platform.errors import InputError

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises on damaged files (it has no one base class)."""
_FORMATS = ("JPEG", "PNG")


@dataclass(frozen=True)
class Problem:
    """A file and what is wrong with it."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def read_image(path: Path) -> NDArray[np.uint8]:
    """A JPEG or PNG as RGB uint8 [H, W, 3], as stored (EXIF orientation is ignored, masks ignore it too).

    Raises:
        InputError: the file is missing, truncated or not an image; the message names it.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return np.array(image.convert("RGB"), dtype=np.uint8)
    except BROKEN as error:
        raise InputError(f"{path}: {_reason(path, error)}", field=path) from None


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A palette or 8-bit grayscale PNG as its indices, uint8 [H, W].

    Raises:
        InputError: the file is missing, truncated, or has no 8-bit indices (RGB, 16 bit, two-level); names it.
    """
    try:
        if (plain := read_plain_indices(path)) is not None:
            return plain[0]
        with Image.open(path, formats=("PNG",)) as image:
            # Pillow stretches 2- and 4-bit grayscale to 0..255, which would change the indices.
            if image.mode not in ("P", "L") or (image.mode == "L" and "L;" in str(image.tile)):
                raise InputError(
                    f"{path}: expected a palette or 8-bit grayscale PNG of class indices, got {image.mode}", field=path
                )
            return np.array(image, dtype=np.uint8)
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(f"{path}: {_reason(path, error)}", field=path) from None


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A grey PNG of 8 bits as its values, uint8 [H, W].

    Raises:
        InputError: the file is missing, truncated, or not grey (a palette's indices are no intensities); names it.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode != "L":
                raise InputError(f"{path}: expected an 8-bit grey PNG, got {image.mode}", field=path)
            return np.array(image, dtype=np.uint8)
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(f"{path}: {_reason(path, error)}", field=path) from None


def digests(paths: Iterable[Path]) -> list[str]:
    """sha256 of each file's content, in order; InputError naming a file that cannot be read."""

    def digest(path: Path) -> str:
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})", field=path) from None

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(digest, paths))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels from the header alone; InputError naming the file when there is none."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            return height, width
    except BROKEN as error:
        raise InputError(f"{path}: {_reason(path, error)}", field=path) from None


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not a JPEG or PNG image" if path.stat().st_size else "empty file"
    return f"cannot be decoded ({error})"
