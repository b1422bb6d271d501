"""What a mask gets right beyond its mean IoU: counts per picture of the failures that methods repair. Ours.

Each effect is a share of pixels, summed over pictures before dividing:

    objects found       pixels of objects that have their class
    boundary right      pixels within `BOUNDARY` of a true boundary that have their label
    background taken    background pixels called an object                    (fewer is better)
    context taken       the same, where the background is the context that goes with a class of the picture
    plain parts found   as objects found, on the parts of objects that do not tell their class
    emblems found       the same, on the parts that do

The last three need to know more than masks do; the generated sample does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BOUNDARY = 2
"""Pixels from the change of label, along rows and columns."""
IGNORE = 255
EMBLEM, PLAIN = 1, 2
"""Values of a part map."""
FEWER_IS_BETTER = ("background taken", "context taken")


def effects(
    mask: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    parts: NDArray[np.uint8] | None = None,
    context: NDArray[np.bool_] | None = None,
) -> Mapping[str, tuple[int, int]]:
    """Effect -> (pixels counted, pixels looked at) of one picture.

    Args:
        mask: uint8 [H, W], 0 background, c + 1 for class c; 255 (undecided) is right nowhere and takes nothing.
        truth: uint8 [H, W] alike; 255 is not looked at.
        parts: uint8 [H, W], EMBLEM and PLAIN on objects.
        context: bool [H, W], background that shows the context of a class in the picture.
    """
    scored = truth != IGNORE
    right = mask == truth
    taken = (mask != 0) & (mask != IGNORE)
    things, ground = scored & (truth != 0), scored & (truth == 0)
    found = {
        "objects found": _share(right, things),
        "boundary right": _share(right, scored & near_boundary(truth)),
        "background taken": _share(taken, ground),
    }
    if context is not None:
        found["context taken"] = _share(taken, ground & context)
    if parts is not None:
        found["plain parts found"] = _share(right, things & (parts == PLAIN))
        found["emblems found"] = _share(right, things & (parts == EMBLEM))
    return found


def near_boundary(truth: NDArray[np.uint8], distance: int = BOUNDARY) -> NDArray[np.bool_]:
    """Pixels at most `distance` rows or columns from a pixel of another scored label: bool [H, W]."""
    near = np.zeros(truth.shape, bool)
    for step in range(1, distance + 1):
        for a, b in ((np.s_[step:, :], np.s_[:-step, :]), (np.s_[:, step:], np.s_[:, :-step])):
            changes = (truth[a] != truth[b]) & (truth[a] != IGNORE) & (truth[b] != IGNORE)
            near[a] |= changes
            near[b] |= changes
    return near


def _share(counted: NDArray[np.bool_], among: NDArray[np.bool_]) -> tuple[int, int]:
    return int(np.count_nonzero(counted & among)), int(np.count_nonzero(among))
