"""A threshold for each class: a pixel of best class a is foreground where its score exceeds t_a.

Each class's IoU depends on its own threshold alone and only the background couples them, so coordinate ascent on the
sweep's histogram needs no image. It ends where no single threshold can be changed for the better; that this is the
best of all combinations is not proven. Ours. Thresholds fitted on the ground truth they are scored on are an oracle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsss_platform.scores.confusion import mean_iou_of_parts
from wsss_platform.scores.sweep import confusions


def parts_at(counts: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hits, ground truth pixels and predicted pixels with class a at threshold number index[a]: int64 [3, C + 1].

    Args:
        counts: int64 [C + 1, C, T + 1], see `sweep`.
        index: int64 [C], each in 0..T-1.
    """
    own = _by_class(counts)[np.arange(counts.shape[1]), index]  # [C, 2, 3]
    return _joined(counts, own.sum(0)[0], own[:, 1])


def fit(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each class's threshold, int64 [C]: from the best common one by coordinate ascent on the mean IoU.

    A threshold is moved only for a better mean IoU, to the lowest of equals, so the result is at least the best
    constant threshold's.

    Args:
        counts: int64 [C + 1, C, T + 1], see `sweep`.

    Raises:
        ValueError: nothing was counted.
    """
    if not counts.any():
        raise ValueError("no pixel was counted")
    classes = counts.shape[1]
    options = _by_class(counts)  # [C, T, 2, 3]
    square = confusions(counts)
    common = np.stack([np.diagonal(square, axis1=1, axis2=2), square.sum(2), square.sum(1)], 1)
    index = np.full(classes, int(np.nanargmax(mean_iou_of_parts(common))), np.int64)
    best = float(mean_iou_of_parts(parts_at(counts, index)))
    moved = True
    while moved:
        moved = False
        for a in range(classes):
            chosen = options[np.arange(classes), index]  # [C, 2, 3]
            background = chosen[:, 0].sum(0) - chosen[a, 0] + options[a, :, 0]  # [T, 3], with each threshold of a
            foreground = np.repeat(chosen[None, :, 1], len(background), 0)
            foreground[:, a] = options[a, :, 1]
            values = mean_iou_of_parts(_joined(counts, background, foreground))
            place = int(np.nanargmax(values))
            if values[place] > best:
                index[a], best, moved = place, float(values[place]), True
    return index


def _by_class(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """What each class's pixels add at each threshold: int64 [C, T, 2, 3].

    Entry 0 is to the background, entry 1 to the class itself; of each hits, 0 (ground truth is added once), predicted.
    """
    classes = counts.shape[1]
    under = counts.cumsum(2)[:, :, :-1]  # background at threshold i: buckets of at most i
    over = counts.sum(2, keepdims=True) - under
    own = np.arange(classes)
    result = np.zeros((classes, under.shape[2], 2, 3), np.int64)
    result[:, :, 0, 0] = under[0]
    result[:, :, 0, 2] = under.sum(0)
    result[:, :, 1, 0] = over[own + 1, own]
    result[:, :, 1, 2] = over.sum(0)
    return result


def _joined(
    counts: NDArray[np.int64], background: NDArray[np.int64], foreground: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[..., 3] of the background and [..., C, 3] of the classes, with the ground truth: int64 [..., 3, C + 1]."""
    result = np.moveaxis(np.concatenate([background[..., None, :], foreground], axis=-2), -1, -2).copy()
    result[..., 1, :] = counts.sum((1, 2))
    return result
