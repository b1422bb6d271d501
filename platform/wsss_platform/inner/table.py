"""`inner.parquet` in a study's folder: every inner setting of every trial, one row each."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from wsss_platform.errors import InputError
from wsss_platform.space import Axis, CategoricalAxis, FloatAxis
from wsss_platform.store import Store, write_atomic

FILE = "inner.parquet"
_SAID = {"format": "wsss-platform inner settings", "version": 1}


@dataclass(frozen=True)
class Row:
    """What one setting of one trial came to; of a trial of several seeds their mean."""

    trial: int
    """Number of the outer trial."""
    setting: int
    """Number within it, from 0, which is as configured."""
    name: str
    key: str
    """What its masks depend on (`Setting.key`)."""
    maps: str
    """Of which stored maps: a fingerprint of their content keys, one per seed."""
    values: Mapping[str, Any]
    """Every inner axis' value in this setting, by path: what is not a number is text, a list as JSON."""
    crf: bool
    """Whether it has a dense CRF."""
    best_threshold: float
    """Background threshold 0..1 at which the exact sweep of the trial's maps is best."""
    best_mean_iou: float
    """0..1, at that threshold, before any CRF."""
    mean_iou: float
    """0..1, of the masks at the setting's own background."""
    value: float
    """What it is chosen by, 0..1: the sweep's best where that solves its background, else `mean_iou`."""
    seconds: float
    """Its share of the work's seconds, all seeds together."""
    pictures: int
    """On which `mean_iou` and `value` were measured; fewer than all where better ones were there already."""


_TYPES = {
    "trial": pa.int32(),
    "setting": pa.int32(),
    "name": pa.string(),
    "key": pa.string(),
    "maps": pa.string(),
    "crf": pa.bool_(),
    **{name: pa.float64() for name in ("best_threshold", "best_mean_iou", "mean_iou", "value", "seconds")},
    "pictures": pa.int32(),
}


def append_rows(folder: Path, rows: Sequence[Row], axes: Sequence[Axis]) -> None:
    """Add a trial's rows to the study's file, in the place of what it has of that trial. For several processes.

    Args:
        folder: the study's.
        rows: of whole trials.
        axes: the inner ones, in order: a column each.

    Raises:
        InputError: the file is damaged.
    """
    with FileLock(folder / "inner.lock"):
        again = {row.trial for row in rows}
        found = [*(row for row in read_rows(folder) if row.trial not in again), *rows]
        found.sort(key=lambda row: (row.trial, row.setting))
        kinds = {axis.path: _type(axis) for axis in axes}
        columns = {name: [getattr(row, name) for row in found] for name in _TYPES}
        columns |= {path: [row.values.get(path) for row in found] for path in kinds}
        schema = pa.schema(list((_TYPES | kinds).items()), metadata={"wsss_platform": json.dumps(_SAID)})
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd", write_page_checksum=True)
        write_atomic(folder / FILE, buffer.getvalue())


def read_rows(folder: Path) -> list[Row]:
    """All rows by trial and setting; none where there is no file. InputError naming a damaged one."""
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        table = pq.read_table(path, use_threads=False, page_checksum_verification=True)
        if json.loads((table.schema.metadata or {}).get(b"wsss_platform", b"null")) != _SAID:
            raise InputError(f"{path}: not the inner settings of a study, version {_SAID['version']}")
        plain = [field.name for field in fields(Row) if field.name != "values"]
        return [
            Row(values={name: value for name, value in row.items() if name not in plain}, **{n: row[n] for n in plain})
            for row in table.to_pylist()
        ]
    except InputError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged or cut short ({error}); delete it, and a trial searches anew") from None


def known_rows(folder: Path, maps: str) -> dict[str, Row]:
    """What was found out before about the same maps, by the setting's key; of several that on the most pictures."""
    rows = [row for row in read_rows(folder) if row.maps == maps]
    return {row.key: row for row in sorted(rows, key=lambda row: row.pictures)}


def looks(folder: Path, seeds: int) -> int:
    """How often a study looked at pixel truth for its settings: once for each on the same maps, on each seed's."""
    return seeds * len({(row.maps, row.key) for row in read_rows(folder)})


def seconds_per_picture(store: Store, *, crf: bool) -> tuple[float | None, int]:
    """What a setting took, the median over the store's studies, and of how many; (None, 0) without any.

    Args:
        store: whose studies.
        crf: of searches with a CRF among their settings, or of those without, as settings share their seconds.
    """
    took: list[float] = []
    for path in sorted((store.root / "studies").glob(f"*/{FILE}")):
        try:
            rows = read_rows(path.parent)
        except InputError:  # its own study names it
            continue
        with_crf = {row.trial for row in rows if row.crf}
        took += [row.seconds / row.pictures for row in rows if (row.trial in with_crf) == crf and row.pictures]
    return (statistics.median(took), len(took)) if took else (None, 0)


def plain(axis: Axis, value: Any) -> Any:
    """An axis' value as its column holds it."""
    if value is None or not isinstance(axis, CategoricalAxis) or isinstance(value, str):
        return value
    return json.dumps(value)


def _type(axis: Axis) -> pa.DataType:
    if isinstance(axis, CategoricalAxis):
        return pa.string()
    return pa.float64() if isinstance(axis, FloatAxis) else pa.int64()
