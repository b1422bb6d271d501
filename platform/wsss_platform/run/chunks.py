"""The chunk work of the stages after training: maps, masks, score. No Ray here.

Each class is picklable, builds its network or readers on the first chunk and keeps them, writes one
output per chunk under a temporary name, and returns at once when that output exists. The same object runs
in one process or in many actors and leaves the same bytes.

In a stage's folder, beside its output, per chunk: `failures-NNNNNN.json` when pictures of it failed ([[id,
reason], ...]; such a chunk is made again by the next run), and `at-NNNNNN` while it is worked on (the id of the
picture; what is left when the process dies).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

import cv2

from wsss_platform.errors import InputError, RunError
from wsss_platform.method import Phase
from wsss_platform.nets.cpu.memory import give_back_freed_memory, keep_freed_memory
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.store.artefacts import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsss_platform.config import MasksConfig
    from wsss_platform.maps.extract import Extractor
    from wsss_platform.maps.refine import Refiner
    from wsss_platform.maps.storage import AnyMap
    from wsss_platform.method.objective import Objective
    from wsss_platform.scores.saliency import Pairs
    from wsss_platform.scores.sweep import SweepCells

SWEEP = 200
"""Thresholds of the sweep, 1/SWEEP apart; their number costs nothing."""
CHUNK = 32
"""Pictures per chunk: small enough to share out, large enough that a chunk file compresses well."""

_OF_A_PICTURE = (MemoryError, cv2.error)
"""What a huge or strange picture raises in the libraries; other exceptions are faults of the program."""

Result = TypeVar("Result")


def chunks_of(ids: Iterable[str]) -> list[Chunk]:
    """Ids cut into chunks, independent of how many workers there are."""
    listed = list(ids)
    return [Chunk(start // CHUNK, tuple(listed[start : start + CHUNK])) for start in range(0, len(listed), CHUNK)]


def failures_file(folder: Path, index: int) -> Path:
    """Where a stage's folder keeps the failures of chunk number `index`."""
    return folder / f"failures-{index:06d}.json"


