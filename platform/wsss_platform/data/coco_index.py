"""The index of one COCO annotation file: parsed once, then read from a cache that is named by the file's content.

    $XDG_CACHE_HOME/wsss-platform/coco/SHA256-1.parquet     (~/.cache without that variable)

A row is an image with annotations, in the order of the names. Outlines are kept as COCO's compressed run lengths,
which pycocotools makes of polygons, so that `convert.coco.paint` gives equal masks from the index and from the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet
from filelock import FileLock
from numpy.typing import NDArray

from wsss_platform.data.convert.coco import AnnotatedImage, Annotations, Region, read_annotations
from wsss_platform.data.convert.coco_outline import RunLengths, compress
from wsss_platform.errors import InputError
from wsss_platform.store.artefacts import write_atomic

log = logging.getLogger(__name__)

REVISION = 1
"""Raised when the same file gives another index."""
_SCHEMA = pa.schema(
    {
        "file": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "values": pa.list_(pa.uint8()),
        "areas": pa.list_(pa.float64()),
        "crowds": pa.list_(pa.bool_()),
        "runs": pa.list_(pa.string()),
    }
)
_FEW = ["file", "height", "width", "values"]
"""What splits need; masks need the rest."""


class CocoIndex:
    """What an annotation file says of its images."""

    def __init__(self, digest: str, source: Path | bytes) -> None:
        """
        Args:
            digest: sha256 of the annotation file.
            source: Parquet as `_written` makes it, or its file.

        Raises:
            OSError, pa.ArrowException, ValueError: it is no such Parquet.
        """
        self.digest, self._source = digest, source
        self.classes, self.without = _said(parquet.read_schema(self._opened()), digest)
        self._few = _checked(self._read(_FEW), len(self.classes))
        self.ids: tuple[str, ...] = tuple(name.removesuffix(".jpg") for name in self._few["file"].to_pylist())

    @cached_property
    def labels(self) -> NDArray[np.bool_]:
        """bool [N, C] of all images: the classes of their annotations, crowds too."""
        values = self._few["values"].combine_chunks()
        rows = np.repeat(np.arange(len(self.ids)), np.diff(values.offsets.to_numpy()))
        table = np.zeros((len(self.ids), len(self.classes)), dtype=bool)
        table[rows, values.flatten().to_numpy().astype(np.int64) - 1] = True
        return table

    def image(self, id: str) -> AnnotatedImage:
        """An image with its regions; `file` is its name alone. InputError when there is no such image."""
        if id not in self._rows:
            raise InputError(f"image {id!r} has no annotation", field=id)
        (row,) = self._all.slice(self._rows[id], 1).to_pylist()
        regions = zip(row["values"], row["areas"], row["crowds"], row["runs"], strict=True)
        return AnnotatedImage(
            id,
            Path(row["file"]),
            row["height"],
            row["width"],
            tuple(Region(value, area, crowd, RunLengths(runs)) for value, area, crowd, runs in regions),
        )

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.ids)}

    @cached_property
    def _all(self) -> pa.Table:
        return self._read(None)

    def _read(self, columns: list[str] | None) -> pa.Table:
        return parquet.read_table(self._opened(), columns=columns)

    def _opened(self) -> Any:
        return self._source if isinstance(self._source, Path) else pa.BufferReader(self._source)


def _said(schema: pa.Schema, digest: str) -> tuple[tuple[str, ...], int]:
    """Classes and number of images without annotations; ValueError where this is not the schema of that file's."""
    if not schema.equals(_SCHEMA, check_metadata=False):
        raise ValueError("not the columns of an index")
    said = json.loads((schema.metadata or {}).get(b"wsss_platform", b"null"))
    if not isinstance(said, dict) or said.get("digest") != digest:
        raise ValueError("the index of another file")
    classes, without = said.get("classes"), said.get("without")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes) or type(without) is not int:
        raise ValueError("no classes, or no number of images without annotations")
    return tuple(classes), without


def _checked(table: pa.Table, classes: int) -> pa.Table:
    """The columns that splits need; ValueError for names, sizes and values that no annotation file gives."""
    names = table["file"].to_pylist()
    if not names or any(table[name].null_count for name in _FEW) or len(set(names)) < len(names):
        raise ValueError("an index with nothing, with gaps, or with an image twice")
    values = table["values"].combine_chunks().flatten()
    if (
        values.null_count
        or not len(values)
        or not 1 <= compute.min(values).as_py() <= compute.max(values).as_py() <= classes
    ):
        raise ValueError(f"values that are not in 1..{classes}")
    if min(compute.min(table[name]).as_py() for name in ("height", "width")) < 1:
        raise ValueError("an image without pixels")
    return table


def open_index(path: Path) -> CocoIndex:
    """The index of an annotation file: from the cache, else parsed and put there.

    A process hashes an unchanged file once. Where the cache cannot be written, each process parses the file itself.

    Raises:
        InputError: the file is missing or wrong; names the file and the entry (`convert.coco.read_annotations`).
    """
    try:
        stat = path.stat()
        return _opened(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", field=path) from None


def cache_folder() -> Path:
    """Where indices are kept."""
    said = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(said) if said else Path("~/.cache").expanduser()) / "wsss-platform" / "coco"


@lru_cache(maxsize=8)
def _opened(path: Path, size: int, changed_ns: int) -> CocoIndex:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    cached = cache_folder() / f"{digest}-{REVISION}.parquet"
    if (found := _cached(digest, cached)) is not None:
        return found
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cached.with_suffix(".lock")):  # a second process waits instead of parsing, too
            if (found := _cached(digest, cached)) is not None:
                return found
            made = _parsed(path, digest)
            write_atomic(cached, made)
            return CocoIndex(digest, cached)
    except OSError as error:
        log.warning(
            "%s: cannot be written (%s), so every process parses %s again; XDG_CACHE_HOME names another place",
            cached.parent,
            error.strerror,
            path,
        )
        return CocoIndex(digest, _parsed(path, digest))


def _cached(digest: str, file: Path) -> CocoIndex | None:
    """None where there is no index, or a damaged or foreign one."""
    try:
        return CocoIndex(digest, file)
    except (OSError, pa.ArrowException, ValueError):
        return None


def _parsed(path: Path, digest: str) -> bytes:
    log.info("reading %s, once", path)
    found = read_annotations(path, Path())
    said = {"digest": digest, "classes": found.classes, "without": found.without}
    schema = _SCHEMA.with_metadata({"wsss_platform": json.dumps(said)})
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(_rows_of(found)), schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def _rows_of(found: Annotations) -> Iterator[dict[str, Any]]:
    for image in found.images:
        yield {
            "file": image.file.name,
            "height": image.height,
            "width": image.width,
            "values": [region.value for region in image.regions],
            "areas": [region.area for region in image.regions],
            "crowds": [region.crowd for region in image.regions],
            "runs": [compress(region.outline, image.height, image.width) for region in image.regions],
        }
