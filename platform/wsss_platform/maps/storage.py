"""The stored form of an image's class maps, and one Parquet file per chunk of images.

What follows is form "grid"; form "views" keeps the network's outputs instead (`views`), in files of the same names.

Geometry: the grid has a node at every `CELL` pixels, at 0, 4, 8, ... where a pixel's centre is at its number + 0.5, the
last one at or beyond the image's end. Full size is bilinear interpolation between nodes at the pixels' centres. For
uint8 and uint11 every interpolated value is a multiple of 1/64 of a level, of which there are less than 2^17: exact in
float32, so OpenCV, torch or any other implementation of this rule rebuilds the same bits, and the sweep can count in
whole numbers (`scores.levels`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError
from wsss_platform.maps.geometry import CELL as CELL
from wsss_platform.maps.geometry import PADDING as PADDING
from wsss_platform.maps.geometry import grid_size as grid_size
from wsss_platform.maps.geometry import padded_size as padded_size
from wsss_platform.maps.packing import packed, unpacked
from wsss_platform.maps.views import VIEWS_FORMAT, VIEWS_SCHEMA, StoredViews, views_of_row, views_row
from wsss_platform.store.artefacts import write_atomic

FORMAT = {
    "format": "wsss-platform maps",
    "version": 2,
    "geometry": f"nodes at 0, {CELL}, ... pixels (a pixel's centre is at its number + 0.5), bilinear between them",
    "scores": "C order [classes, rows, columns]; uint8 is score x 255, uint11 (in 16 bits) score x 2040, float16 the "
    "score's bits; of these whole numbers x the differences x[i, j] - x[i - 1, j] - x[i, j - 1] + x[i - 1, j - 1] "
    "(0 outside), of 16 bits + 128, modulo their bits; all lower bytes, then all upper ones",
}
"""What the metadata of every file says under the key "wsss_platform"."""

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("precision", pa.string()),
        ("classes", pa.binary()),
        ("scores", pa.binary()),
    ],
    metadata={"wsss_platform": json.dumps(FORMAT)},
)
TOP: Mapping[str, int] = {"uint8": 255, "uint11": 2040}
"""The level of score 1, by precision."""
_TYPES: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "uint11": np.dtype("<u2"), "float16": np.dtype("<f2")}
_PRECISIONS = {kind.name: precision for precision, kind in _TYPES.items()}
_GROUP = 8  # images per row group: what one random read decompresses


@dataclass(frozen=True)
class StoredMap:
    """The maps of one image: only the classes present, on the coarse grid.

    Raises:
        InputError: when the parts do not fit each other; the message names the image.
    """

    id: str
    """Image id."""
    classes: NDArray[np.uint8]
    """uint8 [K], 0-based foreground classes in ascending order; K = 0 for an image without any."""
    scores: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float16]
    """uint8 (score x 255), uint16 (score x 2040: precision "uint11") or float16 (score 0..1) [K, rows, columns]."""
    height: int
    """Of the image in pixels."""
    width: int
    """Of the image in pixels."""

    def __post_init__(self) -> None:
        check_id(self.id, "map")
        if self.height < 1 or self.width < 1:
            raise InputError(f"map of {self.id}: image size {self.height}x{self.width} is not positive", field=self.id)
        wanted = (len(self.classes), *grid_size(self.height, self.width))
        if self.scores.shape != wanted:
            raise InputError(
                f"map of {self.id}: scores have shape {self.scores.shape}, expected {wanted} for "
                f"{len(self.classes)} classes of a {self.height}x{self.width} image",
                field=self.id,
            )
        if self.scores.dtype.name not in _PRECISIONS or self.classes.dtype != np.uint8:
            raise InputError(
                f"map of {self.id}: scores {self.scores.dtype} and classes {self.classes.dtype}, "
                "expected uint8, uint16 or float16 scores and uint8 classes",
                field=self.id,
            )
        if self.precision in TOP and int(self.scores.max(initial=0)) > TOP[self.precision]:
            raise InputError(
                f"map of {self.id}: level {self.scores.max()}, expected at most {TOP[self.precision]}", field=self.id
            )
        if np.any(np.diff(self.classes.astype(np.int16)) <= 0):
            raise InputError(f"map of {self.id}: classes {self.classes.tolist()} are not ascending", field=self.id)

    @property
    def precision(self) -> str:
        """ "uint8", "uint11" or "float16"."""
        return _PRECISIONS[self.scores.dtype.name]

    @property
    def nodes(self) -> NDArray[np.float32]:
        """The grid's scores 0..1: float32 [K, rows, columns]."""
        return self.scores.astype(np.float32) / np.float32(TOP.get(self.precision, 1))


AnyMap = StoredMap | StoredViews
"""The maps of one image in either form."""


def quantised(nodes: NDArray[np.float32], precision: str) -> NDArray[Any]:
    """Scores float32 0..1 in the type of a precision, as `StoredMap.scores` has them; cut to 0..1."""
    nodes = nodes.clip(0, 1)
    if precision in TOP:
        nodes = np.rint(nodes * np.float32(TOP[precision]))
    return nodes.astype(_TYPES[precision])


