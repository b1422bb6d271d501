"""Masks as other codebases leave them: one PNG per image, read as the numbers that it means.

| PNG | number of a pixel |
|---|---|
| grey, 1 to 8 bits | its value; of a file of less than 8 bits the stored one, not its brightness |
| palette | its index; where all files have VOC's colours and some at other places, VOC's number of the colour |
| RGB, opaque RGBA | the number that VOC gives the colour (IRN, SEAM and others draw masks so) |

255 is undecided, VOC's colour (224, 224, 192). The palette's rule is ours: PNG optimisers renumber palettes. It needs
all files, as few colours of another palette can be VOC's by chance.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_platform.config.imported import Ids
from wsss_platform.data.categories import category_ids
from wsss_platform.data.palette import voc_palette
from wsss_platform.data.reading import BROKEN
from wsss_platform.data.split import IGNORE
from wsss_platform.errors import InputError

Palette = Literal["index", "colours"]
FORM = "PNG"
_LARGEST = 1 << 28  # pixels: a small file must not allocate without bounds
_EXPECTED = "expected a grey, palette or RGB PNG of labels"


@dataclass(frozen=True)
class MaskFolder:
    """A folder of ID.png."""

    folder: Path
    form: str = FORM

    def files(self, id: str) -> tuple[Path, ...]:
        """The image's file; none when it has no mask."""
        path = self.folder / f"{id}.png"
        return (path,) if path.is_file() else ()


def read_numbers(content: bytes, where: str, palette: Palette = "index") -> NDArray[np.uint8]:
    """The numbers of a mask's pixels as its file has them: uint8 [H, W], 255 undecided.

    Args:
        content: of the file.
        where: its name, for errors.
        palette: what says the number of a palette PNG's pixel.

    Raises:
        InputError: naming the file: it is damaged, no PNG, of another kind, or has a colour that is none of VOC's.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.verify()  # the checksums, to the end of the file; it closes the image
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > _LARGEST:
                raise InputError(f"{where}: larger than {_LARGEST} pixels, which no mask is", field=where)
            if image.mode in ("L", "1"):
                return _unstretched(np.array(image.convert("L")), content)
            if image.mode == "P":
                return _of_palette(image, where) if palette == "colours" else np.array(image, dtype=np.uint8)
            if image.mode == "RGB":
                return _of_colours(np.array(image), where)
            if image.mode == "RGBA":
                return _of_opaque(np.array(image), where)
            raise InputError(f"{where}: {_EXPECTED}, got mode {image.mode}", field=where)
    except InputError:
        raise
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise InputError(f"{where}: not readable as a mask ({error})", field=where) from None


def _unstretched(values: NDArray[np.uint8], content: bytes) -> NDArray[np.uint8]:
    """Pillow stretches grey of few bits to 0..255; the header says how many."""
    steps = 2 ** content[24] - 1
    return values if steps >= 255 else (values // (255 // steps)).astype(np.uint8)


def _of_palette(image: Image.Image, where: str) -> NDArray[np.uint8]:
    """By colour; of two indices with one colour both."""
    indices = np.array(image, dtype=np.uint8)
    used = np.unique(indices)
    colours = np.zeros((256, 3), np.uint8)
    table = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    colours[: len(table)] = table
    found = np.zeros(256, np.uint8)
    found[used] = _of_colours(colours[None, used], where)[0]
    return found[indices]


def _of_opaque(pixels: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    if (pixels[..., 3] != 255).any():
        raise InputError(f"{where}: {_EXPECTED}, this one is transparent in places", field=where)
    return _of_colours(pixels[..., :3], where)


def _of_colours(pixels: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    colours, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    numbers = _numbers(colours)
    if (numbers < 0).any():
        colour = tuple(map(int, colours[np.argmax(numbers < 0)]))
        raise InputError(
            f"{where}: colour {colour} is none of VOC's palette, as those of an RGB mask must be", field=where
        )
    return numbers.astype(np.uint8)[places].reshape(pixels.shape[:2])


def _numbers(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    """VOC's number of each colour [K, 3]: int64 [K], -1 for one that VOC does not have."""
    weights = np.array([1 << 16, 1 << 8, 1])
    known = {int(code): number for number, code in enumerate(voc_palette() @ weights)}
    return np.array([known.get(int(code), -1) for code in colours @ weights], np.int64)


def possible_ids(seen: NDArray[np.bool_], classes: tuple[str, ...]) -> list[Ids]:
    """What numbers may mean that fit all that were seen (bool [256]): of COCO's 80 classes places or COCO's own ids."""
    tables: dict[Ids, tuple[int, ...]] = {"index": tuple(range(1, len(classes) + 1))}
    own = category_ids(classes)
    if own != tables["index"]:
        tables = {"coco-80": tables["index"], "coco-91": own}
    numbers = set(np.flatnonzero(seen).tolist()) - {0, IGNORE}
    return [name for name, table in tables.items() if numbers <= set(table)]


def labels(numbers: NDArray[np.uint8], ids: Ids, classes: tuple[str, ...], where: str) -> NDArray[np.uint8]:
    """Labels of the data set, uint8 [H, W]: 0 background, classes from 1, 255 undecided.

    Raises:
        InputError: a number that means nothing, by name of the file.
    """
    values = category_ids(classes) if ids == "coco-91" else tuple(range(1, len(classes) + 1))
    table = np.full(256, -1, np.int64)
    table[[0, IGNORE]] = 0, IGNORE
    table[list(values)] = np.arange(1, len(classes) + 1)
    found = table[numbers]
    if found.min(initial=0) < 0:
        wrong = int(numbers.flat[np.argmax(found < 0)])
        said = f"0, 255 or one of COCO's own 1..{values[-1]}" if ids == "coco-91" else f"0..{len(classes)} or 255"
        raise InputError(f"{where}: a pixel of {wrong}, expected {said}", field=where)
    return found.astype(np.uint8)


def outside(mask: NDArray[np.uint8], named: NDArray[np.bool_]) -> list[int]:
    """Classes from 0 that a mask has and its image's labels, bool [C], do not name."""
    present = np.zeros(256, bool)
    present[mask] = True
    return np.flatnonzero(present[1 : len(named) + 1] & ~named.astype(bool)).tolist()
