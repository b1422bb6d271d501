"""Where a picture's stored grid lies: the picture is padded at the bottom and right, the grid covers the padded one."""

from __future__ import annotations

PADDING = 16
"""The padded picture's height and width are multiples of this many pixels."""
CELL = 4
"""Pixels per cell of the stored grid, in each direction."""


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The picture's size rounded up to multiples of `PADDING`."""
    return -(-height // PADDING) * PADDING, -(-width // PADDING) * PADDING


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the stored grid of a picture."""
    high, wide = padded_size(height, width)
    return high // CELL, wide // CELL
