"""The chunk work of the stages after training: maps, masks, score. No Ray here.

Each class is picklable, builds its network or readers on the first chunk and keeps them, writes one
output per chunk under a temporary name, and returns at once when that output exists. The same object runs
in one process or in many actors and leaves the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.method import Phase
from wsss_platform.stages import Chunk, ChunkReport
from wsss_platform.store import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsss_platform.maps.extract import Extractor
    from wsss_platform.maps.refine import Refiner
    from wsss_platform.objective import Objective

SWEEP = 200
"""Thresholds of the sweep, 1/SWEEP apart; their number costs nothing."""
CHUNK = 32
"""Pictures per chunk: small enough to share out, large enough that a chunk file compresses well."""

Result = TypeVar("Result")


def chunks_of(ids: Iterable[str]) -> list[Chunk]:
    """Ids cut into chunks, independent of how many workers there are."""
    listed = list(ids)
    return [Chunk(start // CHUNK, tuple(listed[start : start + CHUNK])) for start in range(0, len(listed), CHUNK)]


def _each(ids: Iterable[str], make: Callable[[str], Result]) -> tuple[list[Result], list[tuple[str, str]]]:
    """Results of the pictures that worked, and (id, reason) of those whose input is bad."""
    results, failures = [], []
    for picture in ids:
        try:
            results.append(make(picture))
        except InputError as error:
            failures.append((picture, str(error)))
    return results, failures


@dataclass(frozen=True)
class MapsWork:
    """Weights and pictures (and stored maps, for a phase that refines) -> stored maps, one Parquet file per chunk."""

    uses_gpu: ClassVar[bool] = True
    """The runner gives its processes a share of a GPU, when there is any."""
    experiment: Experiment
    phase: Phase
    list_name: str
    weights: Path
    folder: Path
    maps: Path | None = None
    """Maps of the same list that the phase refines."""

    def _objective(self) -> Objective:
        from wsss_platform.train.checkpoint import load_weights

        objective = self.phase.build(self.experiment.config, len(self.experiment.dataset.classes))
        load_weights(objective, self.weights)
        return objective

    @cached_property
    def _extractor(self) -> Extractor:
        import torch

        from wsss_platform.maps.extract import Extractor

        return Extractor(
            self._objective(),
            self.experiment.maps_config(self.phase),
            self.experiment.config.backbone.output_stride,
            torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        )

    @cached_property
    def _refiner(self) -> Refiner:
        import torch

        from wsss_platform.maps.refine import Refiner

        return Refiner(self._objective(), "cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Make and write the maps of one chunk."""
        from wsss_platform.maps.storage import maps_file, read_maps, write_maps

        target = maps_file(self.folder, chunk.index)
        if target.exists():
            return ChunkReport(chunk.index, len(chunk.ids))
        split = self.experiment.dataset.split(self.list_name)
        if self.maps is None:
            maps, failures = _each(chunk.ids, lambda picture: self._extractor(split.read(picture)))
        else:
            stored = {item.id: item for item in read_maps(maps_file(self.maps, chunk.index))}
            maps, failures = _each(chunk.ids, lambda picture: self._refiner(split.read(picture), stored[picture]))
        if not failures:
            write_maps(target, maps)
        return ChunkReport(chunk.index, len(maps), tuple(failures))


@dataclass(frozen=True)
class MasksWork:
    """Stored maps (and pictures, for the CRF, or saliency, for its rule) -> palette PNG masks."""

    experiment: Experiment
    phase: Phase
    list_name: str
    maps: Path
    folder: Path

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Make and write the masks of one chunk."""
        from wsss_platform.maps.storage import maps_file, read_maps
        from wsss_platform.masks.make import make_mask
        from wsss_platform.masks.palette import mask_file, write_mask

        done = self.folder / f"chunk-{chunk.index:06d}.done"
        if done.exists():
            return ChunkReport(chunk.index, len(chunk.ids))
        config = self.experiment.masks_config(self.phase)
        split = self.experiment.dataset.split(self.list_name)
        stored = {item.id: item for item in read_maps(maps_file(self.maps, chunk.index))}
        (self.folder / "masks").mkdir(exist_ok=True)

        def make(picture: str) -> None:
            image = None if config.crf == "none" else split.read(picture).image
            saliency = split.saliency(picture) if config.rule == "saliency" else None
            write_mask(mask_file(self.folder, picture), make_mask(stored[picture], image, config, saliency))

        made, failures = _each(chunk.ids, make)
        if not failures:
            write_atomic(done, "")
        return ChunkReport(chunk.index, len(made), tuple(failures))


@dataclass(frozen=True)
class ScoreWork:
    """Stored maps and masks against pixel truth -> per-picture counts."""

    experiment: Experiment
    phase: Phase
    list_name: str
    maps: Path
    masks: Path
    folder: Path

    @property
    def _thresholds(self) -> NDArray[np.float32]:
        """The grid of the sweep, with the fixed background among it."""
        from wsss_platform.metrics.sweep import grid

        return grid(SWEEP, [self.experiment.masks_config(self.phase).background])

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Count one chunk: the confusion of the masks, and the sweep of the maps."""
        from wsss_platform.maps.storage import full_size, maps_file, read_maps
        from wsss_platform.masks.palette import mask_file, read_mask
        from wsss_platform.metrics.confusion import confusion
        from wsss_platform.metrics.counts import write_confusions, write_sweeps
        from wsss_platform.metrics.sweep import SweepCells, sweep_picture

        last = self.folder / f"sweep-{chunk.index:06d}.parquet"
        if last.exists():
            return ChunkReport(chunk.index, len(chunk.ids))
        truth = self.experiment.dataset.truth(self.list_name)
        classes, thresholds = len(truth.classes), self._thresholds
        stored = {item.id: item for item in read_maps(maps_file(self.maps, chunk.index))}

        def count(picture: str) -> tuple[str, NDArray[np.int64], SweepCells]:
            mask, item = truth.mask(picture), stored[picture]
            if mask.shape != (item.height, item.width):
                raise InputError(
                    f"{picture}: its true mask is {mask.shape[1]}x{mask.shape[0]}, "
                    f"its picture {item.width}x{item.height}"
                )
            fixed = confusion(mask, read_mask(mask_file(self.masks, picture)), classes, picture)
            cells = sweep_picture(full_size(item), item.classes, mask, thresholds, classes, picture)
            return picture, fixed, cells

        counted, failures = _each(chunk.ids, count)
        if not failures:
            fixed = self.folder / f"confusion-{chunk.index:06d}.parquet"
            write_confusions(fixed, truth.classes, [(name, table) for name, table, _ in counted])
            write_sweeps(last, truth.classes, thresholds, [(name, cells) for name, _, cells in counted])
        return ChunkReport(chunk.index, len(counted), tuple(failures))
