"""Stored maps and saliency against ground truth -> counts per image, at every score floor and saliency cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork, StoredMaps

if TYPE_CHECKING:
    from wsss_platform.config import MasksConfig
    from wsss_platform.scores.saliency import Pairs


@dataclass(frozen=True)
class SaliencyWork(ImageWork):
    """Stored maps and saliency against ground truth -> per-image counts at every score floor and saliency cut."""

    maps: Path

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Count one chunk."""
        from wsss_platform.maps.storage import full_size, maps_file, read_maps
        from wsss_platform.scores.counts import write_saliencies
        from wsss_platform.scores.saliency import SaliencyCells, sweep_saliency

        target = self.folder / f"saliency-{chunk.index:06d}.parquet"
        if self._done(chunk, target):
            return ChunkReport(chunk.index, len(chunk.ids))
        truth = self.experiment.dataset.truth(self.list_name)
        split = self.experiment.dataset.split(self.list_name)
        pairs = saliency_pairs(self.experiment.masks_config(self.phase))
        stored = StoredMaps((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))

        def count(image: str) -> tuple[str, SaliencyCells]:
            item, shown, mask = stored[image], split.saliency(image), truth.mask(image)
            classes = len(truth.classes)
            return image, sweep_saliency(full_size(item), item.classes, shown, mask, pairs, classes, image)

        counted, failures = self._each(chunk, count, [self.maps])
        write_saliencies(target, truth.classes, pairs, counted)
        return self._report(chunk, len(counted), failures)


def saliency_pairs(config: MasksConfig) -> Pairs:
    """Floors 0, 0.02, ... and cuts 0, 10, ..., the config's own among them, at its conflict level."""
    import numpy as np

    from wsss_platform.scores.saliency import Pairs
    from wsss_platform.scores.sweep import grid

    cuts = np.union1d(np.arange(0, 255, 10), [config.saliency_cut]).astype(np.int64)
    return Pairs(grid(50, [config.saliency_floor]), cuts, config.conflict_level)
