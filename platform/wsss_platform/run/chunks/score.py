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

    maps: Path | None
    """None of masks without maps, which are not swept."""
    masks: Path

    @property
    def _thresholds(self) -> NDArray[np.float32]:
        """The grid of the sweep, with the fixed background among it."""
        from wsss_platform.scores.sweep import grid

        return grid(SWEEP, [self.experiment.masks_config(self.phase).background])

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Count one chunk: the confusion of the masks, and the sweep of the maps where there are any."""
        from wsss_platform.data.palette import mask_file, read_mask
        from wsss_platform.maps.storage import maps_file, read_maps
        from wsss_platform.scores.confusion import confusion
        from wsss_platform.scores.counts import write_confusions, write_sweeps

        fixed, swept = (self.folder / f"{kind}-{chunk.index:06d}.parquet" for kind in ("confusion", "sweep"))
        if self._done(chunk, fixed if self.maps is None else swept):
            return ChunkReport(chunk.index, len(chunk.ids))
        truth = self.experiment.dataset.truth(self.list_name)
        classes, thresholds = len(truth.classes), self._thresholds
        upstream = [self.masks] if self.maps is None else [self.maps, self.masks]
        stored = StoredMaps()
        if self.maps is not None:
            stored.update((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))

        def count(image: str) -> tuple[str, NDArray[np.int64], SweepCells | None]:
            mask, made = truth.mask(image), read_mask(mask_file(self.masks, image))
            item = None if self.maps is None else stored[image]
            height, width = made.shape if item is None else (item.height, item.width)
            if mask.shape != (height, width):
                raise InputError(
                    f"{image}: ground truth of {mask.shape[1]}x{mask.shape[0]}, an image of {width}x{height}",
                    field=image,
                )
            table = confusion(mask, made, classes, image)
            return image, table, None if item is None else sweep_stored(item, mask, thresholds, classes)

        counted, failures = self._each(chunk, count, upstream)
        write_confusions(fixed, truth.classes, [(name, table) for name, table, _ in counted])
        if self.maps is not None:
            cells = [(name, found) for name, _, found in counted if found is not None]
            write_sweeps(swept, truth.classes, thresholds, cells)
        return self._report(chunk, len(counted), failures)
