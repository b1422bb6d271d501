"""Confusion counts of one image and what follows from them.

A table is int64 [C + 1, C + 2]: rows are the ground truth (0 background, c + 1 for class c), columns the
prediction, and the last column counts pixels predicted 255 ("undecided"). Pixels whose ground truth is 255 are
in no cell. Tables add over images and shards. Scores count an undecided pixel as background, as the
field does (IRN's eval_sem_seg), and the last column keeps the number, so that it can be reported.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsss_platform.errors import InputError

IGNORE = 255


def confusion(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int, name: str = "image"
) -> NDArray[np.int64]:
    """The table int64 [C + 1, C + 2] of one image.

    Args:
        truth: uint8 [H, W], 0..C or 255 (not counted).
        prediction: uint8 [H, W], 0..C or 255 (the last column).
        classes: C, the foreground classes.
        name: for the message.

    Raises:
        InputError: the shapes differ, or a value is neither 0..C nor 255; names the image.
    """
    if truth.shape != prediction.shape:
        raise InputError(f"{name}: mask of shape {prediction.shape}, ground truth of shape {truth.shape}", field=name)
    cells: NDArray[np.int64] = _count(truth.ravel(), prediction.ravel(), slots_of(classes))
    if cells[classes + 2].any():
        raise InputError(f"{name}: the ground truth holds values above {classes} that are not {IGNORE}", field=name)
    if cells[:, classes + 2].any():
        raise InputError(f"{name}: the mask holds values above {classes} that are not {IGNORE}", field=name)
    return cells[: classes + 1, : classes + 2]


def slots_of(classes: int) -> NDArray[np.uint8]:
    """Where a pixel value is counted: 0..C themselves, 255 at C + 1, illegal values at C + 2."""
    if not 1 <= classes <= 250:
        raise ValueError(f"classes must be in 1..250, got {classes}")
    slots = np.full(256, classes + 2, np.uint8)
    slots[: classes + 1] = np.arange(classes + 1)
    slots[IGNORE] = classes + 1
    return slots


@njit(cache=True, nogil=True)
def _count(truth, prediction, slots):  # type: ignore[no-untyped-def] # pragma: no cover
    """int64 [slots, slots]. Eight pixels at once inside a run of equal pixels: in masks, nearly everywhere."""
    side = np.int64(slots.max()) + 1
    table = np.zeros(side * side, np.int64)
    words = truth.size // 8
    truths, predictions = truth[: words * 8].view(np.uint64), prediction[: words * 8].view(np.uint64)
    ones = np.uint64(0x0101010101010101)
    cell, truth_run, prediction_run = np.int64(0), np.uint64(0), np.uint64(0)
    for word in range(words):
        if word > 0 and truths[word] == truth_run and predictions[word] == prediction_run:
            table[cell] += 8
            continue
        for i in range(word * 8, word * 8 + 8):
            cell = np.int64(slots[truth[i]]) * side + slots[prediction[i]]
            table[cell] += 1
        truth_run, prediction_run = ones * truth[word * 8 + 7], ones * prediction[word * 8 + 7]
    for i in range(words * 8, truth.size):
        table[np.int64(slots[truth[i]]) * side + slots[prediction[i]]] += 1
    return table.reshape(side, side)


def folded(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """The square confusion [..., C + 1, C + 1]: undecided pixels counted as background. A square one stays."""
    if table.shape[-1] == table.shape[-2]:
        return table
    square = table[..., :-1].copy()
    square[..., 0] += table[..., -1]
    return square


def parts(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the scores need of each class: int64 [..., 3, C + 1] with hits, ground truth pixels, predicted pixels."""
    square = folded(table)
    hits = np.diagonal(square, axis1=-2, axis2=-1)
    return np.stack([hits, square.sum(-1), square.sum(-2)], axis=-2)


def iou(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union per class, background first: float64 [..., C + 1] in 0..1.

    hits / (ground truth + predicted - hits), summed over the set before dividing (the VOC definition);
    nan for a class that occurs in neither ground truth nor prediction.
    """
    return iou_of_parts(parts(table))


def iou_of_parts(sums: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """`iou` from `parts` [..., 3, C + 1], whole numbers in either type."""
    hits, truth, predicted = np.moveaxis(sums, -2, 0)
    return _ratio(hits, truth + predicted - hits)


def mean_iou(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of `iou` over the classes that occur in ground truth or prediction: float64 [...] in 0..1.

    On a full VOC split these are all 21, the field's mean; on a subset a class that is nowhere does not
    count (counting it as 0 or 1 would be arbitrary). nan when nothing was counted.
    """
    return mean_iou_of_parts(parts(table))


def mean_iou_of_parts(sums: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """`mean_iou` from `parts` [..., 3, C + 1]."""
    values = iou_of_parts(sums)
    occurs = ~np.isnan(values)
    return _ratio(np.where(occurs, values, 0).sum(-1), occurs.sum(-1))


def precision(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of a class's predicted pixels that are right: float64 [..., C + 1]; nan where never predicted."""
    hits, _, predicted = np.moveaxis(parts(table), -2, 0)
    return _ratio(hits, predicted)


def recall(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of a class's true pixels that were found: float64 [..., C + 1]; nan where the class is not."""
    hits, truth, _ = np.moveaxis(parts(table), -2, 0)
    return _ratio(hits, truth)


def _ratio(above: NDArray[np.generic], below: NDArray[np.generic]) -> NDArray[np.float64]:
    result = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=result, where=np.asarray(below) != 0)
    return result
