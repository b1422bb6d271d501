"""Stored maps: bytes per picture and what they lose, against the peers' full-size float32 .npy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, alternate
from benchmarks.pictures import Picture
from wsss_platform.maps.storage import full_size, read_maps, write_maps
from wsss_platform.metrics.confusion import mean_iou
from wsss_platform.metrics.sweep import SweepCells, confusions, grid, histogram, sweep_picture


def rows(pictures: list[Picture], classes: int, folder: Path) -> Iterator[Row]:
    """The reference is made at full size from the same network outputs, not from the stored map."""
    path = folder / "maps-000000.parquet"
    stored = [picture.stored() for picture in pictures]
    full = [picture.high_res() for picture in pictures]
    write_maps(path, stored)
    for picture, scores in zip(pictures, full, strict=True):
        np.save(folder / f"full-{picture.id}.npy", scores)
    count = len(pictures)
    theirs = sum((folder / f"full-{picture.id}.npy").stat().st_size for picture in pictures) / count
    kept = [_kept(full_size(item), scores) for item, scores in zip(stored, full, strict=True)]
    best = [_best(pictures, scores, classes) for scores in ([full_size(item) for item in stored], full)]
    yield Row(
        name="map store vs full-size float32 .npy",
        ours=path.stat().st_size / count / 1e3,
        theirs=theirs / 1e3,
        unit="kB",
        asked=60,
        note=f"{100 * np.mean(kept):.2f} % of labels kept at background 0.3, "
        f"best mean IoU {100 * (best[0] - best[1]):+.3f} points, {count} pictures",
    )

    def read_ours() -> None:
        for item in read_maps(path):
            full_size(item)

    def read_theirs() -> None:
        for picture in pictures:
            np.load(folder / f"full-{picture.id}.npy")

    own, other = (x / count * 1e3 for x in alternate(read_ours, read_theirs, rounds=7))
    yield Row(
        name="reading the map store to full size vs np.load",
        ours=own,
        theirs=other,
        unit="ms",
        limit="decompression and interpolation: smaller is slower to read from a warm file cache",
        note=f"{count} pictures",
    )


def _kept(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of pixels with the same label at background 0.3."""
    labels = [np.where(scores.max(0) > 0.3, scores.argmax(0) + 1, 0) for scores in (ours, theirs)]
    return float(np.mean(labels[0] == labels[1]))


def _best(pictures: list[Picture], scores: list[np.ndarray], classes: int) -> float:
    thresholds = grid(100)
    cells: list[SweepCells] = [
        sweep_picture(maps, picture.classes, picture.truth, thresholds, classes)
        for picture, maps in zip(pictures, scores, strict=True)
    ]
    return float(mean_iou(confusions(histogram(cells, classes, len(thresholds)))).max())
