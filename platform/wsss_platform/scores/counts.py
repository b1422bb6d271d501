"""Per-image counts as Parquet, one file per chunk and one row per image: nothing is summed away.

`confusion-*.parquet`: id, truth, prediction, count (prediction 255 = undecided).
`sweep-*.parquet`: id, truth, class, bucket, count (see `sweep`).
`saliency-*.parquet`: id, truth, class, floor, cut, count (see `saliency`).
All but the id are lists with one entry per cell that is not zero. Class names and thresholds are in the
metadata under "wsss_platform".
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.confusion import IGNORE
from wsss_platform.scores.saliency import Pairs, SaliencyCells
from wsss_platform.scores.sweep import SweepCells
from wsss_platform.store.artefacts import write_atomic

VERSION = 1
_CONFUSION = {"truth": pa.uint8(), "prediction": pa.uint8(), "count": pa.int64()}
_SALIENCY = {"truth": pa.uint8(), "class": pa.uint8(), "floor": pa.int32(), "cut": pa.int32(), "count": pa.int64()}
_SWEEP = {"truth": pa.uint8(), "class": pa.uint8(), "bucket": pa.int32(), "count": pa.int64()}


@dataclass(frozen=True)
class ConfusionCounts:
    """The confusion cells of one chunk's images."""

    classes: tuple[str, ...]
    """Names of the C foreground classes."""
    ids: tuple[str, ...]
    """Images in stored order, N."""
    image: NDArray[np.int64]
    """int64 [R]: index into `ids`, ascending."""
    truth: NDArray[np.int64]
    """int64 [R]: 0..C."""
    prediction: NDArray[np.int64]
    """int64 [R]: 0..C + 1, the last is undecided."""
    count: NDArray[np.int64]
    """int64 [R]: pixels."""

    def table(self) -> NDArray[np.int64]:
        """Summed over images: int64 [C + 1, C + 2], see `confusion`."""
        side = len(self.classes) + 1
        total = np.zeros((side, side + 1), np.int64)
        np.add.at(total, (self.truth, self.prediction), self.count)
        return total

    def parts(self) -> NDArray[np.int64]:
        """Per image: int64 [N, 3, C + 1], see `confusion.parts`; undecided counts as background."""
        side = len(self.classes) + 1
        seen = np.where(self.prediction == side, 0, self.prediction)
        return _parts(len(self.ids), side, self.image, self.truth, seen, self.count)


