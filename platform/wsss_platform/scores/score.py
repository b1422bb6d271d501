"""`Score`: what a run reached on a split, from the stored per-image counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.bootstrap import bootstrap, compare
from wsss_platform.scores.confusion import iou, mean_iou, precision, recall
from wsss_platform.scores.counts import read_confusions, read_sweeps
from wsss_platform.scores.intervals import Comparison, Interval
from wsss_platform.scores.sparse import SparseParts
from wsss_platform.scores.sweep import confusions, histogram

At = Literal["masks", "best"]
"""Which prediction: the masks as made (fixed rule, CRF and all), or the maps at the sweep's best threshold."""


@dataclass(frozen=True)
class Score:
    """The counts of one run over one split: masks per image, sweep summed.

    IoU, precision and recall are fractions 0..1. The best threshold is chosen with the ground truth it is
    scored on, so whatever stands under it is an oracle.
    """

    folder: Path
    """Holds `confusion-*.parquet` and, where there are maps, `sweep-*.parquet`."""
    classes: tuple[str, ...]
    """Names of the C foreground classes."""
    ids: tuple[str, ...]
    """Images in stored order, N."""
    table: NDArray[np.int64]
    """The masks' confusion over all images: int64 [C + 1, C + 2], see `confusion`."""
    counts: SparseParts
    """The masks' counts per image."""
    thresholds: NDArray[np.float32]
    """float32 [T], ascending; T is 0 where there are no maps."""
    histogram: NDArray[np.int64]
    """The sweep over all images: int64 [C + 1, C, T + 1], see `sweep`."""

    @classmethod
    def read(cls, folder: Path, swept: bool = True) -> Score:
        """Sum a folder's files, one in memory at a time.

        Args:
            folder: of the score.
            swept: whether it has a sweep; that of masks without maps has none.

        Raises:
            InputError: files missing or damaged, of different classes or thresholds, an image counted
                twice, or other images in the sweep than in the confusion.
        """
        classes: tuple[str, ...] | None = None
        ids: list[str] = []
        masks: list[SparseParts] = []
        table: NDArray[np.int64] | None = None
        for item in read_confusions(folder):
            _same(f"{folder}: confusion files", [classes or item.classes, item.classes])
            classes = item.classes
            ids += item.ids
            masks.append(SparseParts.of(item.parts()))
            table = item.table() if table is None else table + item.table()
        assert classes is not None  # read_confusions raises where there is no file
        assert table is not None
        _unique(folder, ids)
        total: NDArray[np.int64] | None = None
        thresholds = np.zeros(0, np.float32)
        in_sweep: list[str] = []
        for sweep in read_sweeps(folder) if swept else ():
            _same(f"{folder}: classes of confusion and sweep", [classes, sweep.classes])
            counts = histogram([sweep.cells], len(classes), len(sweep.thresholds))
            if total is None:
                total, thresholds = counts, sweep.thresholds
            else:
                _same(f"{folder}: thresholds of the sweep files", [thresholds.tolist(), sweep.thresholds.tolist()])
                total += counts
            in_sweep += sweep.ids
        if total is None:
            total = np.zeros((len(classes) + 1, len(classes), 1), np.int64)
        else:
            _unique(folder, in_sweep)
            _same_images(f"{folder}: confusion files", ids, f"{folder}: sweep files", in_sweep)
        return cls(
            folder=folder,
            classes=classes,
            ids=tuple(ids),
            table=table,
            counts=SparseParts.joined(masks),
            thresholds=thresholds,
            histogram=total,
        )

    @cached_property
    def parts(self) -> NDArray[np.int64]:
        """The masks' counts per image: int64 [N, 3, C + 1], see `confusion.parts`; 160 MB for COCO."""
        return self.counts.dense()

    @cached_property
    def curve(self) -> NDArray[np.float64]:
        """Mean IoU of the maps (without CRF) at every threshold: float64 [T]."""
        return np.atleast_1d(mean_iou(self._swept))

    @cached_property
    def _swept(self) -> NDArray[np.int64]:
        return confusions(self.histogram)

    @property
    def best(self) -> int:
        """Number of the best threshold; the lowest of equals."""
        self.check_swept()
        if np.isnan(self.curve).all():
            raise InputError(f"{self.folder}: no image has a scored pixel", field=self.folder)
        return int(np.nanargmax(self.curve))

    def check_swept(self) -> None:
        """InputError where there is no sweep."""
        if not len(self.thresholds):
            raise InputError(f"{self.folder}: masks without maps have no threshold to choose", field=self.folder)

    @cached_property
    def background_taken(self) -> NDArray[np.float64]:
        """The share of the background that the maps call an object, at every threshold: float64 [T], never rising."""
        background = self._swept[:, 0].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(background[:, 1:].sum(1) / background.sum(1))

    def taking(self, share: float) -> int:
        """Number of the threshold at which the share of the background that is taken is nearest; of equals the one with
        the best mean IoU.

        Args:
            share: 0..1, of `background_taken`.

        Raises:
            InputError: no background is scored.
        """
        self.check_swept()
        if np.isnan(self.background_taken).all():
            raise InputError(f"{self.folder}: no image has a scored pixel of background", field=self.folder)
        distance = np.abs(self.background_taken - share)
        return int(np.argmax(np.where(distance == distance.min(), self.curve, -np.inf)))

    def parts_at(self, at: At) -> NDArray[np.int64]:
        """Counts per image in the order of `ids`: int64 [N, 3, C + 1]; "best" reads the sweep files again."""
        if at == "masks":
            return self.parts
        return self.parts_over(self.best)

    def parts_over(self, index: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts per image of the maps at a threshold, in the order of `ids`: int64 [N, 3, C + 1].

        One file is in memory at a time beside the result.

        Args:
            index: number of the threshold, or int64 [C] one for each class.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        rows = np.zeros((len(self.ids), 3, len(self.classes) + 1), np.int64)
        for chunk in read_sweeps(self.folder):
            rows[[place[name] for name in chunk.ids]] = chunk.parts(index)
        return rows

    def interval(self, at: At = "masks", resamples: int = 2000, seed: int = 0) -> Interval:
        """Mean IoU with its bootstrap interval; the best threshold stays the one of all images."""
        return bootstrap(self.counts if at == "masks" else self.parts_at(at), resamples, seed)

    def summary(self, fixed: float | None = None) -> dict[str, Any]:
        """Plain values for JSON; null where a class occurs nowhere, and for the sweep where there are no maps.

        Args:
            fixed: a threshold of the sweep, such as the config's, to state the curve's value at.

        Raises:
            InputError: `fixed` is not among the thresholds.
        """
        pixels = int(self.table.sum())
        return {
            "images": len(self.ids),
            "pixels": pixels,
            "undecided": int(self.table[:, -1].sum()) / pixels if pixels else 0.0,
            "mean_iou": _plain(mean_iou(self.table)),
            "classes": self._by_class(self.table),
            "sweep": self._sweep(fixed) if len(self.thresholds) else None,
        }

    def _sweep(self, fixed: float | None) -> dict[str, Any]:
        best = self.best
        at_fixed = {}
        if fixed is not None:
            at_fixed = {"fixed_threshold": fixed, "fixed_mean_iou": _plain(self.curve[self._index(fixed)])}
        return {
            "thresholds": [_short(value) for value in self.thresholds],
            "mean_iou": [_plain(value) for value in self.curve],
            "best_threshold": _short(self.thresholds[best]),
            "best_mean_iou": _plain(self.curve[best]),
            "best_classes": self._by_class(self._swept[best]),
            **at_fixed,
        }

    def _by_class(self, table: NDArray[np.int64]) -> dict[str, dict[str, float | None]]:
        rows = zip(("background", *self.classes), iou(table), precision(table), recall(table), strict=True)
        return {
            name: {"iou": _plain(row[0]), "precision": _plain(row[1]), "recall": _plain(row[2])} for name, *row in rows
        }

    def _index(self, threshold: float) -> int:
        found = np.flatnonzero(self.thresholds == np.float32(threshold))
        if len(found) == 0:
            raise InputError(
                f"{self.folder}: {threshold} is not among the {len(self.thresholds)} thresholds swept",
                field=self.folder,
            )
        return int(found[0])


def paired_bootstrap(a: Score, b: Score, at: At = "masks", resamples: int = 2000, seed: int = 0) -> Comparison:
    """Two runs on the same images, resampled together.

    With `at="best"` each run keeps the best threshold of all its images; it is not chosen again within
    a resample, so the interval does not contain the luck of choosing it.

    Raises:
        InputError: the runs have other images or classes; names the first differences.
    """
    _same(f"classes of {a.folder} and {b.folder}", [a.classes, b.classes])
    _same_images(str(a.folder), a.ids, str(b.folder), b.ids)
    place = {name: row for row, name in enumerate(b.ids)}
    return compare(a.parts_at(at), b.parts_at(at)[[place[name] for name in a.ids]], resamples, seed)


def _same(what: str, values: Sequence[object]) -> None:
    if any(value != values[0] for value in values):
        raise InputError(f"{what} differ")


def _unique(folder: Path, ids: Sequence[str]) -> None:
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(f"{folder}: image {twice!r} is counted twice", field=folder)


def _same_images(first: str, a: Sequence[str], second: str, b: Sequence[str]) -> None:
    for where, extra in ((first, set(a) - set(b)), (second, set(b) - set(a))):
        if extra:
            names = ", ".join(sorted(extra)[:3])
            raise InputError(f"{first} and {second} hold other images: {len(extra)} only in {where} ({names})")


def _plain(value: float | np.floating[Any] | NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)


def _short(threshold: np.float32) -> float:
    """The shortest decimal that is this float32: 0.3, not 0.30000001192092896."""
    return float(str(threshold))
