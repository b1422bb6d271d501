"""An outline of COCO's annotations: polygons, or run lengths as a list or as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError


@dataclass(frozen=True, slots=True)
class Polygons:
    """Each [x, y, x, y, ...] in pixels; their union."""

    points: list[list[float]]


@dataclass(frozen=True, slots=True)
class RunLengths:
    """Down the columns, of zeros first: a list, or COCO's compressed text, kept as it is because it is short."""

    counts: list[int] | str


Outline = Polygons | RunLengths


def library() -> Any:
    """pycocotools.mask, COCO's own reader of polygons; InputError when it is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        raise InputError("COCO's outlines are read by pycocotools: pip install pycocotools") from None
    return mask


def read_outline(said: Any, height: int, width: int, where: str) -> Outline:
    """What an annotation's `segmentation` says.

    Args:
        said: [[x, y, x, y, ...], ...], or {"size": [H, W], "counts": run lengths}.
        height: of the image, in pixels.
        width: likewise.
        where: begins the errors.

    Raises:
        InputError: it is neither, or does not fit the image.
    """
    if isinstance(said, dict):
        if said.get("size") != [height, width]:
            raise InputError(f"{where}: a region of size {said.get('size')!r:.40}, expected {[height, width]}")
        return _read_counts(said.get("counts"), height, width, where)
    if not isinstance(said, list) or not said or not all(_is_polygon(part, max(height, width)) for part in said):
        raise InputError(f"{where}: expected polygons of at least three points in it or run lengths, got {said!r:.60}")
    return Polygons(said)


def inside(outline: Outline, height: int, width: int) -> NDArray[np.bool_]:
    """bool [H, W] of an outline that was read for this size."""
    if isinstance(outline, RunLengths):
        counts = run_lengths(outline.counts) if isinstance(outline.counts, str) else outline.counts
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return flat.reshape(width, height).T
    return np.asarray(library().decode([_merged(outline, height, width)])[:, :, 0], dtype=bool)


def compress(outline: Outline, height: int, width: int) -> str:
    """The pixels of an outline as COCO's compressed run lengths: `inside` of them is `inside` of the outline."""
    if isinstance(outline, Polygons):
        counts = _merged(outline, height, width)["counts"]
    elif isinstance(outline.counts, str):
        return outline.counts
    else:
        counts = library().frPyObjects({"size": [height, width], "counts": outline.counts}, height, width)["counts"]
    return str(counts, "ascii")


def _merged(outline: Polygons, height: int, width: int) -> dict[str, Any]:
    """pycocotools' run lengths of the union of polygons."""
    coco = library()
    parts = coco.frPyObjects([[float(number) for number in polygon] for polygon in outline.points], height, width)
    merged: dict[str, Any] = coco.merge(parts)
    return merged


def run_lengths(text: str) -> list[int]:
    """Run lengths from COCO's compressed text: groups of five bits, lowest first, as characters from "0" on; from the
    third run on the difference to the one two before.

    Raises:
        ValueError: another character, or the text ends within a number.
    """
    found: list[int] = []
    number = place = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or place > 6:
            raise ValueError(f"{text!r:.40} has a {character!r}")
        number |= (group & 31) << (5 * place)
        place += 1
        if group & 32:
            continue
        if group & 16:
            number -= 1 << (5 * place)
        found.append(number + (found[-2] if len(found) > 2 else 0))
        number = place = 0
    if place:
        raise ValueError(f"{text!r:.40} ends within a number")
    return found


def _read_counts(said: Any, height: int, width: int, where: str) -> RunLengths:
    counts = said
    if isinstance(said, str):
        try:
            counts = run_lengths(said)
        except ValueError as error:
            raise InputError(f"{where}: run lengths that cannot be read: {error}") from None
    if not isinstance(counts, list):
        raise InputError(f"{where}: run lengths that are neither a list nor a text: {said!r:.40}")
    if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
        raise InputError(f"{where}: run lengths that do not add up to its {height} x {width}")
    return RunLengths(said)


def _is_polygon(polygon: Any, longest: int) -> bool:
    """At least three points, none farther outside than the image is long."""
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(type(number) in (int, float) and -longest <= number <= 2 * longest for number in polygon)
    )
