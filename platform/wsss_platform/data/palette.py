"""Masks as VOC palette PNG: the pixel value is the label, 255 is "ignore", the palette only colours it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsss_platform.data.index_png import read_plain_indices
from wsss_platform.errors import InputError
from wsss_platform.store.artefacts import write_atomic


def voc_palette() -> NDArray[np.uint8]:
    """uint8 [256, 3] RGB of the VOC development kit: the bits of the label spread over the three colours."""
    label = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((label >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


_PALETTE = voc_palette().tobytes()


def mask_file(folder: Path, id: str) -> Path:
    """The file of one image in a masks artefact."""
    return folder / "masks" / f"{id}.png"


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W] as a palette PNG; readers see the whole file or none. Same mask, same bytes."""
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 [H, W], got {mask.dtype} {mask.shape}")
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(_PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())


def read_mask(path: Path) -> NDArray[np.uint8]:
    """uint8 [H, W], labels as stored (255 kept).

    Raises:
        InputError: no such file, damaged, or no palette PNG; the message names the file.
    """
    try:
        if (plain := read_plain_indices(path)) is not None and plain[1] == "P":
            return plain[0]
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode != "P":  # grey PNGs of few levels would be stretched to 0..255 by Pillow
                raise InputError(
                    f"{path}: a mask is a palette PNG of labels, this one has mode {image.mode}", field=path
                )
            return np.array(image, dtype=np.uint8)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such mask", field=path) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not readable as a mask ({error})", field=path) from None
