"""Permutohedral lattices (Adams, Baek and Davis 2010): a Gaussian of high dimension as splat, blur and slice.

The geometry is pydensecrf's (Krähenbühl's permutohedral.cpp), in float32 and in its order of operations, so that every
pixel falls into the same simplex. What is done otherwise: a point is one 64-bit number, whose neighbours lie at fixed
differences; a simplex is a cycle of neighbours, so that most points are found by following known links instead of
hashing; and along each axis the points are kept as chains, which are blurred in place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Lattice(NamedTuple):
    """Where each of N pixels lies among M lattice points, for d dimensions."""

    points: NDArray[np.int32]
    """int32 [N, d + 1]: the corners of the pixel's simplex."""
    weights: NDArray[np.float32]
    """float32 [N, d + 1]: barycentric coordinates, sum 1; after `normalised` times the pixel's factor."""
    chains: NDArray[np.int32]
    """int32: runs of neighbours along axis 0, then axis 1, ...; the last of each run as its complement (~point)."""
    starts: NDArray[np.int64]
    """int64 [d + 2]: where each axis begins in `chains`."""
    size: int
    """M."""


def spatial(height: int, width: int, position: float) -> Lattice:
    """The lattice of pixel positions, widths in pixels: pydensecrf's addPairwiseGaussian."""
    empty = np.zeros((height, width, 0), np.uint8)
    return _lattice(empty, position, 1.0)


def bilateral(image: NDArray[np.uint8], position: float, colour: float) -> Lattice:
    """The lattice of positions and colours of an RGB image uint8 [H, W, 3]: pydensecrf's addPairwiseBilateral.

    Args:
        image: RGB.
        position: width in pixels.
        colour: width in levels of 255.
    """
    return _lattice(np.ascontiguousarray(image), position, colour)


def _lattice(image: NDArray[np.uint8], position: float, colour: float) -> Lattice:
    if not (position > 0 and colour > 0):
        raise ValueError(f"kernel widths must be above 0, got {position} and {colour}")
    height, width, colours = image.shape
    dimensions = 2 + colours
    columns = np.arange(width, dtype=np.float32) / np.float32(position)
    rows = np.arange(height, dtype=np.float32) / np.float32(position)
    levels = np.arange(256, dtype=np.float32) / np.float32(colour)
    lows, strides = _radix([float(columns[-1]), float(rows[-1])] + [float(levels[-1])] * colours)
    points, weights, chains, starts, size = _build(image, columns, rows, levels, scale(dimensions), lows, strides)
    return Lattice(points, weights, chains, starts, size)


def scale(dimensions: int) -> NDArray[np.float32]:
    """What each feature is multiplied by before elevation: float32 [d]; the blur then has variance one."""
    deviation = np.float32(np.sqrt(2 / 3) * (dimensions + 1))
    steps = np.arange(dimensions, dtype=np.float64)
    return (1 / np.sqrt((steps + 2) * (steps + 1)) * deviation).astype(np.float32)


