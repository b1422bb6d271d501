"""Every background threshold at once: one pass over a picture, exact at each threshold.

Per pixel only the best class c, its score m and the truth g matter. A pixel is foreground at threshold t
exactly when m > t (ties go to the background), so with thresholds in ascending order it is foreground at
those before `bucket` = the number of thresholds strictly below m. Counting pixels by (g, c, bucket) and
summing over buckets gives the confusion at every threshold, bit for bit what thresholding one by one
gives. An exponent alpha of rule "power" is a threshold too (`masks.rules.threshold_of_alpha`). Ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.metrics.confusion import _slots


def grid(count: int = 100, extra: Iterable[float] = ()) -> NDArray[np.float32]:
    """Ascending thresholds float32 [T]: 0, 1/count, ... below 1, and `extra` ones such as the fixed threshold."""
    values = np.arange(count, dtype=np.float64) / count
    return np.unique(np.concatenate([values, np.fromiter(extra, np.float64)]).astype(np.float32))


class SweepCells(NamedTuple):
    """Sparse counts of one picture, int64 [R] each, sorted by (truth, cls, bucket); counts are positive."""

    truth: NDArray[np.int64]
    """0..C, background first."""
    cls: NDArray[np.int64]
    """Best class 0..C-1; 0 where `bucket` is 0 (such pixels are background at every threshold)."""
    bucket: NDArray[np.int64]
    """Thresholds strictly below the best score, 0..T."""
    count: NDArray[np.int64]
    """Pixels."""


def sweep_picture(
    scores: NDArray[np.float32],
    classes: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    foreground_classes: int,
    name: str = "picture",
) -> SweepCells:
    """Count one picture's pixels by truth, best class and bucket.

    Args:
        scores: float32 [K, H, W], full size; of equal scores the first class is the best.
        classes: uint8 [K], 0-based foreground classes.
        truth: uint8 [H, W], 0..C or 255 (not counted).
        thresholds: float32 [T], strictly ascending.
        foreground_classes: C.
        name: for the message.

    Raises:
        InputError: the shapes differ, a truth value is neither 0..C nor 255, a class is not below C,
            or a score is NaN; names the picture.
    """
    if scores.shape != (len(classes), *truth.shape):
        raise InputError(f"{name}: scores of shape {scores.shape} for {len(classes)} classes, truth {truth.shape}")
    if thresholds.dtype != np.float32 or len(thresholds) == 0 or not np.all(np.diff(thresholds) > 0):
        raise ValueError("thresholds must be float32, at least one, strictly ascending")
    if len(classes) and int(classes.max()) >= foreground_classes:
        raise InputError(f"{name}: class {int(classes.max())} of the maps, expected less than {foreground_classes}")
    slots = _slots(foreground_classes)
    flat = np.ascontiguousarray(scores, np.float32).reshape(len(classes), truth.size)
    steps = 8 * len(thresholds)
    guide = np.searchsorted(thresholds, (np.arange(steps) / steps).astype(np.float32)).astype(np.int64)
    counts, has_nan = _count(flat, truth.ravel(), thresholds, guide, slots)
    if has_nan:
        raise InputError(f"{name}: a score is not a number")
    if counts[foreground_classes + 2].any():
        raise InputError(f"{name}: the truth holds values above {foreground_classes} that are not 255")
    counts = counts[: foreground_classes + 1]
    counts[:, 0, 0] = counts[:, :, 0].sum(1)
    counts[:, 1:, 0] = 0
    found = np.nonzero(counts)
    return SweepCells(found[0], _named(found, classes), found[2], counts[found].astype(np.int64))


def _named(found: tuple[NDArray[np.int64], ...], classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    if len(classes) == 0:
        return np.zeros_like(found[1])
    return np.where(found[2] == 0, 0, classes.astype(np.int64)[found[1]])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(scores, truth, thresholds, guide, slots):  # type: ignore[no-untyped-def] # pragma: no cover
    """uint32 [C + 3, max(K, 1), T + 1] by slot of the truth, place of the best class, bucket; and "NaN seen"."""
    number, pixels = scores.shape
    last = len(thresholds)
    counts = np.zeros((slots.max() + 1, max(number, 1), last + 1), np.uint32)
    has_nan = False
    for i in range(pixels):
        best = 0
        score = scores[0, i] if number else np.float32(-np.inf)
        has_nan |= score != score
        for k in range(1, number):
            other = scores[k, i]
            has_nan |= other != other
            if other > score:
                best, score = k, other
        # the guide only says where to start looking; the loops decide with the thresholds themselves
        bucket = guide[min(max(int(score * len(guide)), 0), len(guide) - 1)] if score > 0 else 0
        while bucket < last and thresholds[bucket] < score:
            bucket += 1
        while bucket > 0 and not thresholds[bucket - 1] < score:
            bucket -= 1
        counts[slots[truth[i]], best, bucket] += 1
    return counts, has_nan


def histogram(cells: Iterable[SweepCells], classes: int, thresholds: int) -> NDArray[np.int64]:
    """The dense sum of pictures: int64 [C + 1, C, T + 1] for C classes and T thresholds."""
    total = np.zeros((classes + 1, classes, thresholds + 1), np.int64)
    for item in cells:
        np.add.at(total, (item.truth, item.cls, item.bucket), item.count)
    return total


def confusions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The square confusion at every threshold: int64 [T, C + 1, C + 1] from a dense histogram [C + 1, C, T + 1]."""
    over = counts[:, :, ::-1].cumsum(2)[:, :, ::-1][:, :, 1:]  # pixels with a bucket above i, for i in 0..T-1
    square = np.empty((over.shape[2], counts.shape[0], counts.shape[0]), np.int64)
    square[:, :, 1:] = np.moveaxis(over, 2, 0)
    square[:, :, 0] = counts.sum((1, 2)) - square[:, :, 1:].sum(2)
    return square
