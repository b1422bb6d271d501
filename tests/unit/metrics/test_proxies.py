"""Label-free proxies, by hand and against a slow count."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_platform.errors import InputError
from wsss_platform.metrics.proxies import agreement, agreement_table, found_classes, label_consistency

NAMED = np.array([True, True, False])


def masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([0, 0, 1, 2, 3, 255], np.uint8)
    random = np.random.default_rng(seed)
    return random.choice(values, (9, 11)), random.choice(values, (9, 11))


def slow(first: np.ndarray, second: np.ndarray, named: np.ndarray) -> float:
    """Pixel sets in plain Python."""
    values = []
    for label in range(4):
        sets = []
        for mask in (first, second):
            folded = np.where(mask == 255, 0, mask)
            sets.append({tuple(place) for place in np.argwhere(folded == label)})
        union = sets[0] | sets[1]
        if union or label == 0 or named[label - 1]:
            values.append(len(sets[0] & sets[1]) / len(union) if union else 0.0)
    return sum(values) / len(values)


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_the_mean_iou_of_two_sets_of_pixels(seed: int) -> None:
    first, second = masks(seed)
    found = agreement(agreement_table(first, second, 3), NAMED)
    assert found == pytest.approx(slow(first, second, NAMED), abs=1e-12)
    assert found == agreement(agreement_table(second, first, 3), NAMED)  # neither is the truth
    assert agreement(agreement_table(first, first, 3), NAMED) == pytest.approx(1.0)


def test_agreement_adds_over_pictures_before_it_divides() -> None:
    one = np.array([[1, 1, 1, 1]], np.uint8)
    other = np.array([[1, 0, 0, 0]], np.uint8)
    table = agreement_table(one, one, 1) + agreement_table(one, other, 1)
    assert agreement(table, np.array([True])) == pytest.approx((5 / 8 + 0) / 2)


def test_empty_and_full_masks_do_not_win() -> None:
    empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    half = np.array([[0, 0, 1, 1]] * 4, np.uint8)
    named = np.array([True])
    assert agreement(agreement_table(empty, empty, 1), named) == 0.5
    assert agreement(agreement_table(full, full, 1), named) == 0.5
    assert agreement(agreement_table(half, half, 1), named) == 1.0
    assert agreement(agreement_table(empty, empty, 1), np.array([False])) == 1.0  # no label, nothing missed


def test_found_needs_a_share_of_the_picture() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[0, :9] = 1
    mask[1, :10] = 3
    mask[2, 0] = 255
    assert found_classes(mask, 3).tolist() == [False, False, True]
    assert found_classes(mask, 3, least=0.0).tolist() == [True, False, True]


def test_label_consistency_is_the_f1_of_pairs() -> None:
    labels = np.array([[True, True, False], [False, True, False]])
    assert label_consistency(labels, labels) == 1.0
    assert label_consistency(np.zeros_like(labels), labels) == 0.0
    found = np.array([[True, False, True], [False, True, False]])  # TP 2, FP 1, FN 1
    assert label_consistency(found, labels) == pytest.approx(4 / 6)


def test_wrong_input_is_named() -> None:
    table = agreement_table(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 3)
    with pytest.raises(InputError, match="labels of 2"):
        agreement(table, np.array([True, False]))
    with pytest.raises(InputError, match="no pixel"):
        agreement(np.zeros((4, 5), np.int64), NAMED)
    with pytest.raises(InputError, match="no class is named"):
        label_consistency(np.zeros((2, 3), bool), np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="p1: mask of shape"):
        agreement_table(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 3, "p1")
