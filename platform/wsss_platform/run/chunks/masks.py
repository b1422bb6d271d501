"""Stored maps -> pseudo masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork, StoredMaps
from wsss_platform.store.artefacts import write_atomic


@dataclass(frozen=True)
class MasksWork(ImageWork):
    """Stored maps (and images, for the CRF, or saliency, for its rule) -> palette PNG masks."""

    maps: Path

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Make and write the masks of one chunk."""
        from wsss_platform.data.palette import mask_file, write_mask
        from wsss_platform.maps.storage import maps_file, read_maps
        from wsss_platform.masks.make import make_mask

        done = self.folder / f"chunk-{chunk.index:06d}.done"
        if self._done(chunk, done):
            return ChunkReport(chunk.index, len(chunk.ids))
        config = self.experiment.masks_config(self.phase)
        split = self.experiment.dataset.split(self.list_name)
        stored = StoredMaps((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))
        (self.folder / "masks").mkdir(exist_ok=True)

        def make(name: str) -> None:
            image = None if config.crf == "none" else split.read(name).image
            saliency = split.saliency(name) if config.rule == "saliency" else None
            write_mask(mask_file(self.folder, name), make_mask(stored[name], image, config, saliency))

        made, failures = self._each(chunk, make, [self.maps])
        write_atomic(done, "")
        return self._report(chunk, len(made), failures)
