"""What can be said of masks without pixel truth: how far two makings of them agree, and how well they keep to the
image-level labels. Ours.

Neither is a score: masks can agree and be wrong together. They can choose where no truth may be seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.metrics.confusion import IGNORE, confusion, iou

LEAST = 0.001
"""Share of a picture's pixels, 0..1, from which on a class counts as found in its mask. 0.001 [ours]."""


def agreement_table(
    first: NDArray[np.uint8], second: NDArray[np.uint8], classes: int, name: str = "picture"
) -> NDArray[np.int64]:
    """Pixels of one picture by its label in two masks: int64 [C + 1, C + 2], see `confusion`.

    Args:
        first: uint8 [H, W], 0..C, or 255 (undecided), which counts as background.
        second: uint8 [H, W], the same.
        classes: C.
        name: for the message.

    Raises:
        InputError: the shapes differ, or a value is neither 0..C nor 255; names the picture.
    """
    return confusion(np.where(first == IGNORE, 0, first).astype(np.uint8), second, classes, name)


def agreement(table: NDArray[np.int64], named: NDArray[np.bool_]) -> float:
    """Mean IoU, 0..1, of two sets of masks; it does not matter which is the first.

    The mean is over the background, the classes that the image-level labels name, and those that either set shows. A
    class that is named and in neither set counts 0, and so does a background that is nowhere: masks that are empty, or
    that fill the picture, agree perfectly and must not win by it.

    Args:
        table: `agreement_table` summed over pictures, int64 [C + 1, C + 2].
        named: bool [C]: classes that the labels of any of the pictures name.

    Raises:
        InputError: `named` is not of C classes, or no pixel was counted.
    """
    if named.shape != (len(table) - 1,):
        raise InputError(f"agreement of {len(table) - 1} classes, but labels of {len(named)}")
    if not table.any():
        raise InputError("agreement: no pixel was counted")
    values = iou(table)
    counted = ~np.isnan(values) | np.append(True, named)
    return float(np.where(np.isnan(values), 0.0, values)[counted].mean())


def found_classes(mask: NDArray[np.uint8], classes: int, least: float = LEAST) -> NDArray[np.bool_]:
    """Which foreground classes a mask shows on at least a share `least` of its pixels: bool [C].

    Args:
        mask: uint8 [H, W], 0..C or 255.
        classes: C.
        least: share 0..1; at least one pixel in any case.
    """
    pixels = np.bincount(mask.ravel(), minlength=256)[1 : classes + 1]
    return np.asarray(pixels >= max(1.0, least * mask.size))


def label_consistency(found: NDArray[np.bool_], labels: NDArray[np.bool_]) -> float:
    """How well masks keep to the image-level labels, 0..1: the F1 of (picture, class) pairs over all pictures.

    2 TP / (2 TP + FP + FN), where a pair is true when the label names the class and found when the mask shows it.
    With maps gated by the labels there are no FP, and it says how many named classes a mask lost.

    Args:
        found: bool [N, C], see `found_classes`.
        labels: bool [N, C].

    Raises:
        InputError: the shapes differ, or no class is named and none found.
    """
    if found.shape != labels.shape:
        raise InputError(f"classes found of shape {found.shape}, labels of shape {labels.shape}")
    both, either = int((found & labels).sum()), int((found ^ labels).sum())
    if both + either == 0:
        raise InputError("label consistency: no class is named and none is found")
    return 2 * both / (2 * both + either)
