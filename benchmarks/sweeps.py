"""A threshold sweep over stored maps: one pass, against the peers' loop and a careful loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import PreparedImage
from benchmarks.measure import Row, alternate, peak
from wsss_platform.maps.storage import full_size, read_maps, write_maps
from wsss_platform.run.chunks.score import sweep_stored
from wsss_platform.scores.sweep import confusions, grid, histogram

Table = NDArray[np.int64]
Result = TypeVar("Result")


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """100 and 1000 thresholds; the ground truth is in memory on every side, the maps are read from disk."""
    sides = classes + 1
    for count, some, rounds, asked in ((100, images[:4], 3, (150, 40)), (1000, images[:1], 3, (1500, 400))):
        thresholds = grid(count)
        path = folder / f"maps-{count:06d}.parquet"
        stored = [image.stored() for image in some]
        write_maps(path, stored)
        for item in stored:  # the peers' file holds the same values, so that the results must be equal
            np.save(folder / f"{item.id}.npy", full_size(item))

        ours = _bound(_one_pass, path, some, thresholds, classes)
        peers = _bound(_peers_loop, folder, some, thresholds, sides)
        careful = _bound(_careful_loop, folder, some, thresholds, sides)
        wanted = ours()
        for name, other in (("the peers' loop", peers), ("the careful loop", careful)):
            if not np.array_equal(wanted, other()):
                raise AssertionError(f"the sweep of {count} thresholds and {name} differ")
        # The loops cost the same for every image; ours also sums up once per sweep, so it is timed on all.
        whole = folder / f"all-{count:06d}.parquet"
        write_maps(whole, [image.stored() for image in images])
        ours, read = _bound(_one_pass, whole, images, thresholds, classes), _bound(_read_only, whole)
        times = alternate(ours, peers, careful, read, rounds=rounds)
        sizes = (len(images), len(some), len(some), len(images))
        own, theirs, fair, floor = (time / size for time, size in zip(times, sizes, strict=True))
        memory = peak(ours)
        for name, other, time, want in (
            ("the peers' loop", peers, theirs, asked[0]),
            ("a careful loop", careful, fair, asked[1]),
        ):
            yield Row(
                name=f"sweep of {count} thresholds vs {name}",
                ours=own * 1e3,
                theirs=time * 1e3,
                unit="ms",
                asked=want,
                limit_share=floor / own,
                limit="reading the stored maps",
                ours_peak=memory,
                theirs_peak=peak(other),
                note=f"{len(some)} images ({len(images)} for ours), confusions equal at every threshold",
            )


def _bound(work: Callable[..., Result], *arguments: object) -> Callable[[], Result]:
    return lambda: work(*arguments)


def _read_only(path: Path) -> None:
    for _ in read_maps(path):
        pass


def _one_pass(path: Path, images: list[PreparedImage], thresholds: NDArray[np.float32], classes: int) -> Table:
    truths = {image.id: image.truth for image in images}
    cells = (sweep_stored(item, truths[item.id], thresholds, classes) for item in read_maps(path))
    return confusions(histogram(cells, classes, len(thresholds)))


def _peers_loop(folder: Path, images: list[PreparedImage], thresholds: NDArray[np.float32], sides: int) -> Table:
    """IRN's and SEAM's scripts: for each threshold read every image's full-size maps, pad, argmax, bincount."""
    result = np.zeros((len(thresholds), sides, sides), np.int64)
    for index, threshold in enumerate(thresholds):
        for image in images:
            scores = np.load(folder / f"{image.id}.npy")
            keys = np.pad(image.classes.astype(np.int64) + 1, (1, 0))
            padded = np.pad(scores, ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
            prediction = keys[padded.argmax(0)]
            counted = image.truth != 255
            joint = sides * image.truth[counted].astype(np.int64) + prediction[counted]
            result[index] += np.bincount(joint, minlength=sides**2).reshape(sides, sides)
    return result


def _careful_loop(folder: Path, images: list[PreparedImage], thresholds: NDArray[np.float32], sides: int) -> Table:
    """Read once, best class and score of the counted pixels once; per threshold a comparison and a bincount."""
    result = np.zeros((len(thresholds), sides, sides), np.int64)
    for image in images:
        scores = np.load(folder / f"{image.id}.npy")
        counted = image.truth != 255
        best = scores.max(0)[counted]
        label = (image.classes.astype(np.int64) + 1)[scores.argmax(0)[counted]]
        base = sides * image.truth[counted].astype(np.int64)
        for index, threshold in enumerate(thresholds):
            joint = base + label * (best > threshold)
            result[index] += np.bincount(joint, minlength=sides**2).reshape(sides, sides)
    return result
