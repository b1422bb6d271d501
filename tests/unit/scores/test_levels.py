"""The sweep on the stored levels equals the sweep on the full-size map, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.maps.storage import CELL, TOP, StoredMap, full_size, grid_size
from wsss_platform.scores import levels
from wsss_platform.scores.levels import bucket_table, sweep_levels
from wsss_platform.scores.sweep import grid, sweep_image

C = 6


def a_map(
    seed: int, height: int, width: int, classes: int, steps: int, kind: str = "uint16"
) -> tuple[StoredMap, NDArray[np.uint8]]:
    """Few levels, so that ties between classes and with thresholds are common."""
    generator = np.random.default_rng(seed)
    present = np.sort(generator.permutation(C)[:classes]).astype(np.uint8)
    top = levels.TOP[kind]
    steps = min(steps, top)
    scores = generator.integers(0, steps + 1, (classes, *grid_size(height, width))) * (top // steps)
    truth = generator.choice(np.append(np.arange(C + 1), 255).astype(np.uint8), (height, width))
    return StoredMap("one", present, scores.astype(kind), height, width), truth


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    classes=st.integers(0, 4),
    steps=st.sampled_from([1, 3, 15, 255, 2040]),
    kind=st.sampled_from(["uint8", "uint16"]),
    thresholds=st.sampled_from([grid(1), grid(20), grid(255), grid(1000, [0.305, 1.0])]),
)
def test_equals_the_full_size_sweep(
    seed: int, height: int, width: int, classes: int, steps: int, kind: str, thresholds: NDArray[np.float32]
) -> None:
    stored, truth = a_map(seed, height, width, classes, steps, kind)
    found = sweep_levels(stored.scores, stored.classes, truth, thresholds, C)  # type: ignore[arg-type]
    wanted = sweep_image(full_size(stored), stored.classes, truth, thresholds, C)
    for name, own, other in zip(wanted._fields, found, wanted, strict=True):
        np.testing.assert_array_equal(own, other, err_msg=name)
        assert own.dtype == other.dtype


@settings(deadline=None, max_examples=30)
@given(
    values=st.lists(st.integers(0, 64 * 255), min_size=1, max_size=30, unique=True),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["uint8", "uint16"]),
)
def test_thresholds_that_are_scores(values: list[int], seed: int, kind: str) -> None:
    """A threshold that equals an interpolated score in float32: the tie goes to the background on both ways."""
    top = levels.TOP[kind]
    thresholds = np.array(sorted(values), np.float32) * np.float32(top // 255) / np.float32(64) / np.float32(top)
    stored, truth = a_map(seed, 21, 34, 3, 2040, kind)
    found = sweep_levels(stored.scores, stored.classes, truth, thresholds, C)  # type: ignore[arg-type]
    wanted = sweep_image(full_size(stored), stored.classes, truth, thresholds, C)
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(own, other)


def test_the_geometry_and_levels_are_those_of_the_store() -> None:
    assert levels.CELL == CELL
    assert list(levels.TOP.values()) == list(TOP.values())
    for top in TOP.values():  # every threshold has scores on both sides
        assert len(np.unique(bucket_table(grid(1000).tobytes(), top))) == 1001
    assert 64 * max(TOP.values()) < 2**24, "interpolated values are exact in float32"


def test_an_image_without_scored_pixels_and_one_without_classes() -> None:
    stored, truth = a_map(0, 20, 30, 2, 255)
    void = sweep_levels(stored.scores, stored.classes, np.full_like(truth, 255), grid(), C)  # type: ignore[arg-type]
    assert all(len(column) == 0 for column in void)
    empty = np.zeros((0, *stored.scores.shape[1:]), np.uint16)
    cells = sweep_levels(empty, np.zeros(0, np.uint8), truth, grid(), C)
    assert cells.pixels.sum() == (truth != 255).sum()
    assert not cells.bucket.any()


def test_wrong_input_is_named() -> None:
    stored, truth = a_map(0, 20, 30, 2, 255)
    scores = stored.scores.astype(np.uint16)
    with pytest.raises(InputError, match="2007_1: levels of shape"):
        sweep_levels(scores, stored.classes, np.zeros((200, 30), np.uint8), grid(), C, "2007_1")
    with pytest.raises(InputError, match="2007_1: levels of shape"):
        sweep_levels(scores, stored.classes[:1], truth, grid(), C, "2007_1")
    with pytest.raises(InputError, match="2007_1: class .* expected less than 1"):
        sweep_levels(scores, np.array([0, 3], np.uint8), np.zeros((20, 30), np.uint8), grid(), 1, "2007_1")
    with pytest.raises(InputError, match="2007_1: the ground truth holds values above 6"):
        sweep_levels(scores, stored.classes, np.full((20, 30), 9, np.uint8), grid(), C, "2007_1")
    with pytest.raises(ValueError, match="ascending"):
        sweep_levels(scores, stored.classes, truth, np.array([0.5, 0.2], np.float32), C)
    above = scores.copy()
    above[1, 2, 3] = 2041
    with pytest.raises(InputError, match="2007_1: level 2041 of the maps, expected at most 2040"):
        sweep_levels(above, stored.classes, truth, grid(), C, "2007_1")
