"""Confusion tables against a slow loop, and the scores that follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.confusion import confusion, folded, iou, mean_iou, parts, precision, recall

C = 5


def labels(seed: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    values = np.append(np.arange(C + 1), 255).astype(np.uint8)
    return np.random.default_rng(seed).choice(values, shape)


def slow(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.int64]:
    table = np.zeros((C + 1, C + 2), np.int64)
    for g, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if g != 255:
            table[g, C + 1 if p == 255 else p] += 1
    return table


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 9), width=st.integers(1, 9))
def test_equals_a_slow_loop(seed: int, height: int, width: int) -> None:
    truth, prediction = labels(seed, (height, width)), labels(seed + 1, (height, width))
    table = confusion(truth, prediction, C)
    assert table.dtype == np.int64
    np.testing.assert_array_equal(table, slow(truth, prediction))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 29))
def test_adds_over_shards(seed: int, cut: int) -> None:
    truth, prediction = labels(seed, (30, 7)), labels(seed + 1, (30, 7))
    upper, lower = confusion(truth[:cut], prediction[:cut], C), confusion(truth[cut:], prediction[cut:], C)
    np.testing.assert_array_equal(confusion(truth, prediction, C), upper + lower)


def test_views_that_are_not_contiguous() -> None:
    truth, prediction = labels(1, (12, 12)), labels(2, (12, 12))
    np.testing.assert_array_equal(
        confusion(truth[::2, ::3], prediction[::2, ::3], C), slow(truth[::2, ::3], prediction[::2, ::3])
    )


def test_undecided_counts_as_background_and_is_told() -> None:
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    prediction = np.array([[255, 255, 1, 255]], np.uint8)
    table = confusion(truth, prediction, 1)
    assert table[:, -1].tolist() == [1, 1]
    assert folded(table).tolist() == [[1, 0], [1, 1]]
    np.testing.assert_allclose(iou(table), [1 / 2, 1 / 2])
    np.testing.assert_array_equal(iou(table), iou(folded(table)))


def test_scores_by_hand() -> None:
    table = np.array([[50, 10, 0, 0], [5, 30, 0, 0], [0, 0, 0, 0]])  # class 2 occurs nowhere
    np.testing.assert_allclose(iou(table), [50 / 65, 30 / 45, np.nan])
    np.testing.assert_allclose(precision(table), [50 / 55, 30 / 40, np.nan])
    np.testing.assert_allclose(recall(table), [50 / 60, 30 / 35, np.nan])
    assert mean_iou(table) == pytest.approx((50 / 65 + 30 / 45) / 2)
    assert parts(table).tolist() == [[50, 30, 0], [60, 35, 0], [55, 40, 0]]
    assert np.isnan(mean_iou(np.zeros((3, 4), np.int64)))


def test_a_class_only_predicted_scores_zero() -> None:
    table = confusion(np.zeros((2, 2), np.uint8), np.full((2, 2), 2, np.uint8), 3)
    np.testing.assert_array_equal(iou(table), [0, np.nan, 0, np.nan])


@pytest.mark.parametrize(
    ("truth", "prediction", "what"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"2007_1.*\(3, 2\).*\(2, 3\)"),
        (np.full((1, 5), C + 1, np.uint8), np.zeros((1, 5), np.uint8), "2007_1: the ground truth holds values above 5"),
        (np.zeros((1, 5), np.uint8), np.full((1, 5), 254, np.uint8), "2007_1: the mask holds values above 5"),
        (np.full((1, 5), 255, np.uint8), np.full((1, 5), 77, np.uint8), "2007_1: the mask holds values above 5"),
    ],
)
def test_wrong_input_is_named(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], what: str) -> None:
    with pytest.raises(InputError, match=what):
        confusion(truth, prediction, C, "2007_1")
