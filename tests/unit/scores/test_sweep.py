"""The one-pass sweep equals thresholding one by one, whole confusions, bit for bit, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import StoredMap, full_size, grid_size
from wsss_platform.masks.make import make_mask
from wsss_platform.masks.rules import threshold_of_alpha
from wsss_platform.scores.confusion import confusion, folded
from wsss_platform.scores.sweep import SweepCells, confusions, grid, histogram, sweep_image

C = 6


def truth_of(generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    return generator.choice(np.append(np.arange(C + 1), 255).astype(np.uint8), shape)


def brute_force(scores: Any, classes: Any, truth: Any, limit: np.float32) -> NDArray[np.int64]:
    prediction = np.zeros(truth.shape, np.uint8)
    for y, x in np.ndindex(truth.shape):
        best, best_class = -1.0, -1
        for k, c in enumerate(classes):
            if scores[k, y, x] > best:
                best, best_class = scores[k, y, x], int(c)
        if best > limit:
            prediction[y, x] = best_class + 1
    return folded(confusion(truth, prediction, C))


def swept(images: list[tuple[Any, Any, Any]], thresholds: NDArray[np.float32]) -> NDArray[np.int64]:
    cells = [sweep_image(*image, thresholds, C) for image in images]
    return confusions(histogram(cells, C, len(thresholds)))


@st.composite
def images(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Scores of two decimals (ties with each other and with the thresholds are common), 0 to 4 classes."""
    generator = np.random.default_rng(draw(st.integers(0, 100_000)))
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    classes = np.sort(generator.permutation(C)[: draw(st.integers(0, 4))]).astype(np.uint8)
    scores = np.round(generator.random((len(classes), *shape)) * 1.05, 2).clip(0, 1).astype(np.float32)
    return scores, classes, truth_of(generator, shape)


@settings(deadline=None, max_examples=40)
@given(image=images(), thresholds=st.sampled_from([grid(20), grid(100), grid(100, [0.305, 1.0]), grid(1)]))
def test_equals_brute_force_at_every_threshold(image: tuple[Any, Any, Any], thresholds: NDArray[np.float32]) -> None:
    found = swept([image], thresholds)
    assert found.dtype == np.int64
    for index, limit in enumerate(thresholds):
        np.testing.assert_array_equal(found[index], brute_force(*image, limit), err_msg=f"at {limit}")


@settings(deadline=None, max_examples=40)
@given(image=images(), values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12, unique=True))
def test_any_thresholds(image: tuple[Any, Any, Any], values: list[float]) -> None:
    thresholds = np.sort(np.array(values, np.float32))
    found = swept([image], thresholds)
    for index, limit in enumerate(thresholds):
        np.testing.assert_array_equal(found[index], brute_force(*image, limit))


@settings(deadline=None, max_examples=20)
@given(several=st.lists(images(), min_size=2, max_size=5), cut=st.integers(1, 4))
def test_adds_over_images(several: list[tuple[Any, Any, Any]], cut: int) -> None:
    thresholds = grid(50)
    whole = swept(several, thresholds)
    np.testing.assert_array_equal(whole, swept(several[:cut], thresholds) + swept(several[cut:], thresholds))
    at = 30
    total = sum(brute_force(*image, thresholds[at]) for image in several)
    np.testing.assert_array_equal(whole[at], total)


