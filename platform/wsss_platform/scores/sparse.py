"""Counts per image without their zeros: an image has a few of the classes, COCO has 80."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True)
class SparseParts:
    """What `confusion.parts` has of N images, int64 [N, 3, C + 1], as its cells that are not zero."""

    starts: NDArray[np.int64]
    """int64 [N + 1]: where each image's cells begin, and the end."""
    cell: NDArray[np.int32]
    """int32 [R]: below 3 (C + 1), row by row."""
    count: NDArray[np.int64]
    """int64 [R]: pixels."""
    side: int
    """C + 1."""

    @classmethod
    def of(cls, parts: NDArray[np.int64]) -> Self:
        """From int64 [N, 3, C + 1]."""
        flat = parts.reshape(len(parts), 3 * parts.shape[2])  # there may be no image
        image, cell = np.nonzero(flat)
        ends = np.cumsum(np.bincount(image, minlength=len(flat)))
        return cls(np.append(0, ends), cell.astype(np.int32), flat[image, cell], parts.shape[2])

    @classmethod
    def joined(cls, pieces: Sequence[SparseParts]) -> Self:
        """The images of all pieces in their order; all of the same classes."""
        lengths = np.concatenate([np.diff(piece.starts) for piece in pieces])
        cell, count = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("cell", "count"))
        return cls(np.append(0, np.cumsum(lengths)), cell, count, pieces[0].side)

    def __len__(self) -> int:
        """Images."""
        return len(self.starts) - 1

    def dense(self) -> NDArray[np.int64]:
        """int64 [N, 3, C + 1]: 160 MB for a split of COCO."""
        result = np.zeros((len(self), 3 * self.side), np.int64)
        result[np.repeat(np.arange(len(self)), np.diff(self.starts)), self.cell] = self.count
        return result.reshape(-1, 3, self.side)

    def weighted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over images, each times its weight: [r, N] -> [r, 3, C + 1]; exact for whole numbers below 2^53."""
        sums: NDArray[np.float64] = _sums(weights, self.starts, self.cell, self.count, 3 * self.side)
        return sums.reshape(-1, 3, self.side)


@njit(cache=True, nogil=True)
def _sums(weights, starts, cell, count, cells):  # type: ignore[no-untyped-def] # pragma: no cover
    result = np.zeros((len(weights), cells))
    for row in range(len(weights)):
        for image in range(len(starts) - 1):
            weight = weights[row, image]
            if weight == 0:
                continue
            for place in range(starts[image], starts[image + 1]):
                result[row, cell[place]] += weight * count[place]
    return result
