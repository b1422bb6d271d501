"""The walk over neighbours against the released way: the matrix over all cells, divided by its sums and squared."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from wsss_platform.nets.affinity.walk import Offset, half_plane, walk


def dense_walk(
    values: NDArray[np.float32], affinity: NDArray[np.float32], offsets: Sequence[Offset], beta: float, squarings: int
) -> NDArray[np.float64]:
    """In float64: every pair inside the grid both ways, 1 on the diagonal, T = A^beta / column sums, squared."""
    count, height, width = values.shape
    matrix = np.eye(height * width)
    for p, (down, right) in enumerate(offsets):
        for y in range(height - down):
            for x in range(max(0, -right), min(width, width - right)):
                one, other = y * width + x, (y + down) * width + x + right
                matrix[one, other] = matrix[other, one] = affinity[p, y, x]
    matrix = matrix**beta
    matrix /= matrix.sum(0, keepdims=True)
    for _ in range(squarings):
        matrix = matrix @ matrix
    walked: NDArray[np.float64] = (values.reshape(count, -1).astype(np.float64) @ matrix).reshape(values.shape)
    return walked


def material(height: int, width: int, radius: int = 5) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng(height * 100 + width)
    offsets = half_plane(radius)
    return generator.random((3, height, width), np.float32), generator.random((len(offsets), height, width), np.float32)


def test_the_half_plane_is_that_of_the_release() -> None:
    offsets = half_plane(5)
    assert len(offsets) == 34
    assert offsets[:5] == ((0, 1), (0, 2), (0, 3), (0, 4), (1, -4))
    assert offsets[-1] == (4, 2)
    assert len(half_plane(10)) == 152
    both = {*offsets, *((-y, -x) for y, x in offsets)}
    wanted = {(y, x) for y in range(-9, 10) for x in range(-9, 10) if 0 < y * y + x * x < 25}
    assert both == wanted
    assert len(both) == 2 * len(offsets)


@pytest.mark.parametrize("size", [(9, 13), (21, 6), (4, 3), (1, 1), (1, 12), (17, 1)], ids=str)
@pytest.mark.parametrize(("radius", "beta", "squarings"), [(5, 10.0, 8), (5, 8.0, 6), (3, 0.5, 3), (2, 1.0, 0)])
def test_it_equals_the_dense_matrix(size: tuple[int, int], radius: int, beta: float, squarings: int) -> None:
    values, affinity = material(*size, radius)
    wanted = dense_walk(values, affinity, half_plane(radius), beta, squarings)
    np.testing.assert_allclose(
        walk(values, affinity, half_plane(radius), beta, squarings), wanted, rtol=2e-5, atol=1e-6
    )


def test_blocks_have_no_seams() -> None:
    """More cells than are summed together."""
    values, affinity = material(40, 45)
    wanted = dense_walk(values, affinity, half_plane(5), 2.0, 2)
    np.testing.assert_allclose(walk(values, affinity, half_plane(5), 2.0, 2), wanted, rtol=2e-5)


def test_limits() -> None:
    values, affinity = material(8, 11)
    offsets = half_plane(5)
    np.testing.assert_array_equal(walk(values, np.zeros_like(affinity), offsets, 10.0, 8), values)
    even = walk(values, np.ones_like(affinity), offsets, 10.0, 12)  # the longest walk over one connected whole
    degree = walk(np.ones_like(values), np.ones_like(affinity), offsets, 1.0, 12)
    np.testing.assert_allclose(even, even.mean((1, 2), keepdims=True) * degree, rtol=1e-3)
    assert walk(values[:0], affinity, offsets, 10.0, 8).shape == (0, 8, 11)


def test_it_stays_on_its_side_of_a_wall() -> None:
    values = np.zeros((1, 10, 12), np.float32)
    values[0, 4, 2] = 1
    offsets = half_plane(5)
    affinity = np.ones((len(offsets), 10, 12), np.float32)
    for p, (_, right) in enumerate(offsets):
        for x in range(12):
            if (x < 6) != (x + right < 6):
                affinity[p, :, x] = 0
    walked = walk(values, affinity, offsets, 10.0, 8)
    assert (walked[0, :, :6] > 0).all()
    assert not walked[0, :, 6:].any()


def test_neither_input_changes() -> None:
    values, affinity = material(7, 9)
    before = values.copy(), affinity.copy()
    walk(values, affinity, half_plane(5), 10.0, 3)
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(affinity, before[1])


def test_memory_grows_with_the_image_not_with_its_square() -> None:
    """An image of 500x1000 has 31,250 cells of 4x4 pixels: the dense matrix alone is 3.9 GB."""
    values, affinity = material(125, 250)
    walk(values[:, :2, :2], affinity[:, :2, :2], half_plane(5), 10.0, 1)  # compiled or loaded before it is measured
    tracemalloc.start()
    walked = walk(values, affinity, half_plane(5), 10.0, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(walked).all()
    assert peak < 20e6


def test_what_does_not_fit_is_refused() -> None:
    values, affinity = material(5, 6)
    with pytest.raises(ValueError, match="do not fit"):
        walk(values, affinity[:3], half_plane(5), 10.0, 8)
    with pytest.raises(ValueError, match="half plane"):
        walk(values, affinity[:1], ((0, -1),), 10.0, 8)
    with pytest.raises(ValueError, match="log2_steps"):
        walk(values, affinity, half_plane(5), 10.0, -1)
