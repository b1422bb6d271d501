"""Smooth grids as few bytes: differences of neighbours, then one plane of bytes after the other.

What a node lacks of the plane through its upper, left and upper left neighbours is near 0 wherever a map is smooth, and
zstd, which follows, packs such bytes to a few bits. Whole numbers modulo 2^8 or 2^16, so nothing is lost. Ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MIDDLE = 128  # added to 16-bit differences: the upper byte is 0 from -128 to 127


def packed(grids: NDArray[Any]) -> bytes:
    """Grids [K, h, w] of a one- or two-byte type as the differences' lower bytes, then their upper bytes, if any."""
    values = np.ascontiguousarray(grids).view(_unsigned(grids.dtype))
    nothing = values.dtype.type(0)
    differences = np.diff(np.diff(values, axis=2, prepend=nothing), axis=1, prepend=nothing)
    if values.itemsize == 1:
        return differences.tobytes()
    differences += np.uint16(_MIDDLE)
    return (differences & 255).astype(np.uint8).tobytes() + (differences >> 8).astype(np.uint8).tobytes()


def unpacked(content: bytes, kind: np.dtype[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """The grids of that type and shape.

    Raises:
        ValueError: the content is of another size.
    """
    planes = np.frombuffer(content, np.uint8).reshape(kind.itemsize, *shape)
    values = np.empty(shape, _unsigned(kind))
    _add_up(planes, _MIDDLE if kind.itemsize == 2 else 0, values)
    return values.view(kind)


@njit(cache=True, nogil=True)
def _add_up(planes, middle, values):  # type: ignore[no-untyped-def] # pragma: no cover
    """Differences in one or two planes -> values, modulo their type: down all columns at once, then along each row."""
    count, rows, columns = values.shape
    for k in range(count):
        for i in range(rows):
            line, lower = values[k, i], planes[0, k, i]
            for j in range(columns):
                line[j] = lower[j] - middle
            if len(planes) == 2:
                upper = planes[1, k, i]
                for j in range(columns):
                    line[j] += upper[j] << 8
            if i > 0:
                above = values[k, i - 1]
                for j in range(columns):
                    line[j] += above[j]
        for i in range(rows):
            line, total = values[k, i], 0
            for j in range(columns):
                total += line[j]
                line[j] = total


def _unsigned(kind: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"<u{kind.itemsize}")
