"""What a mask gets right beyond its mean IoU: counts per image of the failures that methods repair. Ours.

Each effect is a share of pixels, summed over images before dividing:

    objects found       pixels of objects that have their class
    boundary right      pixels within `BOUNDARY` of a true boundary that have their label
    boundaries met      boundary pixels of mask and ground truth that have a boundary of the other within `REACH` of the
                        image's diagonal, over the boundary pixels of both (a Dice coefficient of boundaries)
    background taken    background pixels called an object                    (fewer is better)
    context taken       the same, where the background is the context that goes with a class of the image
    plain parts found   as objects found, on the parts of objects that do not show their class
    emblems found       the same, on the parts that do

The last three need to know more than masks do; the generated sample does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BOUNDARY = 2
"""Pixels from the change of label, along rows and columns."""
REACH = 0.02
"""Of the diagonal: how far a boundary may be from another to meet it, at least a pixel. 2 % is what Boundary IoU
(Cheng et al., CVPR 2021) takes: 3 pixels of an image of the sample, 12 of a photograph of 375 x 500."""
IGNORE = 255
EMBLEM, PLAIN = 1, 2
"""Values of a part map."""


def effects(
    mask: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    parts: NDArray[np.uint8] | None = None,
    context: NDArray[np.bool_] | None = None,
) -> Mapping[str, tuple[int, int]]:
    """Effect -> (hits, pixels counted) of one image.

    Args:
        mask: uint8 [H, W], 0 background, c + 1 for class c; 255 (undecided) is right nowhere and takes nothing.
        truth: uint8 [H, W] alike; 255 is not counted.
        parts: uint8 [H, W], EMBLEM and PLAIN on objects.
        context: bool [H, W], background that shows the context of a class in the image.
    """
    scored = truth != IGNORE
    right = mask == truth
    taken = (mask != 0) & (mask != IGNORE)
    things, ground = scored & (truth != 0), scored & (truth == 0)
    found = {
        "objects found": _share(right, things),
        "boundary right": _share(right, near_boundary(truth)),
        "boundaries met": boundaries_met(mask, truth),
        "background taken": _share(taken, ground),
    }
    if context is not None:
        found["context taken"] = _share(taken, ground & context)
    if parts is not None:
        found["plain parts found"] = _share(right, things & (parts == PLAIN))
        found["emblems found"] = _share(right, things & (parts == EMBLEM))
    return found


def near_boundary(truth: NDArray[np.uint8], distance: int = BOUNDARY) -> NDArray[np.bool_]:
    """Scored pixels at most `distance` rows or columns from a pixel of another label: bool [H, W].

    255 counts as another label, because VOC draws a band of it around every object.
    """
    near = np.zeros(truth.shape, bool)
    for step in range(1, distance + 1):
        for a, b in ((np.s_[step:, :], np.s_[:-step, :]), (np.s_[:, step:], np.s_[:, :-step])):
            changes = truth[a] != truth[b]
            near[a] |= changes
            near[b] |= changes
    return np.asarray(near & (truth != IGNORE))


def boundaries_met(mask: NDArray[np.uint8], truth: NDArray[np.uint8], reach: float = REACH) -> tuple[int, int]:
    """(boundary pixels that are met, boundary pixels) of both; see the top of the file.

    A pixel is on a boundary when a neighbour in its row or column has another label, whichever labels they are. True
    255, VOC's band, is all boundary that a mask's may meet; it is no boundary pixel that counts, and neither are
    those of the mask inside it.

    Args:
        mask: uint8 [H, W]; 255 (undecided) is background, as in scores.
        truth: uint8 [H, W]; 255 is not counted.
        reach: of the diagonal.
    """
    scored = truth != IGNORE
    made = near_boundary(np.where(mask == IGNORE, 0, mask).astype(np.uint8), 1)
    found, wanted = made & scored, near_boundary(truth, 1)
    within = max(1.0, reach * float(np.hypot(*truth.shape)))
    met = np.count_nonzero(found & _within(wanted | ~scored, within))
    met += np.count_nonzero(wanted & _within(made, within))
    return int(met), int(np.count_nonzero(found) + np.count_nonzero(wanted))


def _within(places: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Pixels at most `distance`, at least 1, from one of the places: bool [H, W]."""
    near = np.zeros(places.shape, bool)
    height, width = places.shape
    # Places left of each column, so that a row of a disc is one difference.
    before = np.zeros((height, width + 1), np.int32)
    np.cumsum(places, axis=1, out=before[:, 1:])
    columns = np.arange(width)
    for down in range(min(int(distance) + 1, height)):
        half = math.isqrt(int(distance * distance) - down * down)
        found = before[:, np.minimum(columns + half + 1, width)] > before[:, np.maximum(columns - half, 0)]
        near[down:] |= found[: height - down]
        near[: height - down] |= found[down:]
    return near


def _share(counted: NDArray[np.bool_], among: NDArray[np.bool_]) -> tuple[int, int]:
    return int(np.count_nonzero(counted & among)), int(np.count_nonzero(among))
