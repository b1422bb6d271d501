"""Run lengths and their compressed form, against a decoder written from the format's description."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsss_platform.exchange.rle import compressed, runs

Decoder = Callable[[str, int, int], np.ndarray]


@pytest.mark.parametrize(
    ("cells", "counts"),
    [
        (((1, 1), (2, 1), (4, 3)), "62;O"),  # as pycocotools 2.0.11 encodes them, on 5 x 4
        ((), "d0"),
        (((0, 0),), "01c0"),
    ],
)
def test_known_strings(cells: tuple[tuple[int, int], ...], counts: str) -> None:
    mask = np.zeros((5, 4), bool)
    for cell in cells:
        mask[cell] = True
    assert compressed(runs(mask)) == counts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_any_mask_comes_back(decoded: Decoder, mask: np.ndarray) -> None:
    assert int(runs(mask).sum()) == mask.size
    np.testing.assert_array_equal(decoded(compressed(runs(mask)), *mask.shape), mask)


def test_long_runs_and_large_steps_come_back(decoded: Decoder) -> None:
    mask = np.zeros((900, 1100), bool)
    mask[:, 0] = True
    mask[::2, 500] = True
    mask[450:, 900:] = True
    np.testing.assert_array_equal(decoded(compressed(runs(mask)), *mask.shape), mask)
