"""Subsets told from per-image counts."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_platform.errors import InputError
from wsss_platform.scores.confusion import confusion, parts
from wsss_platform.scores.subset import SIZES, subset

NAMES = ("cat", "dog")


def counts() -> np.ndarray:
    """Ground truth of 100 pixels: nothing; 4 cats; 5 dogs; 10 cats and 20 dogs; 80 dogs; half of the last void."""
    tables = []
    for cats, dogs, void in ((0, 0, 0), (4, 0, 0), (0, 5, 0), (10, 20, 0), (0, 80, 0), (0, 40, 50)):
        truth = np.zeros(100, np.uint8)
        truth[:cats], truth[cats : cats + dogs], truth[100 - void :] = 1, 2, 255
        tables.append(parts(confusion(truth[None], np.zeros((1, 100), np.uint8), 2)))
    return np.array(tables)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("class=cat", [1, 3]),
        ("class=dog", [2, 3, 4, 5]),
        ("object=small", [1, 2]),
        ("object=large", [3, 4, 5]),
        ("object=0.05..0.3", [3]),
        ("object=0.04..0.05", [2]),
        ("image=0..50", [5]),
        ("image=50..1e6", [0, 1, 2, 3, 4]),
    ],
)
def test_subsets(text: str, wanted: list[int]) -> None:
    assert np.flatnonzero(subset(text, counts(), NAMES)).tolist() == wanted


def test_sizes_leave_no_gap() -> None:
    assert [low for low, _ in SIZES.values()] == [0, *(high for _, high in list(SIZES.values())[:-1])]
    assert list(SIZES.values())[-1][1] == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("class=dig", "did you mean 'dog'"),
        ("object=smal", "did you mean 'small'"),
        ("object=0.5", "expected all, class=NAME"),
        ("object=0.9..0.1", "expected all, class=NAME"),
        ("image=many", "expected all, class=NAME"),
        ("size=3", "expected all, class=NAME"),
        ("", "expected all, class=NAME"),
        ("object=0.9..1", "none of the 6 images"),
    ],
)
def test_wrong_subsets(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        subset(text, counts(), NAMES)
