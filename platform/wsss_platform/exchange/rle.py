"""COCO's compressed run-length encoding, written without pycocotools (its maskApi.c is the source [code]).

Runs go down the columns and begin with one of zeros. From the third run on, the difference to the one two before is
written; each number in groups of five bits, lowest first, as one character from "0" on; the sixth bit says "more".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_GROUPS = 7  # of five bits, for numbers below 2^31 with a sign


def runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths of the runs of a mask bool [H, W], down the columns; the first is of zeros and may be 0."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], edges, [len(flat)]])
    lengths = np.diff(starts)
    return np.concatenate([[0], lengths]) if flat[0] else lengths


def compressed(lengths: NDArray[np.int64]) -> str:
    """The `counts` string of run lengths."""
    rest = lengths.astype(np.int64)
    rest[3:] -= lengths[1:-2]
    groups = np.zeros((len(rest), _MOST_GROUPS), np.uint8)
    written = np.zeros(groups.shape, bool)
    active = np.ones(len(rest), bool)
    for place in range(_MOST_GROUPS):
        group = rest & 31
        rest = rest >> 5
        more = np.where(group & 16, rest != -1, rest != 0)
        groups[:, place] = group + 32 * more + 48
        written[:, place] = active
        active = active & more
    return groups[written].tobytes().decode("ascii")
