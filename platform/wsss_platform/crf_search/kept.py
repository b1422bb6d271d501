"""Counts of settings on pictures as one Parquet file: what a killed or a later search does not repeat."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.crf_search.candidates import Candidate
from wsss_platform.errors import InputError
from wsss_platform.store import write_atomic

EVERY = 3.0
"""Seconds between two writings: what a kill may cost."""
_FORMAT = "wsss-platform CRF search"
_COUNTS = ("hits", "truth", "predicted")
_SCHEMA = {"setting": pa.string(), "id": pa.string(), "class": pa.uint8()} | {name: pa.int64() for name in _COUNTS}


class Kept:
    """(setting, picture) -> counts int64 [3, C + 1], see `confusion.parts`; one row per class that is not empty.

    Settings, by their key, stand in the metadata. Not for several processes at once.
    """

    def __init__(self, path: Path, classes: Sequence[str], source: str) -> None:
        """Read what there is; InputError naming a file that is damaged or of another `source` (maps, truth)."""
        self.path, self.classes, self._source = path, tuple(classes), source
        self._parts: dict[tuple[str, str], NDArray[np.int64]] = {}
        self._settings: dict[str, dict[str, object]] = {}
        self._written = time.monotonic()
        if path.exists():
            self._read()

    def __contains__(self, slot: tuple[str, str]) -> bool:
        return slot in self._parts

    def __len__(self) -> int:
        return len(self._parts)

    def parts(self, candidate: Candidate, ids: Sequence[str]) -> NDArray[np.int64]:
        """Counts of one setting on pictures: int64 [N, 3, C + 1]."""
        return np.stack([self._parts[candidate.key, name] for name in ids])

    def put(self, key: str, masks: MasksConfig, id: str, parts: NDArray[np.int64]) -> None:
        """Keep the counts of one setting on one picture; written now and then."""
        self._parts[key, id] = parts
        self._settings[key] = masks.model_dump(mode="json", exclude_none=True)
        if time.monotonic() - self._written > EVERY:
            self.write()

    def write(self) -> None:
        """Write everything, atomically."""
        columns: dict[str, list[object]] = {name: [] for name in _SCHEMA}
        for (key, name), parts in self._parts.items():
            for cls in np.flatnonzero(parts.any(0)) if parts.any() else [0]:
                row = (key, name, cls, *parts[:, cls])
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
        said = {
            "format": _FORMAT,
            "version": 1,
            "classes": list(self.classes),
            "source": self._source,
            "settings": self._settings,
        }
        schema = pa.schema(list(_SCHEMA.items()), metadata={"wsss_platform": json.dumps(said)})
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd", write_page_checksum=True)
        write_atomic(self.path, buffer.getvalue())
        self._written = time.monotonic()

    def _read(self) -> None:
        try:
            table = pq.read_table(self.path, use_threads=False, page_checksum_verification=True)
            said = json.loads((table.schema.metadata or {}).get(b"wsss_platform", b"null"))
            if not isinstance(said, dict) or (said.get("format"), said.get("version")) != (_FORMAT, 1):
                raise InputError(f"{self.path}: not the results of a CRF search, version 1")
            if (said["source"], said["classes"]) != (self._source, list(self.classes)):
                raise InputError(f"{self.path}: results of other maps or other pixel truth; give another --name")
            self._settings = said["settings"]
            for row in table.to_pylist():
                slot = (row["setting"], row["id"])
                parts = self._parts.setdefault(slot, np.zeros((3, len(self.classes) + 1), np.int64))
                parts[:, row["class"]] = [row[name] for name in _COUNTS]
        except InputError:
            raise
        except (pa.ArrowException, OSError, KeyError, ValueError, IndexError, TypeError) as error:
            raise InputError(f"{self.path}: damaged or cut short ({error}); delete it and search again") from None
