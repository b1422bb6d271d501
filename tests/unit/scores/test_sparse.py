from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.bootstrap import bootstrap
from wsss_platform.scores.sparse import SparseParts


def some(images: int, side: int, seed: int = 0) -> NDArray[np.int64]:
    """Counts as of images with a class or two each; every tenth image has nothing scored."""
    generator = np.random.default_rng(seed)
    parts = generator.integers(1, 200_000, (images, 3, side))
    parts *= generator.random((images, 1, side)) < 2.5 / side
    parts[::10] = 0
    parts[:, 0] = np.minimum(parts[:, 0], np.minimum(parts[:, 1], parts[:, 2]))
    return parts


def test_nothing_is_lost_and_pieces_join_in_their_order() -> None:
    parts = some(57, 21)
    whole = SparseParts.of(parts)
    np.testing.assert_array_equal(whole.dense(), parts)
    assert (len(whole), len(whole.count)) == (57, np.count_nonzero(parts))
    pieces = [SparseParts.of(parts[start : start + 10]) for start in range(0, 60, 10)]
    pieces.insert(2, SparseParts.of(parts[:0]))  # of a chunk whose images all failed
    joined = SparseParts.joined(pieces)
    np.testing.assert_array_equal(joined.dense(), parts)
    np.testing.assert_array_equal(joined.starts, whole.starts)


def test_weighted_sums_are_those_of_the_dense_counts() -> None:
    parts = some(101, 5)
    weights = np.random.default_rng(1).integers(0, 4, (7, 101)).astype(np.float64)
    wanted = np.einsum("rn,nkc->rkc", weights, parts.astype(np.float64))
    np.testing.assert_array_equal(SparseParts.of(parts).weighted(weights), wanted)


def test_the_interval_is_the_same_to_the_bit() -> None:
    parts = some(300, 21)
    assert bootstrap(SparseParts.of(parts), 130, seed=4) == bootstrap(parts, 130, seed=4)
    with pytest.raises(InputError, match="no image has a scored pixel"):
        bootstrap(SparseParts.of(np.zeros((3, 3, 4), np.int64)))


def test_eighty_classes_need_a_tenth_of_the_dense_counts() -> None:
    parts = some(2000, 81)
    found = SparseParts.of(parts)
    assert sum(array.nbytes for array in (found.starts, found.cell, found.count)) < parts.nbytes / 10
