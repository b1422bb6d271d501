"""Many settings on a chunk's stored maps: what they count against pixel truth, summed over the chunk's pictures."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError, RunError
from wsss_platform.stages import Chunk, ChunkReport
from wsss_platform.store import write_atomic
from wsss_platform.work import SWEEP, PictureWork, sweep_stored

if TYPE_CHECKING:
    from wsss_platform.config import MasksConfig
    from wsss_platform.maps.storage import AnyMap
    from wsss_platform.metrics.sweep import SweepCells


@dataclass(frozen=True)
class Counts:
    """Sums over pictures."""

    parts: NDArray[np.int64]
    """Of each setting: int64 [S, 3, C + 1], see `confusion.parts`."""
    histogram: NDArray[np.int64]
    """The sweep of the maps, which is the same for every setting: int64 [C + 1, C, T + 1], see `sweep`."""
    seconds: float
    """Spent in all settings together."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.parts + other.parts, self.histogram + other.histogram, self.seconds + other.seconds)


@dataclass(frozen=True)
class SettingsWork(PictureWork):
    """Stored maps, pictures and pixel truth -> counts of every setting. The masks are kept nowhere."""

    maps: Path
    settings: tuple[MasksConfig, ...]

    def __call__(self, chunk: Chunk) -> ChunkReport:
        """Count the chunk's pictures, which may be some of those in the maps' chunk of this number."""
        from wsss_platform.maps.storage import maps_file, read_maps
        from wsss_platform.metrics.confusion import confusion, parts
        from wsss_platform.metrics.sweep import histogram

        target = counts_file(self.folder, chunk.index)
        if self._done(chunk, target):
            return ChunkReport(chunk.index, len(chunk.ids))
        started = time.monotonic()
        split, truth = self.experiment.dataset.split(self.list_name), self.experiment.dataset.truth(self.list_name)
        classes, limits = len(truth.classes), thresholds(self.experiment.masks_config(self.phase))
        stored = {item.id: item for item in read_maps(maps_file(self.maps, chunk.index))}
        pixels = any(one.crf != "none" for one in self.settings)
        salient = any(one.rule == "saliency" for one in self.settings)

        def count(picture: str) -> tuple[NDArray[np.int64], SweepCells]:
            if picture not in stored:
                raise InputError(f"{picture}: there is no map of it")
            item, mask = stored[picture], truth.mask(picture)
            image = split.read(picture).image if pixels else None
            masks = masks_of_settings(item, image, split.saliency(picture) if salient else None, self.settings)
            tables = [parts(confusion(mask, one, classes, picture)) for one in masks]
            return np.stack(tables), sweep_stored(item, mask, limits, classes)

        counted, failures = self._each(chunk, count, [self.maps])
        total = np.zeros((len(self.settings), 3, classes + 1), np.int64)
        for own, _ in counted:
            total += own
        swept = histogram([cells for _, cells in counted], classes, len(limits))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, parts=total, histogram=swept, seconds=np.float64(time.monotonic() - started))
        write_atomic(target, buffer.getvalue())
        return self._report(chunk, len(counted), failures)


def thresholds(config: MasksConfig) -> NDArray[np.float32]:
    """Those at which a score sweeps maps: float32 [T], ascending."""
    from wsss_platform.metrics.sweep import grid

    return grid(SWEEP, [config.background])


def counts_file(folder: Path, index: int) -> Path:
    """Where the counts of chunk number `index` are."""
    return folder / f"counts-{index:06d}.npz"


def read_counts(folder: Path, index: int) -> Counts:
    """The counts of one chunk; RunError naming a damaged file."""
    path = counts_file(folder, index)
    try:
        with np.load(path, allow_pickle=False) as data:
            return Counts(data["parts"], data["histogram"], float(data["seconds"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: damaged ({error}); delete its folder and run again") from None


def masks_of_settings(
    stored: AnyMap,
    image: NDArray[np.uint8] | None,
    saliency: NDArray[np.uint8] | None,
    settings: Sequence[MasksConfig],
) -> list[NDArray[np.uint8]]:
    """The mask of each setting, bit for bit as `make_mask` makes it: uint8 [H, W] each.

    Settings without CRF and those of our lattice share what they can; the others are made one by one.

    Args:
        stored: the picture's maps.
        image: RGB uint8 [H, W, 3]; needed where a setting has a CRF.
        saliency: uint8 [H, W]; needed where a setting's rule is "saliency".
        settings: masks sections.

    Raises:
        InputError: the map does not fit the picture; names it.
    """
    from wsss_platform.masks.crf import LATTICE_LABELS
    from wsss_platform.masks.make import make_mask
    from wsss_platform.masks.search import masks_of

    if image is not None and image.shape != (stored.height, stored.width, 3):
        raise InputError(
            f"picture {stored.id}: its map is for {stored.height}x{stored.width} pixels, the picture has shape "
            f"{image.shape}"
        )
    backends = {"lattice", "auto"} if len(stored.classes) < LATTICE_LABELS else {"lattice"}
    shared = [one.rule != "saliency" and (one.crf == "none" or one.crf_backend in backends) for one in settings]
    pixels = np.zeros((0, 0, 3), np.uint8) if image is None else image  # looked at for a CRF only
    together = iter(masks_of(stored, pixels, [one for one, yes in zip(settings, shared, strict=True) if yes]))
    return [
        next(together) if yes else make_mask(stored, image if one.crf != "none" else None, one, saliency)
        for one, yes in zip(settings, shared, strict=True)
    ]
