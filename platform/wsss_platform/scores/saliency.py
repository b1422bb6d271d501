"""Rule "saliency" at every score floor and saliency cut at once: one pass over an image, exact at each pair.

By `masks.rules.salient` a pixel is of its best class (score m) exactly where its saliency is above the cut, m is
positive and not under the floor, and not three classes score above the conflict level. With a third score s above that
level this holds for floors in (s, m], else for floors up to m. So a pixel counts 1 at (floors up to m, cuts below its
saliency); a conflict takes 1 away at the floors up to s and counts as background. Undecided pixels (255) are background
in every score. Ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.confusion import slots_of


class SaliencyCells(NamedTuple):
    """Sparse counts of one image, int64 [R] each, sorted; sums over cells are pixels, one cell may be negative."""

    truth: NDArray[np.int64]
    """0..C, background first."""
    cls: NDArray[np.int64]
    """Best class 0..C-1; 0 where `floor` or `cut` is 0 (background at every pair)."""
    floor: NDArray[np.int64]
    """Floors not above the best score, 0..F."""
    cut: NDArray[np.int64]
    """Cuts below the saliency, 0..S."""
    pixels: NDArray[np.int64]
    """How many, not 0."""


class Pairs(NamedTuple):
    """The settings swept."""

    floors: NDArray[np.float32]
    """float32 [F], strictly ascending: scores under it count as 0 (`masks.saliency_floor`)."""
    cuts: NDArray[np.int64]
    """int64 [S], strictly ascending: salient above it, 0..254 (`masks.saliency_cut`)."""
    conflict_level: float
    """`masks.conflict_level`, the same at every pair."""


def sweep_saliency(
    scores: NDArray[np.float32],
    classes: NDArray[np.uint8],
    saliency: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    pairs: Pairs,
    foreground_classes: int,
    name: str = "image",
) -> SaliencyCells:
    """Count one image's pixels by ground truth, best class, floors and cuts.

    Args:
        scores: float32 [K, H, W] in 0..1, full size; of equal scores the first class is the best.
        classes: uint8 [K], 0-based foreground classes.
        saliency: uint8 [H, W], 0..255.
        truth: uint8 [H, W], 0..C or 255 (not counted).
        pairs: floors, cuts and the conflict level.
        foreground_classes: C.
        name: for the message.

    Raises:
        InputError: the shapes differ, a ground-truth value is neither 0..C nor 255, a class is not below C, or a
            score is not a number; names the image.
    """
    if scores.shape != (len(classes), *truth.shape) or saliency.shape != truth.shape:
        raise InputError(
            f"{name}: scores of shape {scores.shape} for {len(classes)} classes, saliency {saliency.shape}, "
            f"ground truth {truth.shape}",
            field=name,
        )
    if len(classes) and int(classes.max()) >= foreground_classes:
        raise InputError(
            f"{name}: class {int(classes.max())} of the maps, expected less than {foreground_classes}", field=name
        )
    if np.isnan(scores).any():
        raise InputError(f"{name}: a score is not a number", field=name)
    counts = _count(
        np.ascontiguousarray(scores, np.float32).reshape(len(classes), truth.size),
        saliency.ravel(),
        truth.ravel(),
        pairs.floors,
        np.searchsorted(pairs.cuts, np.arange(256)).astype(np.int64),
        len(pairs.cuts),
        np.float32(pairs.conflict_level),
        slots_of(foreground_classes),
    )
    if counts[foreground_classes + 2].any():
        raise InputError(
            f"{name}: the ground truth holds values above {foreground_classes} that are not 255", field=name
        )
    counts = counts[: foreground_classes + 1]
    never = counts[:, :, 0, :].sum((1, 2)) + counts[:, :, 1:, 0].sum((1, 2))
    counts[:, :, 0, :] = 0
    counts[:, :, :, 0] = 0
    counts[:, 0, 0, 0] = never
    found = np.nonzero(counts)
    named = classes.astype(np.int64)[found[1]] if len(classes) else found[1]
    return SaliencyCells(found[0], np.where(found[2] == 0, 0, named), found[2], found[3], counts[found])


@njit(cache=True, nogil=True)
def _count(scores, saliency, truth, floors, cut_of, cuts, level, slots):  # type: ignore[no-untyped-def] # pragma: no cover
    """int64 [C + 3, max(K, 1), F + 1, S + 1] by slot of the ground truth, place of the best class, floors, cuts."""
    number, pixels = scores.shape
    counts = np.zeros((slots.max() + 1, max(number, 1), len(floors) + 1, cuts + 1), np.int64)
    for i in range(pixels):
        slot, cut, best = slots[truth[i]], cut_of[saliency[i]], 0
        first, second, third = np.float32(0), np.float32(0), np.float32(0)
        for k in range(number):
            score = scores[k, i]
            if score > first:
                first, second, third, best = score, first, second, k
            elif score > second:
                second, third = score, second
            elif score > third:
                third = score
        floor = np.searchsorted(floors, first, side="right") if first > 0 else 0
        counts[slot, best, floor, cut] += 1
        if third > level:
            counts[slot, best, np.searchsorted(floors, third, side="right"), cut] -= 1
            counts[slot, best, 0, cut] += 1
    return counts


def saliency_histogram(cells: Iterable[SaliencyCells], classes: int, floors: int, cuts: int) -> NDArray[np.int64]:
    """The dense sum of images: int64 [C + 1, C, F + 1, S + 1]."""
    total = np.zeros((classes + 1, classes, floors + 1, cuts + 1), np.int64)
    for item in cells:
        np.add.at(total, (item.truth, item.cls, item.floor, item.cut), item.pixels)
    return total


def saliency_parts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hits, ground truth pixels and predicted pixels at every pair: int64 [F, S, 3, C + 1] from a dense histogram."""
    over = counts[:, :, ::-1, ::-1].cumsum(2).cumsum(3)[:, :, ::-1, ::-1][:, :, 1:, 1:]  # foreground at floor i, cut j
    side = counts.shape[0]
    own = np.arange(side - 1)
    result = np.zeros((*over.shape[2:], 3, side), np.int64)
    truth = counts.sum((1, 2, 3))
    result[:, :, 0, 1:] = np.moveaxis(over[own + 1, own], 0, -1)
    result[:, :, 0, 0] = truth[0] - over[0].sum(0)
    result[:, :, 1] = truth
    result[:, :, 2, 1:] = np.moveaxis(over.sum(0), 0, -1)
    result[:, :, 2, 0] = truth.sum() - over.sum((0, 1))
    return result
