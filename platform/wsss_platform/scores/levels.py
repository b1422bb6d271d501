"""The sweep of maps that are stored as whole levels at the grid's nodes, without making full-size maps.

Bilinear interpolation at the centres of `CELL` pixels per cell weighs nodes with eighths, so every interpolated value
is a whole number of 1/64 levels, at most 64 x 2040: exact in integers, and one table says each one's bucket. The
counts are bit for bit those of `sweep_image(full_size(map), ...)` (`maps.storage`), a test holds it. Ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.confusion import IGNORE
from wsss_platform.scores.sweep import SweepCells

CELL = 4
"""Pixels from node to node, in each direction: `maps.storage.CELL`, whose weights the kernel holds."""
TOP: Mapping[str, int] = {"uint8": 255, "uint16": 2040}
"""The level of score 1, by type: `maps.storage.TOP`."""


def sweep_levels(
    levels: NDArray[np.uint8] | NDArray[np.uint16],
    classes: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    foreground_classes: int,
    name: str = "image",
) -> SweepCells:
    """Count one image's pixels by ground truth, best class and bucket, as `sweep_image` does of its full-size map.

    Args:
        levels: uint8 (score x 255) or uint16 (score x 2040) [K, rows, columns] at the nodes, which cover the image.
        classes: uint8 [K], 0-based foreground classes; of equal scores the first is the best.
        truth: uint8 [H, W], 0..C or 255 (not counted).
        thresholds: float32 [T], strictly ascending.
        foreground_classes: C.
        name: for the message.

    Raises:
        InputError: the grid does not cover the ground truth, a level is above score 1, a ground-truth value is
            neither 0..C nor 255, or a class is not below C; names the image.
    """
    if len(levels) != len(classes) or any(
        (nodes - 1) * CELL < side for nodes, side in zip(levels.shape[1:], truth.shape, strict=True)
    ):
        raise InputError(
            f"{name}: levels of shape {levels.shape} for {len(classes)} classes, ground truth {truth.shape}", field=name
        )
    top = TOP[levels.dtype.name]
    if int(levels.max(initial=0)) > top:
        raise InputError(f"{name}: level {levels.max()} of the maps, expected at most {top}", field=name)
    if len(classes) and int(classes.max()) >= foreground_classes:
        raise InputError(
            f"{name}: class {int(classes.max())} of the maps, expected less than {foreground_classes}", field=name
        )
    truth = np.ascontiguousarray(truth)
    values = np.flatnonzero(_present(truth.ravel()))
    counted = values[values != IGNORE]
    if len(counted) and int(counted[-1]) > foreground_classes:
        raise InputError(
            f"{name}: the ground truth holds values above {foreground_classes} that are not {IGNORE}", field=name
        )
    table = bucket_table(thresholds.tobytes(), top)
    if len(classes) == 0:
        levels = np.zeros((1, *levels.shape[1:]), levels.dtype)
    places = np.zeros(256, np.uint32)
    slots = len(levels) * (len(thresholds) + 1)
    places[values] = slots * np.searchsorted(counted, values)  # 255 comes last, behind all that is counted
    counts = _count(np.ascontiguousarray(levels), truth, places, table, len(counted) + 1, len(thresholds) + 1)
    counts = counts[:-1]
    counts[:, 0, 0] = counts[:, :, 0].sum(1)
    counts[:, 1:, 0] = 0
    found = np.nonzero(counts)
    named = classes.astype(np.int64)[found[1]] if len(classes) else np.zeros_like(found[1])
    return SweepCells(counted[found[0]], np.where(found[2] == 0, 0, named), found[2], counts[found].astype(np.int64))


@lru_cache(maxsize=8)
def bucket_table(thresholds: bytes, top: int) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """The bucket of every interpolated value: [64 x top + 1], uint16 where enough, of float32 thresholds as bytes.

    Raises:
        ValueError: the thresholds are not strictly ascending, or there are none.
    """
    values = np.frombuffer(thresholds, np.float32)
    if len(values) == 0 or not np.all(np.diff(values) > 0):
        raise ValueError("thresholds must be float32, at least one, strictly ascending")
    scores = np.arange(64 * top + 1, dtype=np.float32) / np.float32(64) / np.float32(top)  # as full_size() rounds them
    buckets = np.searchsorted(values, scores)
    return buckets.astype(np.uint16) if len(values) < 2**16 else buckets.astype(np.uint32)


@njit(cache=True, nogil=True)
def _present(truth):  # type: ignore[no-untyped-def] # pragma: no cover
    """Which of the 256 values occur. Masks are flat: eight pixels like the eight before them add nothing new."""
    found = np.zeros(256, np.bool_)
    whole = truth.size // 8 * 8
    eights = truth[:whole].view(np.uint64)
    for i in range(len(eights)):
        if i == 0 or eights[i] != eights[i - 1]:
            for x in range(8 * i, 8 * i + 8):
                found[truth[x]] = True
    for x in range(whole, truth.size):
        found[truth[x]] = True
    return found


@njit(cache=True, nogil=True)
def _count(levels, truth, places, table, present, buckets):  # type: ignore[no-untyped-def] # pragma: no cover
    """uint32 [present, K, buckets] by ground truth, best class and bucket; `places`: where a ground-truth value begins.

    Two counters in turn, so that runs of equal pixels do not wait for their own counter; unsigned places, so that none
    is read for a count from the end.
    """
    number, _, columns = levels.shape
    height, width = truth.shape
    counts = np.zeros((2, present * number * buckets), np.uint32)
    line = np.empty(columns, np.uint32)
    best = np.empty(CELL * columns, np.uint32)
    other = np.empty(CELL * columns, np.uint32)
    cell = np.empty(CELL * columns, np.uint32)
    three, five, seven = np.uint32(3), np.uint32(5), np.uint32(7)
    for y in range(height):
        above = y // CELL
        below = np.uint32(2 * (y % CELL) + 1)  # eighths of the node below, by the pixel's place in its cell
        over = np.uint32(8) - below
        cell[:] = 0
        for k in range(number):
            here = np.uint32(k * buckets)
            for j in range(columns):
                line[j] = over * np.uint32(levels[k, above, j]) + below * np.uint32(levels[k, above + 1, j])
            score = best if k == 0 else other
            for j in range(columns - 1):
                left, right = line[j], line[j + 1]
                score[4 * j] = seven * left + right
                score[4 * j + 1] = five * left + three * right
                score[4 * j + 2] = three * left + five * right
                score[4 * j + 3] = left + seven * right
            if k > 0:
                for x in range(width):
                    better = other[x] > best[x]
                    best[x] = other[x] if better else best[x]
                    cell[x] = here if better else cell[x]
        for x in range(width):
            cell[x] += places[truth[y, x]] + table[best[x]]
        for x in range(0, width - 1, 2):
            counts[0, cell[x]] += 1
            counts[1, cell[x + 1]] += 1
        if width % 2:
            counts[0, cell[width - 1]] += 1
    return (counts[0] + counts[1]).reshape(present, number, buckets)
