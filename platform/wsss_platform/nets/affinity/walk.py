"""Random walks over affinities between neighbouring cells, without the matrix over all pairs of cells.

PSA and IRN raise the affinities to a power, divide each column of the matrix by its sum and square the matrix a few
times (psa infer_aff.py; irn misc/indexing.py, `propagate_to_edge` [code]). Squared s times it is 2^s steps of a
walk, and a step needs only the cells within the radius: memory grows with the image, not with its square. The sums
are the same up to the rounding of float32. Released for images up to 512 pixels; here of any size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

Offset = tuple[int, int]
"""(rows down, columns right) from a cell to its neighbour; of each pair of opposite offsets only one is listed."""
_BLOCK = 1024  # cells whose sums are made together: their rows of all classes fit the first cache


def half_plane(radius: int) -> tuple[Offset, ...]:
    """The offsets with 0 < length < radius to the right in the same row, or in a row below, in PSA's order [code]."""
    right = tuple((0, x) for x in range(1, radius))
    square = [(y, x) for y in range(1, radius) for x in range(1 - radius, radius)]
    return right + tuple((y, x) for y, x in square if x * x + y * y < radius * radius)


def walk(
    values: NDArray[np.float32],
    affinity: NDArray[np.float32],
    offsets: Sequence[Offset],
    beta: float,
    log2_steps: int,
) -> NDArray[np.float32]:
    """Values after 2^log2_steps steps x -> x T of a walk, with T[i, j] = A[i, j]^beta / sum over i of A[i, j]^beta.

    A is symmetric, 1 on its diagonal and 0 between cells that are no neighbours or outside of the grid.

    Args:
        values: float32 [K, h, w].
        affinity: float32 [P, h, w] in 0..1, between each cell and the one at `offsets[p]` from it. What leads out of
            the grid is not read.
        offsets: P different ones of a half plane, rows not negative; see `half_plane`.
        beta: exponent of the affinities, above 0.
        log2_steps: how often the released code squares its matrix, at least 0.

    Returns:
        float32 [K, h, w].

    Raises:
        ValueError: shapes or offsets that do not fit each other.
    """
    if affinity.shape != (len(offsets), *values.shape[1:]) or values.ndim != 3:
        raise ValueError(f"{len(offsets)} offsets, affinities {affinity.shape} and values {values.shape} do not fit")
    if any((down, right) <= (0, 0) for down, right in offsets) or log2_steps < 0:
        raise ValueError("offsets must lie in the half plane below, and log2_steps must not be negative")
    count, height, width = values.shape
    reach = max((max(down, abs(right)) for down, right in offsets), default=0)
    inside = (slice(None), slice(reach, reach + height), slice(reach, reach + width))
    weights = _weights(affinity, offsets, beta, reach)
    wide = width + 2 * reach
    shifts = np.array([down * wide + right for down, right in offsets], np.int64)
    edge = reach * wide + reach

    def padded(inner: NDArray[np.float32] | float, planes: int) -> NDArray[np.float32]:
        outer = np.zeros((planes, height + 2 * reach, wide), np.float32)
        outer[inside] = inner
        return outer

    ones = padded(1, 1)
    degree = np.zeros_like(ones)
    _step(_flat(ones), weights, shifts, edge, _flat(ones)[0], _flat(degree))
    inverse = padded(np.reciprocal(degree[inside]), 1)
    here, there = padded(values, count), np.zeros((count, *ones.shape[1:]), np.float32)
    for _ in range(2**log2_steps):
        _step(_flat(here), weights, shifts, edge, _flat(inverse)[0], _flat(there))
        here, there = there, here
    return np.ascontiguousarray(here[inside])


def _weights(affinity: NDArray[np.float32], offsets: Sequence[Offset], beta: float, reach: int) -> NDArray[np.float32]:
    """float32 [P, padded cells]: A^beta, 0 where a pair leads out of the grid."""
    count, height, width = affinity.shape
    weights = np.zeros((count, height + 2 * reach, width + 2 * reach), np.float32)
    for plane, own, (down, right) in zip(weights, affinity, offsets, strict=True):
        rows, columns = slice(0, max(0, height - down)), slice(max(0, -right), max(0, width - max(0, right)))
        pairs = own[rows, columns]
        top, left = reach, reach + max(0, -right)
        plane[top : top + pairs.shape[0], left : left + pairs.shape[1]] = pairs ** np.float32(beta)
    return _flat(weights)


def _flat(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    return planes.reshape(len(planes), planes.shape[1] * planes.shape[2])


@njit(cache=True, nogil=True)
def _step(source, weights, shifts, edge, scale, target):  # type: ignore[no-untyped-def] # pragma: no cover
    """target[j] = scale[j] * sum over i of source[i] A^beta[i, j]; planes are flat, a neighbour is a shift away.

    The padding is 0 in source and weights, so that rows need no ends and the loops are long and without conditions.
    """
    count, total = source.shape
    for start in range(edge, total - edge, _BLOCK):
        stop = min(start + _BLOCK, total - edge)
        size = stop - start
        for k in range(count):
            target[k, start:stop] = source[k, start:stop]
        for p in range(len(shifts)):
            shift = shifts[p]
            onward, back = weights[p, start:stop], weights[p, start - shift : stop - shift]
            for k in range(count):
                sums = target[k, start:stop]
                after = source[k, start + shift : stop + shift]
                before = source[k, start - shift : stop - shift]
                for i in range(size):
                    sums[i] += onward[i] * after[i] + back[i] * before[i]
        for k in range(count):
            sums = target[k, start:stop]
            for i in range(size):
                sums[i] *= scale[start + i]