def read_failures(folder: Path, index: int) -> list[tuple[str, str]]:
    """(picture id, reason) of a chunk's failures; empty when there were none."""
    try:
        return [(name, reason) for name, reason in json.loads(failures_file(folder, index).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


def sweep_stored(item: AnyMap, truth: NDArray[np.uint8], thresholds: NDArray[np.float32], classes: int) -> SweepCells:
    """`scores.sweep.sweep_picture` of a stored map at full size, by the shorter way where there is one."""
    from wsss_platform.maps.storage import StoredMap, full_size
    from wsss_platform.scores.levels import sweep_levels
    from wsss_platform.scores.sweep import sweep_picture

    if isinstance(item, StoredMap) and item.scores.dtype.kind == "u":
        levels = cast("NDArray[np.uint8] | NDArray[np.uint16]", item.scores)
        return sweep_levels(levels, item.classes, truth, thresholds, classes, item.id)
    return sweep_picture(full_size(item), item.classes, truth, thresholds, classes, item.id)


class _Stored(dict[str, "AnyMap"]):
    """A chunk's maps by picture id."""

    def __missing__(self, picture: str) -> AnyMap:
        raise InputError(f"{picture}: there is no map of it")


@dataclass(frozen=True)
class PictureWork(ABC):
    """What the works have in common: a chunk is its pictures one by one, and a bad picture spoils no other."""

    experiment: Experiment
    phase: Phase
    list_name: str
    folder: Path
    """Of the stage that is being made."""

    @abstractmethod
    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Make and write one chunk."""

    def working_on(self, chunk: Chunk) -> str | None:
        """See `stages.NamesPicture`."""
        try:
            return self._marker(chunk).read_text(encoding="utf-8") or None
        except FileNotFoundError:
            return None

    def _marker(self, chunk: Chunk) -> Path:
        return self.folder / f"at-{chunk.index:06d}"

    def _done(self, chunk: Chunk, output: Path) -> bool:
        """Whether the chunk was made, with every picture."""
        self._marker(chunk).unlink(missing_ok=True)  # of a process that was killed
        return output.exists() and not failures_file(self.folder, chunk.index).exists()

    def _each(
        self, chunk: Chunk, make: Callable[[str], Result], upstream: Iterable[Path] = ()
    ) -> tuple[list[Result], list[tuple[str, str]]]:
        """Results of the pictures that worked, and (id, reason) of those whose input is bad or missing.

        Args:
            chunk: its `skip` counts as failed.
            make: of one picture.
            upstream: folders of stages whose failed pictures fail here for the same reason.
        """
        known = {name: reason for folder in upstream for name, reason in read_failures(folder, chunk.index)}
        known |= dict(chunk.skip)
        results, failures, marker = [], [], self._marker(chunk)
        for picture in chunk.ids:
            marker.write_text(picture, encoding="utf-8")
            try:
                if picture in known:
                    raise InputError(known[picture])
                results.append(make(picture))
            except (InputError, RunError) as error:
                failures.append((picture, str(error)))
            except Exception as error:
                reason = f"picture {picture}: {type(error).__name__}: {error}"
                if not isinstance(error, _OF_A_PICTURE) and type(error).__name__ != "OutOfMemoryError":  # torch's
                    raise RunError(reason) from error
                failures.append((picture, reason))
        marker.unlink(missing_ok=True)  # the process of a killed driver may still be at the same chunk
        if failures:  # before the output: a chunk with output and without this file is complete
            write_atomic(failures_file(self.folder, chunk.index), json.dumps(failures, indent=1))
        return results, failures

    def _report(self, chunk: Chunk, made: int, failures: list[tuple[str, str]]) -> ChunkReport:
        """To be called when the output is written."""
        if not failures:
            failures_file(self.folder, chunk.index).unlink(missing_ok=True)
        return ChunkReport(chunk.index, made, tuple(failures))


@dataclass(frozen=True)
class MapsWork(PictureWork):
    """Weights and pictures (and stored maps, for a phase that refines) -> stored maps, one Parquet file per chunk."""

    uses_gpu: ClassVar[bool] = True
    """The runner gives its processes a share of a GPU, when there is any."""
    weights: Path
    maps: Path | None = None
    """Maps of the same list that the phase refines."""

    def _objective(self) -> Objective:
        from wsss_platform.train.checkpoint import trained_network

        keep_freed_memory()
        return trained_network(self.phase, self.experiment.config, len(self.experiment.dataset.classes), self.weights)

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
        if self._done(chunk, target):
            return ChunkReport(chunk.index, len(chunk.ids))
        split = self.experiment.dataset.split(self.list_name)
        if self.maps is None:
            maps, failures = self._each(chunk, lambda picture: self._extractor(split.read(picture)))
        else:
            stored = _Stored((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))
            refine = self._refiner
            maps, failures = self._each(
                chunk, lambda picture: refine(split.read(picture), stored[picture]), [self.maps]
            )
        write_maps(target, maps)
        give_back_freed_memory()
        return self._report(chunk, len(maps), failures)


@dataclass(frozen=True)
class MasksWork(PictureWork):
    """Stored maps (and pictures, for the CRF, or saliency, for its rule) -> palette PNG masks."""

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
        stored = _Stored((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))
        (self.folder / "masks").mkdir(exist_ok=True)

        def make(picture: str) -> None:
            image = None if config.crf == "none" else split.read(picture).image
            saliency = split.saliency(picture) if config.rule == "saliency" else None
            write_mask(mask_file(self.folder, picture), make_mask(stored[picture], image, config, saliency))

        made, failures = self._each(chunk, make, [self.maps])
        write_atomic(done, "")
        return self._report(chunk, len(made), failures)


@dataclass(frozen=True)
class ScoreWork(PictureWork):
    """Stored maps and masks against pixel truth -> per-picture counts."""

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
        stored = _Stored((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))

        def count(picture: str) -> tuple[str, NDArray[np.int64], SweepCells]:
            mask, item = truth.mask(picture), stored[picture]
            if mask.shape != (item.height, item.width):
                raise InputError(
                    f"{picture}: its true mask is {mask.shape[1]}x{mask.shape[0]}, "
                    f"its picture {item.width}x{item.height}"
                )
            fixed = confusion(mask, read_mask(mask_file(self.masks, picture)), classes, picture)
            return picture, fixed, sweep_stored(item, mask, thresholds, classes)

        counted, failures = self._each(chunk, count, [self.maps, self.masks])
        fixed = self.folder / f"confusion-{chunk.index:06d}.parquet"
        write_confusions(fixed, truth.classes, [(name, table) for name, table, _ in counted])
        write_sweeps(last, truth.classes, thresholds, [(name, cells) for name, _, cells in counted])
        return self._report(chunk, len(counted), failures)


@dataclass(frozen=True)
class SaliencyWork(PictureWork):
    """Stored maps and saliency against pixel truth -> per-picture counts at every score floor and saliency cut."""

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
        stored = _Stored((item.id, item) for item in read_maps(maps_file(self.maps, chunk.index)))

        def count(picture: str) -> tuple[str, SaliencyCells]:
            item, shown, mask = stored[picture], split.saliency(picture), truth.mask(picture)
            classes = len(truth.classes)
            return picture, sweep_saliency(full_size(item), item.classes, shown, mask, pairs, classes, picture)

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
