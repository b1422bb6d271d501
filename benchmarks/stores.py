"""Stored maps of a real network: bytes per image and what they lose, against the peers' full-size float32 .npy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import PreparedImage
from benchmarks.measure import Row, alternate
from benchmarks.network_maps import NetworkMaps
from wsss_platform.maps.storage import full_size, read_maps, write_maps
from wsss_platform.scores.confusion import mean_iou
from wsss_platform.scores.sweep import SweepCells, confusions, grid, histogram, sweep_image

IMAGES = 8
FORMS: tuple[tuple[str, float, dict[str, Any]], ...] = (
    ("default (grid, uint11)", 60, {}),
    ("grid, uint8", 60, {"precision": "uint8"}),
    ("grid, float16", 60, {"precision": "float16"}),
    ("views, uint8", 60, {"store": "views", "precision": "uint8"}),
    ("views, float16", 60, {"store": "views", "precision": "float16"}),
    ("lossless (views, float32)", 30, {"store": "views", "precision": "float32"}),
)
"""Name, what was asked, and the config section `maps`."""


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """Every form of the same network's outputs; "labels" are those at background 0.3 and those of the argmax alone."""
    some = images[:IMAGES]
    network = NetworkMaps(images, classes)
    full = [network.full(image.id) for image in some]
    for image, scores in zip(some, full, strict=True):
        np.save(folder / f"full-{image.id}.npy", scores)
    theirs = sum((folder / f"full-{image.id}.npy").stat().st_size for image in some) / len(some)
    best = _best(some, full, classes)

    def read_theirs() -> None:
        for image in some:
            np.load(folder / f"full-{image.id}.npy")

    for number, (name, asked, config) in enumerate(FORMS):
        path = folder / f"maps-{number:06d}.parquet"
        stored = [network.stored(image.id, **config) for image in some]
        write_maps(path, stored)
        ours = [full_size(item) for item in read_maps(path)]
        if not all(np.array_equal(a, full_size(b)) for a, b in zip(ours, stored, strict=True)):
            raise AssertionError(f"{name}: full size of what was read is not that of what was written")
        kept = [[_same(a, b, limit) for a, b in zip(ours, full, strict=True)] for limit in (0.3, -1)]
        gap = max(float(np.abs(a - b).max()) for a, b in zip(ours, full, strict=True))
        yield Row(
            name=f"map store vs full-size float32 .npy: {name}",
            ours=path.stat().st_size / len(some) / 1e3,
            theirs=theirs / 1e3,
            unit="kB",
            asked=asked,
            note=f"{100 * np.mean(kept[0]):.3f} % of labels kept at background 0.3, {100 * np.mean(kept[1]):.3f} % of "
            f"the argmax alone, best mean IoU {100 * (_best(some, ours, classes) - best):+.3f} points, largest "
            f"difference {gap:.1g}; {len(some)} images, {np.mean([len(p.classes) for p in some]):.2f} classes each",
        )

        def read_ours(path: Path = path) -> None:
            for item in read_maps(path):
                full_size(item)

        own, other = (x / len(some) * 1e3 for x in alternate(read_ours, read_theirs, rounds=9))
        yield Row(
            name=f"reading to full size vs np.load: {name}",
            ours=own,
            theirs=other,
            unit="ms",
            limit_share=other / own,
            limit="reading full-size float32 from a warm file cache; smaller is slower to read",
            note=f"{len(some)} images",
        )


def _same(ours: NDArray[np.float32], theirs: NDArray[np.float32], limit: float) -> float:
    """Share of pixels with the same label at a background score."""
    labels = [np.where(scores.max(0) > limit, scores.argmax(0) + 1, 0) for scores in (ours, theirs)]
    return float(np.mean(labels[0] == labels[1]))


def _best(images: list[PreparedImage], scores: list[NDArray[np.float32]], classes: int) -> float:
    thresholds = grid(100)
    cells: list[SweepCells] = [
        sweep_image(maps, image.classes, image.truth, thresholds, classes)
        for image, maps in zip(images, scores, strict=True)
    ]
    return float(mean_iou(confusions(histogram(cells, classes, len(thresholds)))).max())
