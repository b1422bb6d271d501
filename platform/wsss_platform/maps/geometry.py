"""Where an image's stored grid lies, and the grid of nodes that comes nearest to a map.

The grid has a node at every `CELL` pixels from the image's upper left corner on, at 0, 4, 8, ... where a pixel's
centre is at its number + 0.5, and a last one at or beyond the image's end. A network's outputs of stride 8, 16
or 32 have their own bilinear knots (the centres of their cells: 4, 12, ...; 8, 24, ...; 16, 48, ...) on nodes, so their
sum is piecewise bilinear between nodes and nothing of it is lost; only knots elsewhere (scale 1.5) are approximated.
Ours.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PADDING = 16
"""A network sees the image padded at the bottom and right to a multiple of this many pixels."""
CELL = 4
"""Pixels from node to node, in each direction."""


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The image's size rounded up to multiples of `PADDING`."""
    return -(-height // PADDING) * PADDING, -(-width // PADDING) * PADDING


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of nodes of an image's stored grid."""
    return -(-height // CELL) + 1, -(-width // CELL) + 1


def nodes_of(maps: NDArray[np.float32], covered: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """The nodes that, interpolated, come nearest to maps which are interpolated themselves.

    Args:
        maps: float32 [..., h, w]; bilinear with half-pixel centres (align_corners False), flat beyond its edges.
        covered: height and width in pixels that the maps lie over, from the image's upper left corner on.
        size: height and width of the image.

    Returns:
        float32 [..., rows, columns] of `grid_size(*size)`; may leave the maps' range a little where these are rough.
    """
    down, across = (
        node_weights(found, over, pixels) for found, over, pixels in zip(maps.shape[-2:], covered, size, strict=True)
    )
    return np.asarray(down @ maps @ across.T, np.float32)


@lru_cache(maxsize=128)
def node_weights(found: int, covered: int, pixels: int) -> NDArray[np.float32]:
    """`nodes_of` along one axis: float32 [nodes, found], each node's weights of the values.

    Least squares over the pixels of all cells, of which the last may reach beyond the image: exact wherever nodes can
    show the map at all.
    """
    cells = -(-pixels // CELL)
    centres = np.arange(CELL * cells) + 0.5
    shown = _bilinear(centres / CELL, cells + 1)
    wanted = _bilinear(centres * found / covered - 0.5, found)
    weights = np.linalg.solve(shown.T @ shown, shown.T @ wanted).astype(np.float32)
    weights.setflags(write=False)
    return weights


def _bilinear(places: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """float64 [P, count]: the weights of `count` values at 0, 1, ... read at places; the outer ones repeat."""
    places = places.clip(0, count - 1)
    first = np.minimum(places.astype(np.int64), max(count - 2, 0))
    weights = np.zeros((len(places), count))
    line = np.arange(len(places))
    weights[line, first] = 1 - (places - first)
    weights[line, np.minimum(first + 1, count - 1)] += places - first
    return weights
