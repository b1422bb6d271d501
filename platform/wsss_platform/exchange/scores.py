"""What is known of each exported mask, as Parquet: one row per image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsss_platform.data.split import IGNORE
from wsss_platform.scores.confusion import iou_of_parts, mean_iou_of_parts
from wsss_platform.scores.score import Score
from wsss_platform.store.artefacts import write_atomic


@dataclass(frozen=True)
class MaskRow:
    """One mask in numbers."""

    id: str
    height: int
    width: int
    undecided: int
    """Pixels of value 255."""
    values: tuple[int, ...]
    """Foreground values in it (class + 1), ascending."""

    @classmethod
    def of(cls, id: str, mask: NDArray[np.uint8]) -> MaskRow:
        """The row of a mask uint8 [H, W]."""
        counts = np.bincount(mask.ravel(), minlength=256)
        present = tuple(int(value) for value in np.flatnonzero(counts) if value not in (0, IGNORE))
        return cls(id, mask.shape[0], mask.shape[1], int(counts[IGNORE]), present)


def write_scores(path: Path, rows: Sequence[MaskRow], classes: Sequence[str], score: Score | None) -> None:
    """Write id, height, width, undecided and classes of each mask; with a score also mean_iou and the IoUs by class.

    IoUs are those of one image, 0..1, null where the class is in neither mask nor ground truth and
    in images that were not scored; 255 in a mask counts as
    background, as everywhere in the scores. Their mean over images is not the score of the set.
    """
    columns: dict[str, pa.Array] = {
        "id": pa.array([row.id for row in rows], pa.string()),
        "height": pa.array([row.height for row in rows], pa.int32()),
        "width": pa.array([row.width for row in rows], pa.int32()),
        "undecided": pa.array([row.undecided for row in rows], pa.int64()),
        "classes": pa.array([[classes[value - 1] for value in row.values] for row in rows], pa.list_(pa.string())),
    }
    if score is not None:
        place = {name: index for index, name in enumerate(score.ids)}
        parts = np.zeros((len(rows), *score.parts.shape[1:]), np.int64)  # an image without a score counts nothing
        for number, row in enumerate(rows):
            if row.id in place:
                parts[number] = score.parts[place[row.id]]
        means, each = mean_iou_of_parts(parts), iou_of_parts(parts)
        columns["mean_iou"] = _numbers(means)
        columns |= _by_class(each, ("background", *classes))
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def _by_class(values: NDArray[np.float64], names: Sequence[str]) -> Mapping[str, pa.Array]:
    return {f"iou {name}": _numbers(values[:, place]) for place, name in enumerate(names)}


def _numbers(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)  # nan becomes null