def full_size(stored: AnyMap) -> NDArray[np.float32]:
    """The maps at the image's size: float32 [K, H, W], scores 0..1, by the geometry of the form."""
    if isinstance(stored, StoredViews):
        return stored.full_size()
    full = np.empty((len(stored.classes), stored.height, stored.width), np.float32)
    one = np.float32(TOP.get(stored.precision, 1))
    half = CELL // 2  # with half-pixel centres the first node would lie so many pixels inside
    for target, grid in zip(full, stored.scores.astype(np.float32), strict=True):
        larger = cv2.resize(grid, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_LINEAR)
        np.divide(larger[half : half + stored.height, half : half + stored.width], one, out=target)
    return full


def maps_file(folder: Path, index: int) -> Path:
    """The file of chunk number `index` in a maps artefact."""
    return folder / f"maps-{index:06d}.parquet"


def write_maps(path: Path, maps: Iterable[AnyMap]) -> None:
    """Write one chunk of images of one form, in the given order; readers see the whole file or none.

    Same maps, same bytes.
    """
    listed = list(maps)
    forms = {type(item) for item in listed}
    if len(forms) > 1:
        raise ValueError(f"{path}: a file holds maps of one form")
    rows = [views_row(item) if isinstance(item, StoredViews) else _row(item) for item in listed]
    ids = [row["id"] for row in rows]
    if len(set(ids)) != len(ids):
        raise InputError(f"{path}: image {_repeated(ids)!r} is in the chunk twice", field=path)
    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows, schema=VIEWS_SCHEMA if StoredViews in forms else _SCHEMA),
        buffer,
        row_group_size=_GROUP,
        compression="zstd",
        compression_level=6,
        use_dictionary=["precision", "recipe"] if StoredViews in forms else ["precision"],
        write_statistics=False,
        write_page_checksum=True,
    )
    write_atomic(path, buffer.getvalue())


def read_maps(path: Path) -> Iterator[AnyMap]:
    """The maps of one file in stored order, a few images in memory at a time.

    Raises:
        InputError: not a map file, another version, or damaged; the message names the file.
    """
    file = _open(path)
    for group in range(file.num_row_groups):
        yield from _read_rows(path, file, group)


def read_ids(path: Path) -> list[str]:
    """The image ids of one file in stored order, without reading the maps."""
    try:
        return [str(name) for name in _open(path).read(columns=["id"]).column("id").to_pylist()]
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


class MapReader:
    """All maps of a folder (`maps-*.parquet`) by image id. Cheap to pickle: holds places, no open files."""

    def __init__(self, folder: Path) -> None:
        """Read the ids of every file; InputError when there is no file, or an id is stored twice."""
        self.folder = folder
        self._files = sorted(folder.glob("maps-*.parquet"))
        if not self._files:
            raise InputError(f"{folder}: no maps-*.parquet in it", field=folder)
        self._places: dict[str, tuple[int, int]] = {}
        for number, path in enumerate(self._files):
            for row, name in enumerate(read_ids(path)):
                if name in self._places:
                    other = self._files[self._places[name][0]]
                    raise InputError(f"{path}: image {name!r} is also in {other.name}", field=path)
                self._places[name] = (number, row)

    @property
    def ids(self) -> list[str]:
        """Image ids in stored order."""
        return list(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def __getitem__(self, id: str) -> AnyMap:
        """One image's maps; InputError when the folder has none of it."""
        if id not in self._places:
            raise InputError(f"{self.folder}: no map of image {id!r}", field=self.folder)
        number, row = self._places[id]
        path = self._files[number]
        return _read_rows(path, _open(path), row // _GROUP, row % _GROUP)[0]

    def __iter__(self) -> Iterator[AnyMap]:
        """Every map in stored order, a few in memory at a time."""
        for path in self._files:
            yield from read_maps(path)


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        said = json.loads((file.schema_arrow.metadata or {}).get(b"wsss_platform", b"null"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", field=path) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    known = {str(form["format"]): (form, schema) for form, schema in ((FORMAT, _SCHEMA), (VIEWS_FORMAT, VIEWS_SCHEMA))}
    if not isinstance(said, dict) or said.get("format") not in known:
        raise InputError(f"{path}: not a file of stored maps (its metadata does not say so)", field=path)
    form, schema = known[said["format"]]
    if said != form or not file.schema_arrow.equals(schema):
        raise InputError(
            f"{path}: map format version {said.get('version')}, this release reads {form['version']}", field=path
        )
    return file


def _read_rows(path: Path, file: pq.ParquetFile, group: int, row: int | None = None) -> list[AnyMap]:
    """The maps of a row group, or only that of one of its rows."""
    try:
        table = file.read_row_group(group, use_threads=False)
        rows = table if row is None else table.slice(row, 1)
        of_row = views_of_row if "recipe" in rows.column_names else _stored
        return [of_row(item) for item in rows.to_pylist()]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def _row(item: StoredMap) -> dict[str, Any]:
    return {
        "id": item.id,
        "height": item.height,
        "width": item.width,
        "rows": item.scores.shape[1],
        "columns": item.scores.shape[2],
        "precision": item.precision,
        "classes": item.classes.tobytes(),
        "scores": packed(item.scores),
    }


def _stored(row: dict[str, Any]) -> StoredMap:
    classes = np.frombuffer(row["classes"], np.uint8)
    shape = (len(classes), row["rows"], row["columns"])
    scores = unpacked(row["scores"], _TYPES[row["precision"]], shape)
    return StoredMap(row["id"], classes, scores, row["height"], row["width"])


def _damaged(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{path}: not readable as stored maps, damaged or cut short ({reason})", field=path)


def _repeated(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
