"""A decoder of COCO's run lengths, written from the format's description and not from our encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session", name="decoded")
def decoder() -> Callable[[str, int, int], np.ndarray]:
    """(counts, height, width) -> mask."""
    return decoded


def decoded(counts: str, height: int, width: int) -> np.ndarray:
    """The mask of a `counts` string, one number and one pixel at a time."""
    numbers: list[int] = []
    place = 0
    while place < len(counts):
        value, shift, more = 0, 0, True
        while more:
            group = ord(counts[place]) - 48
            value |= (group & 31) << shift
            shift += 5
            place += 1
            more = bool(group & 32)
            if not more and group & 16:
                value -= 1 << shift
        if len(numbers) > 2:
            value += numbers[-2]
        numbers.append(value)
    pixels: list[bool] = []
    for index, number in enumerate(numbers):
        pixels += [index % 2 == 1] * number
    assert len(pixels) == height * width
    return np.array(pixels, bool).reshape(width, height).T