@dataclass(frozen=True)
class SweepCounts:
    """The sweep cells of one chunk's images."""

    classes: tuple[str, ...]
    """Names of the C foreground classes."""
    thresholds: NDArray[np.float32]
    """float32 [T], ascending."""
    ids: tuple[str, ...]
    """Images in stored order, N."""
    image: NDArray[np.int64]
    """int64 [R]: index into `ids`, ascending."""
    cells: SweepCells
    """The cells of all images, one after another."""

    def parts(self, index: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Per image: int64 [N, 3, C + 1], see `confusion.parts`.

        Args:
            index: number of the threshold, or int64 [C] one for each class.
        """
        side = len(self.classes) + 1
        limits = np.broadcast_to(np.asarray(index), (side - 1,))
        seen = np.where(self.cells.bucket > limits[self.cells.cls], self.cells.cls + 1, 0)
        return _parts(len(self.ids), side, self.image, self.cells.truth, seen, self.cells.pixels)


@dataclass(frozen=True)
class SaliencyCounts:
    """The saliency sweep's cells of one chunk's images."""

    classes: tuple[str, ...]
    """Names of the C foreground classes."""
    pairs: Pairs
    """Floors, cuts and conflict level."""
    ids: tuple[str, ...]
    """Images in stored order, N."""
    image: NDArray[np.int64]
    """int64 [R]: index into `ids`, ascending."""
    cells: SaliencyCells
    """The cells of all images, one after another."""

    def parts(self, floor: int, cut: int) -> NDArray[np.int64]:
        """Per image at floor and cut of these numbers: int64 [N, 3, C + 1], see `confusion.parts`."""
        shown = (self.cells.floor > floor) & (self.cells.cut > cut)
        seen = np.where(shown, self.cells.cls + 1, 0)
        return _parts(len(self.ids), len(self.classes) + 1, self.image, self.cells.truth, seen, self.cells.pixels)


def _parts(
    images: int,
    side: int,
    image: NDArray[np.int64],
    truth: NDArray[np.int64],
    seen: NDArray[np.int64],
    count: NDArray[np.int64],
) -> NDArray[np.int64]:
    result = np.zeros((images, 3, side), np.int64)
    hit = truth == seen
    np.add.at(result[:, 0], (image[hit], truth[hit]), count[hit])
    np.add.at(result[:, 1], (image, truth), count)
    np.add.at(result[:, 2], (image, seen), count)
    return result


def write_confusions(path: Path, classes: Sequence[str], images: Iterable[tuple[str, NDArray[np.int64]]]) -> None:
    """Write one chunk of (image id, table [C + 1, C + 2]), atomically; same counts, same bytes."""
    rows = []
    for name, table in images:
        truth, prediction = np.nonzero(table)
        values = np.where(prediction == len(classes) + 1, IGNORE, prediction)
        rows.append({"id": name, "truth": truth, "prediction": values, "count": table[truth, prediction]})
    _write(path, rows, _CONFUSION, {"format": "wsss-platform confusion", "version": VERSION, "classes": list(classes)})


def write_sweeps(
    path: Path, classes: Sequence[str], thresholds: NDArray[np.float32], images: Iterable[tuple[str, SweepCells]]
) -> None:
    """Write one chunk of (image id, cells of `sweep_image`), atomically; same counts, same bytes."""
    rows = [
        {"id": name, "truth": cells.truth, "class": cells.cls, "bucket": cells.bucket, "count": cells.pixels}
        for name, cells in images
    ]
    said = {
        "format": "wsss-platform sweep",
        "version": VERSION,
        "classes": list(classes),
        "thresholds": thresholds.tolist(),
    }
    _write(path, rows, _SWEEP, said)


def write_saliencies(
    path: Path, classes: Sequence[str], pairs: Pairs, images: Iterable[tuple[str, SaliencyCells]]
) -> None:
    """Write one chunk of (image id, cells of `sweep_saliency`), atomically; same counts, same bytes."""
    rows = [
        {"id": name, **dict(zip(_SALIENCY, cells, strict=True))}  # the columns are the cells' fields in order
        for name, cells in images
    ]
    said = {
        "format": "wsss-platform saliency sweep",
        "version": VERSION,
        "classes": list(classes),
        "floors": pairs.floors.tolist(),
        "cuts": pairs.cuts.tolist(),
        "conflict_level": pairs.conflict_level,
    }
    _write(path, rows, _SALIENCY, said)


def read_confusions(folder: Path) -> Iterator[ConfusionCounts]:
    """Every `confusion-*.parquet` of a folder, one file in memory at a time; InputError naming a damaged one."""
    for path in _files(folder, "confusion"):
        said, ids, image, columns = _read(path, "wsss-platform confusion", _CONFUSION)
        side = len(said["classes"]) + 1
        prediction = np.where(columns["prediction"] == IGNORE, side, columns["prediction"])
        _check(path, columns["truth"], side)
        _check(path, prediction, side + 1)
        yield ConfusionCounts(tuple(said["classes"]), ids, image, columns["truth"], prediction, columns["count"])


def read_sweeps(folder: Path) -> Iterator[SweepCounts]:
    """Every `sweep-*.parquet` of a folder, one file in memory at a time; InputError naming a damaged one."""
    for path in _files(folder, "sweep"):
        said, ids, image, columns = _read(path, "wsss-platform sweep", _SWEEP)
        thresholds = np.array(said["thresholds"], np.float32)
        cells = SweepCells(columns["truth"], columns["class"], columns["bucket"], columns["count"])
        _check(path, cells.truth, len(said["classes"]) + 1)
        _check(path, cells.cls, len(said["classes"]))
        _check(path, cells.bucket, len(thresholds) + 1)
        yield SweepCounts(tuple(said["classes"]), thresholds, ids, image, cells)


def read_saliencies(folder: Path) -> Iterator[SaliencyCounts]:
    """Every `saliency-*.parquet` of a folder, one file in memory at a time; InputError naming a damaged one."""
    for path in _files(folder, "saliency"):
        said, ids, image, columns = _read(path, "wsss-platform saliency sweep", _SALIENCY)
        pairs = Pairs(
            np.array(said["floors"], np.float32), np.array(said["cuts"], np.int64), float(said["conflict_level"])
        )
        cells = SaliencyCells(*(columns[name] for name in _SALIENCY))
        _check(path, cells.truth, len(said["classes"]) + 1)
        _check(path, cells.cls, len(said["classes"]))
        _check(path, cells.floor, len(pairs.floors) + 1)
        _check(path, cells.cut, len(pairs.cuts) + 1)
        yield SaliencyCounts(tuple(said["classes"]), pairs, ids, image, cells)


def _files(folder: Path, kind: str) -> list[Path]:
    files = sorted(folder.glob(f"{kind}-*.parquet"))
    if not files:
        raise InputError(f"{folder}: no {kind}-*.parquet in it", field=folder)
    return files


def _write(path: Path, rows: list[dict[str, Any]], columns: dict[str, pa.DataType], said: dict[str, Any]) -> None:
    schema = pa.schema(
        [("id", pa.string()), *((name, pa.list_(kind)) for name, kind in columns.items())],
        metadata={"wsss_platform": json.dumps(said)},
    )
    buffer = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, buffer, compression="zstd", write_statistics=False, write_page_checksum=True)
    write_atomic(path, buffer.getvalue())


def _read(
    path: Path, form: str, columns: dict[str, pa.DataType]
) -> tuple[dict[str, Any], tuple[str, ...], NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Metadata, ids, the image index of each cell, and the cells by column."""
    try:
        table = pq.read_table(path, use_threads=False, page_checksum_verification=True)
        said = json.loads((table.schema.metadata or {}).get(b"wsss_platform", b"null"))
        if not isinstance(said, dict) or (said.get("format"), said.get("version")) != (form, VERSION):
            raise InputError(f"{path}: not a file of {form} counts, version {VERSION}", field=path)
        lengths = table.column("truth").combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
        image = np.repeat(np.arange(table.num_rows), lengths)
        values = {name: table.column(name).combine_chunks().flatten().to_numpy().astype(np.int64) for name in columns}
        if {len(value) for value in values.values()} != {len(image)}:
            raise InputError(f"{path}: damaged, its columns have different lengths", field=path)
        return said, tuple(table.column("id").to_pylist()), image, values
    except InputError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not readable as counts, damaged or cut short ({reason})", field=path) from None


def _check(path: Path, values: NDArray[np.int64], below: int) -> None:
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < below:
        raise InputError(
            f"{path}: damaged, a value of {int(values.max())} where less than {below} is expected", field=path
        )
