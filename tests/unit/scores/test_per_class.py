"""Per-class thresholds: counts equal brute force, the fit is at least the constant's, no single move betters it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsss_platform.scores.confusion import confusion, mean_iou, mean_iou_of_parts, parts
from wsss_platform.scores.per_class import fit, parts_at
from wsss_platform.scores.sweep import confusions, grid, histogram, sweep_image

C = 3
Image = tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]


def images(seed: int, count: int = 3, thresholds: int = 5) -> list[Image]:
    """Scores on the thresholds and between them, so that ties are common; not every class is in every image."""
    found = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        classes = np.sort(generator.permutation(C)[: generator.integers(0, C + 1)]).astype(np.uint8)
        scores = generator.integers(0, 2 * thresholds + 1, (len(classes), 7, 9)) / (2 * thresholds)
        truth = generator.choice(np.array([0, 0, 1, 2, 3, 255], np.uint8), (7, 9))
        found.append((scores.astype(np.float32), classes, truth))
    return found


def counted(some: list[Image], thresholds: NDArray[np.float32]) -> NDArray[np.int64]:
    return histogram([sweep_image(*item, thresholds, C) for item in some], C, len(thresholds))


def brute_force(some: list[Image], limits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Argmax first, then the best class's own threshold; the whole confusion."""
    total = np.zeros((C + 1, C + 2), np.int64)
    for scores, classes, truth in some:
        mask = np.zeros(truth.shape, np.uint8)
        for y, x in np.ndindex(truth.shape) if len(classes) else ():
            k = int(scores[:, y, x].argmax())
            if scores[k, y, x] > limits[classes[k]]:
                mask[y, x] = classes[k] + 1
        total += confusion(truth, mask, C)
    return total


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), index=st.lists(st.integers(0, 4), min_size=C, max_size=C))
def test_counts_equal_brute_force(seed: int, index: list[int]) -> None:
    some, thresholds = images(seed), grid(5)
    found = parts_at(counted(some, thresholds), np.array(index))
    np.testing.assert_array_equal(found, parts(brute_force(some, thresholds[index])))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_the_fit_cannot_be_bettered_by_one_threshold(seed: int) -> None:
    counts = counted(images(seed), grid(5))
    if not counts.any():
        return
    index = fit(counts)
    own = float(mean_iou_of_parts(parts_at(counts, index)))
    assert own >= np.nanmax(mean_iou(confusions(counts)))
    everything = {
        combination: float(mean_iou_of_parts(parts_at(counts, np.array(combination))))
        for combination in itertools.product(range(5), repeat=C)
    }
    assert own <= max(everything.values())
    for a, other in itertools.product(range(C), range(5)):
        moved = index.copy()
        moved[a] = other
        assert everything[tuple(moved.tolist())] <= own


def test_a_class_that_needs_its_own_threshold() -> None:
    """Class 0 is right above 0.6 only, class 1 from 0.2 on: no constant separates both."""
    scores = np.zeros((2, 1, 40), np.float32)
    scores[0, 0, :20] = np.repeat([0.5, 0.9], 10)
    scores[1, 0, 20:] = np.repeat([0.3, 0.1], 10)
    truth = np.repeat(np.array([0, 1, 2, 0], np.uint8), 10)[None]
    thresholds = grid(10)
    counts = counted([(scores, np.array([0, 1], np.uint8), truth)], thresholds)
    index = fit(counts)
    assert mean_iou_of_parts(parts_at(counts, index)) == 1
    assert np.nanmax(mean_iou(confusions(counts))) < 0.8
    assert 0.5 <= thresholds[index[0]] < 0.9
    assert np.float32(0.1) <= thresholds[index[1]] < 0.3


def test_nothing_counted() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        fit(np.zeros((C + 1, C, 6), np.int64))