def _radix(highest: list[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest value and stride of each coordinate, so that a point and all its neighbours are distinct numbers."""
    dimensions = len(highest)
    reach = [float(factor) * high for factor, high in zip(scale(dimensions), highest, strict=True)]
    lows, spans = [], []
    for j in range(dimensions):
        low = -j * reach[j - 1] if j else 0.0
        margin = 3 * (dimensions + 1)
        lows.append(int(np.floor(low)) - margin)
        spans.append(int(np.ceil(sum(reach[j:]) - low)) + 2 * margin)
    strides = [int(np.prod([float(span) for span in spans[j + 1 :]])) for j in range(dimensions)]
    if strides[0] * spans[0] >= 2**62:
        raise ValueError("kernel widths are too small for an image of this size: its lattice has too many places")
    return np.array(lows, np.int64), np.array(strides, np.int64)


@njit(cache=True, nogil=True)
def _slot(key, mask):  # type: ignore[no-untyped-def] # pragma: no cover
    """Where to search first: the top bits of a product mix all bits of the key (Knuth's multiplicative hashing)."""
    return ((key * np.int64(-7046029254386353131)) >> np.int64(29)) & mask


@njit(cache=True, nogil=True)
def _find(table, mask, key):  # type: ignore[no-untyped-def] # pragma: no cover
    """The point with this key, or -1."""
    slot = _slot(key, mask)
    while table[slot, 1] >= 0:
        if table[slot, 0] == key:
            return table[slot, 1]
        slot = (slot + 1) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True)
def _grown(keys, links, table, size):  # type: ignore[no-untyped-def] # pragma: no cover
    """Room for twice as many points. Loops, because numba takes seconds to compile slices and fills."""
    more = np.empty(2 * len(keys), np.int64)
    wider = np.empty((2 * len(links), links.shape[1]), np.int32)
    larger = np.empty((2 * len(table), 2), np.int64)
    for point in range(size):
        more[point] = keys[point]
        for along in range(links.shape[1]):
            wider[point, along] = links[point, along]
    for slot in range(len(larger)):
        larger[slot, 1] = -1
    mask = np.int64(len(larger) - 1)
    for point in range(size):
        slot = _slot(keys[point], mask)
        while larger[slot, 1] >= 0:
            slot = (slot + 1) & mask
        larger[slot, 0] = keys[point]
        larger[slot, 1] = point
    return more, wider, larger


@njit(cache=True, nogil=True)
def _enclose(pixels, columns, row, levels, factors, lows, strides, keys, axes, weights):  # type: ignore[no-untyped-def] # pragma: no cover
    """Find the simplexes of a row of pixels [W, d - 2]: the key of the first corner, the axis of each rank, weights.

    Fills keys [W], axes [W, d + 1] and weights [W, d + 1]. A row at once, because a call for each pixel costs time.
    """
    D = len(strides)
    elevated = np.empty(D + 1, np.float32)
    base = np.empty(D + 1, np.float32)
    rank = np.empty(D + 1, np.int64)
    share = np.empty(D + 2, np.float32)
    feature = np.empty(D, np.float32)
    inverse, side = np.float32(1) / np.float32(D + 1), np.float32(D + 1)
    for x in range(len(pixels)):
        feature[0] = columns[x]
        feature[1] = row
        for j in range(2, D):
            feature[j] = levels[pixels[x, j - 2]]
        total = np.float32(0)
        for j in range(D, 0, -1):
            value = feature[j - 1] * factors[j - 1]
            elevated[j] = total - np.float32(j) * value
            total += value
        elevated[0] = total
        off = np.int64(0)  # by how much the rounded place misses the plane
        for j in range(D + 1):
            rounded = np.rint(elevated[j] * inverse)
            base[j] = rounded * side
            off += np.int64(rounded)
            rank[j] = 0
        for i in range(D):
            low = elevated[i] - base[i]
            for j in range(i + 1, D + 1):
                less = np.int64(low < elevated[j] - base[j])
                rank[i] += less
                rank[j] += 1 - less
        for j in range(D + 1):
            rank[j] += off
            if rank[j] < 0:
                rank[j] += D + 1
                base[j] += side
            elif rank[j] > D:
                rank[j] -= D + 1
                base[j] -= side
        for j in range(D + 2):
            share[j] = 0
        key = np.int64(0)
        for j in range(D + 1):
            value = (elevated[j] - base[j]) * inverse
            share[D - rank[j]] += value
            share[D + 1 - rank[j]] -= value
            axes[x, rank[j]] = j
            if j < D:
                key += (np.int64(base[j]) - lows[j]) * strides[j]
        share[0] += np.float32(1) + share[D + 1]
        keys[x] = key
        for corner in range(D + 1):
            weights[x, corner] = share[corner]


@njit(cache=True, nogil=True)
def _build(image, columns, rows, levels, factors, lows, strides):  # type: ignore[no-untyped-def] # pragma: no cover
    D = len(strides)
    height, width = image.shape[:2]
    places = np.empty((height * width, D + 1), np.int32)
    weights = np.empty((height * width, D + 1), np.float32)
    capacity = 1 << 15
    keys = np.empty(capacity, np.int64)
    links = np.empty((capacity, D + 1), np.int32)  # the neighbour in each direction, as far as it is known, or -1
    table = np.empty((4 * capacity, 2), np.int64)  # key and point, or -1
    for slot in range(len(table)):
        table[slot, 1] = -1
    mask = np.int64(len(table) - 1)
    size = 0
    ahead = np.empty(D + 1, np.int64)  # difference of keys to the neighbour along an axis
    for j in range(D + 1):
        ahead[j] = strides.sum() - (0 if j == D else (D + 1) * strides[j])
    lowest = np.empty(width, np.int64)  # key of each pixel's first corner
    axes = np.empty((width, D + 1), np.int64)
    last_key, last_point = np.int64(-1), np.int64(-1)
    for y in range(height):
        shares = weights[y * width : (y + 1) * width]
        _enclose(image[y], columns, rows[y], levels, factors, lows, strides, lowest, axes, shares)
        for x in range(width):
            key = lowest[x]
            if 2 * (size + D + 1) > len(keys):
                keys, links, table = _grown(keys, links, table, size)
                mask = np.int64(len(table) - 1)
            pixel = y * width + x
            before = np.int64(-1)
            first = last_point if key == last_key else np.int64(-1)
            last_key = key
            for corner in range(D + 1):  # corner r + 1 is the neighbour of r along the axis of rank D - r
                along = axes[x, D + 1 - corner] if corner else 0
                point = first if corner == 0 else np.int64(links[before, along])
                if point < 0:
                    slot = _slot(key, mask)
                    while table[slot, 1] >= 0 and table[slot, 0] != key:
                        slot = (slot + 1) & mask
                    if table[slot, 1] < 0:
                        table[slot, 0] = key
                        table[slot, 1] = size
                        keys[size] = key
                        for j in range(D + 1):
                            links[size, j] = -1
                        size += 1
                    point = table[slot, 1]
                    if corner:
                        links[before, along] = point
                if corner == 0:
                    last_point = point
                places[pixel, corner] = point
                before = point
                key += ahead[axes[x, D - corner]]
            links[before, axes[x, 0]] = last_point
    _link(keys, links, table, mask, ahead, size)
    chains, starts = _chains(links, size)
    return places, weights, chains, starts, size


@njit(cache=True, nogil=True)
def _link(keys, links, table, mask, ahead, size):  # type: ignore[no-untyped-def] # pragma: no cover
    """Complete the links between points that share no simplex."""
    for point in range(size):
        for along in range(len(ahead)):
            if links[point, along] < 0:
                links[point, along] = _find(table, mask, keys[point] + ahead[along])


@njit(cache=True, nogil=True)
def _chains(links, size):  # type: ignore[no-untyped-def] # pragma: no cover
    """Runs of linked points along each axis. A point without neighbours is in none: the blur leaves it alone."""
    axes = links.shape[1]
    reached = np.zeros(size, np.uint8)
    count = 0
    for point in range(size):
        for along in range(axes):
            if links[point, along] >= 0:
                reached[links[point, along]] |= 1 << along
                count += 1
    chains = np.empty(2 * count, np.int32)
    starts = np.zeros(axes + 1, np.int64)
    end = 0
    for along in range(axes):
        for first in range(size):
            if links[first, along] >= 0 and not (reached[first] >> along) & 1:
                point = first
                while links[point, along] >= 0:
                    chains[end] = point
                    end += 1
                    point = links[point, along]
                chains[end] = ~point
                end += 1
        starts[along + 1] = end
    return chains[:end], starts
