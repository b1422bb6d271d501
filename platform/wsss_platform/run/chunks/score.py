"""Stored maps and masks against ground truth -> counts per image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wsss_platform.errors import InputError
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork, StoredMaps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsss_platform.maps.storage import AnyMap
    from wsss_platform.scores.sweep import SweepCells

SWEEP = 200
"""Thresholds of the sweep, 1/SWEEP apart; their number costs nothing."""


def sweep_stored(item: AnyMap, truth: NDArray[np.uint8], thresholds: NDArray[np.float32], classes: int) -> SweepCells:
    """`scores.sweep.sweep_image` of a stored map at full size, by the shorter way where there is one."""
    from wsss_platform.maps.storage import StoredMap, full_size
    from wsss_platform.scores.levels import sweep_levels
    from wsss_platform.scores.sweep import sweep_image

    if isinstance(item, StoredMap) and item.scores.dtype.kind == "u":
        levels = cast("NDArray[np.uint8] | NDArray[np.uint16]", item.scores)
        return sweep_levels(levels, item.classes, truth, thresholds, classes, item.id)
    return sweep_image(full_size(item), item.classes, truth, thresholds, classes, item.id)


@dataclass(frozen=True)
class ScoreWork(ImageWork):
    """Stored maps and masks against ground truth -> per-image counts."""

    maps: Path
    masks: Path

    @property
    def _thresholds(self) -> NDArray[np.float32]:
        """The grid of the sweep, with the fixed background among it."""
        from wsss_platform.scores.sweep import grid

        return grid(SWEEP, [self.experiment.masks_config(self.phase).background])

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Count one chunk: the confusion of the masks, and the sweep of the maps."""
        from wsss_platform.data.palette import mask_file, read_mask
        from wsss_platform.maps.storage import maps_file, read_maps
        from wsss_platform.scores.confusion import confusion
        from wsss_platform.scores.counts import write_confusions, write_sweeps

        last = self.folder / f"sweep-{chunk.index:06d}.parquet"
        if self._done(chunk, last):
            return ChunkReport(chunk.index, len(chunk.ids))
        truth = self.experiment.dataset.truth(self.list_name)
        classes, thresholds = len(truth.classes), self._thresholds
        stored = StoredMaps((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))

        def count(image: str) -> tuple[str, NDArray[np.int64], SweepCells]:
            mask, item = truth.mask(image), stored[image]
            if mask.shape != (item.height, item.width):
                raise InputError(
                    f"{image}: ground truth of {mask.shape[1]}x{mask.shape[0]}, an image of {item.width}x{item.height}",
                    field=image,
                )
            fixed = confusion(mask, read_mask(mask_file(self.masks, image)), classes, image)
            return image, fixed, sweep_stored(item, mask, thresholds, classes)

        counted, failures = self._each(chunk, count, [self.maps, self.masks])
        fixed = self.folder / f"confusion-{chunk.index:06d}.parquet"
        write_confusions(fixed, truth.classes, [(name, table) for name, table, _ in counted])
        write_sweeps(last, truth.classes, thresholds, [(name, cells) for name, _, cells in counted])
        return self._report(chunk, len(counted), failures)