@pytest.mark.parametrize("precision", ["uint8", "float16"])
def test_equals_the_masks_of_every_background(precision: str) -> None:
    """Through the stored form: what `masks.background` gives at a threshold is what the sweep says there."""
    generator = np.random.default_rng(3)
    height, width = 37, 51
    scores = generator.random((3, *grid_size(height, width)))
    levels = np.round(scores * 255).astype(np.uint8) if precision == "uint8" else scores.astype(np.float16)
    stored = StoredMap("one", np.array([0, 2, 5], np.uint8), levels, height, width)
    truth = truth_of(generator, (height, width))
    thresholds = grid(100, [0.2 + 1 / 255])
    found = swept([(full_size(stored), stored.classes, truth)], thresholds)
    for index, limit in enumerate(thresholds):
        mask = make_mask(stored, None, MasksConfig(background=float(limit)))
        np.testing.assert_array_equal(found[index], folded(confusion(truth, mask, C)))


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 4, 8, 16, 24, 32, 128])
def test_an_alpha_is_a_threshold(alpha: float) -> None:
    """Checked on random scores and on the floats nearest to the threshold, in float64."""
    limit = threshold_of_alpha(alpha)
    near = (np.float32(limit).view(np.uint32) + np.arange(-50, 51, dtype=np.int64)).astype(np.uint32).view(np.float32)
    scores = np.concatenate([np.random.default_rng(0).random(20_000).astype(np.float32), near, [0, 1]])
    foreground = scores.astype(np.float64) > (1 - scores.astype(np.float64)) ** alpha
    disagree = (scores > limit) != foreground
    # pow and log round differently in the last bit of float64: only there may they differ
    gap = np.abs(scores.astype(np.float64) - (1 - scores.astype(np.float64)) ** alpha)
    assert not np.any(disagree & (gap > 1e-15))
    assert disagree.sum() <= 1

    generator = np.random.default_rng(1)
    image = np.array([0, 1, 4], np.uint8)
    maps = generator.random((3, 20, 20)).astype(np.float32)
    truth = truth_of(generator, (20, 20))
    best = maps.max(0).astype(np.float64)
    mask = np.where(best > (1 - best) ** alpha, image[maps.argmax(0)] + 1, 0).astype(np.uint8)
    found = swept([(maps, image, truth)], np.array([limit], np.float32))
    np.testing.assert_array_equal(found[0], folded(confusion(truth, mask, C)))


def test_cells_are_sparse_and_complete() -> None:
    generator = np.random.default_rng(0)
    truth = truth_of(generator, (30, 30))
    cells = sweep_image(generator.random((2, 30, 30)).astype(np.float32), np.array([1, 3], np.uint8), truth, grid(), C)
    assert isinstance(cells, SweepCells)
    assert cells.pixels.min() > 0
    assert cells.pixels.sum() == (truth != 255).sum()
    assert set(cells.cls[cells.bucket > 0].tolist()) <= {1, 3}
    order = np.lexsort((cells.bucket, cells.cls, cells.truth))
    np.testing.assert_array_equal(order, np.arange(len(order)))


def test_scores_beyond_the_unit_interval() -> None:
    scores = np.array([[[-1.0, 0.0, 1.0, 7.5, np.inf]]], np.float32)
    found = swept([(scores, np.array([0], np.uint8), np.ones((1, 5), np.uint8))], np.array([-2, 0, 0.5, 7], np.float32))
    assert found[:, 1, 1].tolist() == [5, 3, 3, 2]


def test_wrong_input_is_named() -> None:
    scores = np.zeros((1, 2, 2), np.float32)
    one, truth = np.array([1], np.uint8), np.zeros((2, 2), np.uint8)
    with pytest.raises(InputError, match="2007_1: scores of shape"):
        sweep_image(scores, one, np.zeros((2, 3), np.uint8), grid(), C, "2007_1")
    with pytest.raises(InputError, match="2007_1: the ground truth holds values above 6"):
        sweep_image(scores, one, np.full((2, 2), 9, np.uint8), grid(), C, "2007_1")
    with pytest.raises(InputError, match="2007_1: class 6 of the maps"):
        sweep_image(scores, np.array([6], np.uint8), truth, grid(), C, "2007_1")
    with pytest.raises(InputError, match="2007_1: a score is not a number"):
        sweep_image(scores * np.float32(np.nan), one, truth, grid(), C, "2007_1")
    with pytest.raises(ValueError, match="ascending"):
        sweep_image(scores, one, truth, np.array([0.5, 0.2], np.float32), C)


def test_grid() -> None:
    assert grid(4, [0.3]).tolist() == [0, 0.25, float(np.float32(0.3)), 0.5, 0.75]
    assert len(grid(100, [0.3])) == 100  # 0.3 is on it
