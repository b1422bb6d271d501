"""Many settings on some images with stored maps: what they count against ground truth, image by image. No Ray."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig, fingerprint
from wsss_platform.plan.jobs import Chunk, ChunkReport, ChunkWork
from wsss_platform.run.chunks.images import ImageWork
from wsss_platform.run.chunks.score import SWEEP, sweep_stored
from wsss_platform.search.masks.settings import Setting
from wsss_platform.search.masks.table import Table
from wsss_platform.store.artefacts import write_atomic

if TYPE_CHECKING:
    from wsss_platform.maps.storage import MapReader
    from wsss_platform.scores.sweep import SweepCells


@dataclass(frozen=True)
class CountWork(ImageWork):
    """Stored maps, images and ground truth -> a table of what every setting counts. The masks are kept nowhere."""

    maps: Path
    source: str
    """Of the maps and their ground truth; see `halving.source_of`."""
    settings: tuple[Setting, ...]
    sweep: bool
    """Also the sweep of the maps, summed over a chunk: int64 [C + 1, C, T + 1], see `sweep`."""

    @cached_property
    def _stored(self) -> MapReader:
        from wsss_platform.maps.storage import MapReader

        return MapReader(self.maps)

    def output(self, chunk: Chunk) -> Path:
        """A chunk's table; named by what it is of, as a killed search leaves its own there."""
        what = [self.source, [one.key for one in self.settings], chunk.ids, self.sweep]
        return self.folder / f"{fingerprint(what)[:16]}.parquet"

    def sweep_of(self, chunk: Chunk) -> Path:
        """A chunk's sweep, an .npy file."""
        return self.output(chunk).with_suffix(".npy")

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Count the chunk's images."""
        from wsss_platform.masks.many import make_masks
        from wsss_platform.scores.confusion import confusion, parts
        from wsss_platform.scores.sweep import histogram

        target = self.output(chunk)
        if self._done(chunk, target):
            return ChunkReport(chunk.index, len(chunk.ids))
        started = time.monotonic()
        split, truth = self.experiment.dataset.split(self.list_name), self.experiment.dataset.truth(self.list_name)
        classes, limits = len(truth.classes), thresholds(self.experiment.masks_config(self.phase))
        sections = [one.masks for one in self.settings]
        pixels = any(one.crf != "none" for one in sections)
        salient = any(one.rule == "saliency" for one in sections)

        def count(id: str) -> tuple[str, list[NDArray[np.int64]], list[SweepCells]]:
            item, mask = self._stored[id], truth.mask(id)
            image = split.read(id).image if pixels else None
            masks = make_masks(item, image, sections, split.saliency(id) if salient else None)
            cells = [sweep_stored(item, mask, limits, classes)] if self.sweep else []
            return id, [parts(confusion(mask, one, classes, id)) for one in masks], cells

        counted, failures = self._each(chunk, count)
        if self.sweep:
            buffer = io.BytesIO()
            np.save(buffer, histogram((one for _, _, cells in counted for one in cells), classes, len(limits)))
            write_atomic(self.sweep_of(chunk), buffer.getvalue())
        table = Table(truth.classes)
        table.describe(self.source, self.list_name, self.experiment.truth_fingerprint(self.list_name))
        seconds = (time.monotonic() - started) / max(1, len(sections))
        for place, one in enumerate(self.settings):
            table.put(self.source, one.key, one.masks, {id: own[place] for id, own, _ in counted}, seconds)
        table.write(target)
        return self._report(chunk, len(counted), failures)


def thresholds(config: MasksConfig) -> NDArray[np.float32]:
    """Those at which a score sweeps maps: float32 [T], ascending."""
    from wsss_platform.scores.sweep import grid

    return grid(SWEEP, [config.background])


class Threads:
    """A `stages.ChunkRunner` in threads of this process: our lattice lets go of Python's lock."""

    def __init__(self, number: int | None = None) -> None:
        """
        Args:
            number: of threads; None: one for each CPU.
        """
        self._number = number or len(os.sched_getaffinity(0))

    def chunks(
        self, line: Sequence[ChunkWork], chunks: Sequence[Chunk], on_chunk: Callable[[int, ChunkReport], None]
    ) -> None:
        """See `stages.Runner.chunks`. Chunks that have not begun are dropped when one fails."""
        pool = ThreadPoolExecutor(self._number)
        try:
            running = [pool.submit(lambda chunk: [work(chunk) for work in line], chunk) for chunk in chunks]
            for future in as_completed(running):
                for place, report in enumerate(future.result()):
                    on_chunk(place, report)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
