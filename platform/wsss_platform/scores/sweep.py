"""Every background threshold at once: one pass over an image, exact at each threshold.

Per pixel only the best class c, its score m and the ground truth g matter. A pixel is foreground at threshold t
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
from wsss_platform.scores.confusion import slots_of

_BLOCK = 2048  # pixels whose best scores fit the first cache


def grid(count: int = 100, extra: Iterable[float] = ()) -> NDArray[np.float32]:
    """Ascending thresholds float32 [T]: 0, 1/count, ... below 1, and `extra` ones such as the fixed threshold."""
    values = np.arange(count, dtype=np.float64) / count
    return np.unique(np.concatenate([values, np.fromiter(extra, np.float64)]).astype(np.float32))


class SweepCells(NamedTuple):
    """Sparse counts of one image, int64 [R] each, sorted by (ground truth, cls, bucket); `pixels` are positive."""

    truth: NDArray[np.int64]
    """0..C, background first."""
    cls: NDArray[np.int64]
    """Best class 0..C-1; 0 where `bucket` is 0 (such pixels are background at every threshold)."""
    bucket: NDArray[np.int64]
    """Thresholds strictly below the best score, 0..T."""
    pixels: NDArray[np.int64]
    """How many."""


def sweep_image(
    scores: NDArray[np.float32],
    classes: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    foreground_classes: int,
    name: str = "image",
) -> SweepCells:
    """Count one image's pixels by ground truth, best class and bucket.

    Args:
        scores: float32 [K, H, W], full size; of equal scores the first class is the best.
        classes: uint8 [K], 0-based foreground classes.
        truth: uint8 [H, W], 0..C or 255 (not counted).
        thresholds: float32 [T], strictly ascending.
        foreground_classes: C.
        name: for the message.

    Raises:
        InputError: the shapes differ, a ground-truth value is neither 0..C nor 255, a class is not below C,
            or a score is NaN; names the image.
    """
    if scores.shape != (len(classes), *truth.shape):
        raise InputError(
            f"{name}: scores of shape {scores.shape} for {len(classes)} classes, ground truth {truth.shape}", field=name
        )
    if thresholds.dtype != np.float32 or len(thresholds) == 0 or not np.all(np.diff(thresholds) > 0):
        raise ValueError("thresholds must be float32, at least one, strictly ascending")
    if len(classes) and int(classes.max()) >= foreground_classes:
        raise InputError(
            f"{name}: class {int(classes.max())} of the maps, expected less than {foreground_classes}", field=name
        )
    slots = slots_of(foreground_classes)
    flat = np.ascontiguousarray(scores, np.float32).reshape(len(classes), truth.size)
    limits = np.append(thresholds, np.float32(np.inf))
    counts, has_nan = _count(flat, truth.ravel(), limits, _guide(thresholds), slots)
    if has_nan:
        raise InputError(f"{name}: a score is not a number", field=name)
    if counts[foreground_classes + 2].any():
        raise InputError(
            f"{name}: the ground truth holds values above {foreground_classes} that are not 255", field=name
        )
    counts = counts[: foreground_classes + 1]
    counts[:, 0, 0] = counts[:, :, 0].sum(1)
    counts[:, 1:, 0] = 0
    found = np.nonzero(counts)
    return SweepCells(found[0], _named(found, classes), found[2], counts[found].astype(np.int64))


def _guide(thresholds: NDArray[np.float32]) -> NDArray[np.int32]:
    """Where to start the search for a score's bucket: a lower bound for each of the steps 0..1.

    The steps are a power of two, so score x steps and step / steps are exact in float32.
    """
    steps = 1 << (8 * len(thresholds) - 1).bit_length()
    guide = np.searchsorted(thresholds, np.arange(steps + 1, dtype=np.float32) / np.float32(steps)).astype(np.int32)
    guide[0] = 0  # also for scores below 0
    return guide


def _named(found: tuple[NDArray[np.int64], ...], classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    if len(classes) == 0:
        return np.zeros_like(found[1])
    return np.where(found[2] == 0, 0, classes.astype(np.int64)[found[1]])


@njit(cache=True, nogil=True)
def _count(scores, truth, limits, guide, slots):  # type: ignore[no-untyped-def] # pragma: no cover
    """uint32 [C + 3, max(K, 1), T + 1] by slot of the ground truth, place of the best class, bucket; and "NaN seen".

    Block by block, so that the best scores stay in the first cache. `limits` ends with infinity.
    """
    number, pixels = scores.shape
    counts = np.zeros((slots.max() + 1, max(number, 1), len(limits)), np.uint32)
    best = np.zeros(_BLOCK, np.uint8)
    score = np.full(_BLOCK, -np.inf, np.float32)
    start = np.zeros(_BLOCK, np.int32)
    steps = np.float32(len(guide) - 1)
    has_nan = False
    for first in range(0, pixels, _BLOCK):
        size = min(_BLOCK, pixels - first)
        if number:
            score[:size] = scores[0, first : first + size]
            best[:size] = 0
        for k in range(1, number):
            for i in range(size):
                other = scores[k, first + i]
                has_nan |= other != other
                better = other > score[i]
                score[i] = other if better else score[i]
                best[i] = k if better else best[i]
        for i in range(size):
            has_nan |= score[i] != score[i]
            start[i] = np.int32(min(score[i], np.float32(1)) * steps) if score[i] > 0 else 0
        for i in range(size):
            bucket = guide[start[i]]
            while limits[bucket] < score[i]:
                bucket += 1
            counts[slots[truth[first + i]], best[i], bucket] += 1
    return counts, has_nan


def histogram(cells: Iterable[SweepCells], classes: int, thresholds: int) -> NDArray[np.int64]:
    """The dense sum of images: int64 [C + 1, C, T + 1] for C classes and T thresholds."""
    total = np.zeros((classes + 1, classes, thresholds + 1), np.int64)
    flat = total.reshape(-1)
    for item in cells:
        np.add.at(flat, (item.truth * classes + item.cls) * (thresholds + 1) + item.bucket, item.pixels)
    return total


def confusions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The square confusion at every threshold: int64 [T, C + 1, C + 1] from a dense histogram [C + 1, C, T + 1]."""
    sides, _, buckets = counts.shape
    rows = counts.sum((1, 2))
    above = counts.cumsum(2)[:, :, :-1]  # pixels with a bucket of at most i ...
    np.subtract(counts.sum(2)[:, :, None], above, out=above)  # ... and those that are foreground at threshold i
    square = np.empty((buckets - 1, sides, sides), np.int64)
    square[:, :, 1:] = above.transpose(2, 0, 1)
    square[:, :, 0] = (rows[:, None] - above.sum(1)).T
    return square
