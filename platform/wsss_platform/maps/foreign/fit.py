"""Somebody else's maps of one image -> the stored form: checked, gated, normalised, on our grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import ImportSection
from wsss_platform.errors import InputError
from wsss_platform.maps.foreign.folder import Foreign
from wsss_platform.maps.geometry import grid_size, nodes_of
from wsss_platform.maps.storage import StoredMap, quantised

TOLERANCE = 1e-3
"""How far outside of 0..1 a score may lie and be cut: float16's steps and the floors in the field's divisors."""
SEAM_LOWEST = -1.0
"""SEAM's (cam - min - 1e-5) / (max - min + 1e-5) is -1 all over a map that is nowhere above 0 [code]."""
FLOOR = 1e-5
"""Least divisor when a map is normalised (SEAM), as in extraction."""


@dataclass(frozen=True)
class Remarks:
    """What was changed or lacking; nothing of it stops an import."""

    resampled: tuple[int, int] | None = None
    """Height and width of the maps, where they are not the image's."""
    dropped: tuple[str, ...] = ()
    """Classes with a map that the image-level labels do not name."""
    lacking: tuple[str, ...] = ()
    """Classes that the labels name and that have no map."""


def fit(
    id: str,
    foreign: Foreign,
    size: tuple[int, int],
    labels: NDArray[np.bool_],
    names: Sequence[str],
    section: ImportSection,
) -> tuple[StoredMap, Remarks]:
    """The stored maps of an image.

    A map covers its whole image, whatever its own size (half-pixel centres, align_corners False); what is stored are
    the nodes whose full size comes nearest to it (`geometry.nodes_of`), within its own range.

    Args:
        id: the image.
        foreign: its maps.
        size: height and width of the image in pixels.
        labels: image-level labels bool [C].
        names: of the C classes.
        section: gate, normalisation, stretching and stored type.

    Raises:
        InputError: maps that do not fit the image, hold NaN or infinity, are not 0..1 where that is expected, or
            are of none of the classes that the labels name; names the image.
    """
    remarks = _gated(id, foreign, labels, names, section)
    classes = [number for number in foreign.classes if names[number] not in remarks.dropped]
    if not classes:
        empty = quantised(np.zeros((0, *grid_size(*size)), np.float32), section.precision)
        return StoredMap(id, np.zeros(0, np.uint8), empty, *size), remarks
    maps = foreign.maps[[foreign.classes.index(number) for number in classes]]
    if maps.shape[1:] != size:
        _check_size(id, maps.shape[1:], size, section)
        remarks = replace(remarks, resampled=(maps.shape[1], maps.shape[2]))
    if not np.isfinite(maps).all():
        wrong = [names[number] for number, item in zip(classes, maps, strict=True) if not np.isfinite(item).all()]
        raise InputError(f"image {id}: its map of {', '.join(wrong)} has NaN or infinite scores", field=id)
    full = _normalised(id, maps, section)
    nodes = nodes_of(full, size, size).clip(full.min((1, 2), keepdims=True), full.max((1, 2), keepdims=True))
    return StoredMap(id, np.array(classes, np.uint8), quantised(nodes, section.precision), *size), remarks


def _gated(
    id: str, foreign: Foreign, labels: NDArray[np.bool_], names: Sequence[str], section: ImportSection
) -> Remarks:
    has, named = set(foreign.classes), set(np.flatnonzero(labels).tolist())
    if section.gate == "none":
        return Remarks()
    if has and named and not has & named:
        found, wanted = (", ".join(names[number] for number in sorted(group)) for group in (has, named))
        raise InputError(
            f"image {id}: its maps are of {found}, its labels name {wanted}; are the classes counted from 0 and in "
            "the data set's order?",
            field=id,
        )
    return Remarks(
        dropped=tuple(names[number] for number in sorted(has - named)),
        lacking=tuple(names[number] for number in sorted(named - has)),
    )


def _check_size(id: str, found: tuple[int, ...], size: tuple[int, int], section: ImportSection) -> None:
    """Refuse other proportions: one axis or both rounded to whole cells is all that a stride changes."""
    (height, width), (rows, columns) = size, found
    if not section.stretch and abs(rows * width - columns * height) > height + width:
        turned = " (height and width exchanged?)" if (rows > columns) != (height > width) else ""
        raise InputError(
            f"image {id}: its maps have {rows} x {columns} cells, other proportions than its {height} x {width} "
            f"pixels{turned}; --stretch takes them all the same",
            field=id,
        )


def _normalised(id: str, maps: NDArray[np.float32], section: ImportSection) -> NDArray[np.float32]:
    """float32 [K, h, w] in 0..1."""
    if section.normalise == "none":
        low, high = float(maps.min()), float(maps.max())
        lowest = SEAM_LOWEST if section.form == "seam" else 0.0
        if low < lowest - TOLERANCE or high > 1 + TOLERANCE:
            raise InputError(
                f"image {id}: its scores are {low:.4g}..{high:.4g}, expected 0..1; --normalise max divides each "
                "class by its maximum",
                field=id,
            )
        return maps.clip(0, 1)
    low_of_each = maps.min((1, 2), keepdims=True) if section.normalise == "minmax" else np.float32(0)
    raised = np.maximum(maps - low_of_each, 0)
    scaled: NDArray[np.float32] = raised / np.maximum(raised.max((1, 2), keepdims=True), np.float32(FLOOR))
    return scaled
