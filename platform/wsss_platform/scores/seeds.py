"""The interval of a mean over random seeds, from the stored counts of each seed's score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsss_platform.scores.bootstrap import bootstrap_seeds
from wsss_platform.scores.counts import read_confusions
from wsss_platform.scores.sparse import SparseParts


def interval_over_seeds(folders: Sequence[Path]) -> tuple[float, float] | None:
    """Ends of the 95 % interval over images and seeds, 0..1; None where the scores are of different images.

    Args:
        folders: of the scores, one for each seed.
    """
    ids: list[str] | None = None
    parts = []
    for folder in folders:
        listed: list[str] = []
        pieces = []
        for chunk in read_confusions(folder):
            listed += chunk.ids
            pieces.append(SparseParts.of(chunk.parts()))
        if ids is not None and listed != ids:
            return None
        ids = listed
        parts.append(SparseParts.joined(pieces))
    found = bootstrap_seeds(parts)
    return None if np.isnan(found.low) else (found.low, found.high)
