"""Weights and images -> stored maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from wsss_platform.nets.cpu.memory import give_back_freed_memory, keep_freed_memory
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork, StoredMaps

if TYPE_CHECKING:
    from wsss_platform.maps.extract import Extractor
    from wsss_platform.maps.refine import Refiner
    from wsss_platform.method.module import TrainingModule


@dataclass(frozen=True)
class MapsWork(ImageWork):
    """Weights and images (and stored maps, for a phase that refines) -> stored maps, one Parquet file per chunk."""

    uses_gpu: ClassVar[bool] = True
    """The runner gives its processes a share of a GPU, when there is any."""
    weights: Path
    maps: Path | None = None
    """Maps of the same split that the phase refines."""

    def _module(self) -> TrainingModule:
        from wsss_platform.train.checkpoint import trained_network

        keep_freed_memory()
        return trained_network(self.phase, self.experiment.config, len(self.experiment.dataset.classes), self.weights)

    @cached_property
    def _extractor(self) -> Extractor:
        import torch

        from wsss_platform.maps.extract import Extractor

        return Extractor(
            self._module(),
            self.experiment.maps_config(self.phase),
            self.experiment.config.backbone.output_stride,
            torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        )

    @cached_property
    def _refiner(self) -> Refiner:
        import torch

        from wsss_platform.maps.refine import Refiner

        return Refiner(self._module(), "cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Make and write the maps of one chunk."""
        from wsss_platform.maps.storage import maps_file, read_maps, write_maps

        target = maps_file(self.folder, chunk.index)
        if self._done(chunk, target):
            return ChunkReport(chunk.index, len(chunk.ids))
        split = self.experiment.dataset.split(self.list_name)
        if self.maps is None:
            maps, failures = self._each(chunk, lambda image: self._extractor(split.read(image)))
        else:
            stored = StoredMaps((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))
            refine = self._refiner
            maps, failures = self._each(chunk, lambda image: refine(split.read(image), stored[image]), [self.maps])
        write_maps(target, maps)
        give_back_freed_memory()
        return self._report(chunk, len(maps), failures)
