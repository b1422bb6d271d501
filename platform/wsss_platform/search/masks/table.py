"""What settings counted on stored maps, image by image, as one Parquet file: no search repeats what is in it.

One row per stored maps, setting, image and class of which there is a pixel: `maps`, `setting`, `id`, `class`, `hits`,
`truth`, `predicted`. The metadata say under "wsss_platform" whose maps and ground truth these are, and of each setting
its masks section, images and seconds.
"""

from __future__ import annotations

import io
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.store.artefacts import Store, write_atomic

FILE = "counts.parquet"
INNER = "inner"
"""Folder of a study with a folder of each search within its trials."""
_SAID = {"format": "wsss-platform counts of settings", "version": 1}
_NAMES, _NUMBERS = ("maps", "setting", "id"), ("class", "hits", "truth", "predicted")
_SCHEMA = [(name, pa.string()) for name in _NAMES] + [(name, pa.int64()) for name in _NUMBERS]


class Table:
    """(stored maps, setting's key, image) -> counts int64 [3, C + 1], see `confusion.parts`."""

    def __init__(self, classes: Sequence[str]) -> None:
        """An empty one; `classes` are the names of the C foreground classes."""
        self._classes = list(classes)
        self._cells: dict[tuple[str, str], dict[str, NDArray[np.int64]]] = defaultdict(dict)
        self._maps: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        """Settings x images."""
        return sum(map(len, self._cells.values()))

    def has(self, source: str, key: str, id: str) -> bool:
        """Whether a setting was counted on an image."""
        return id in self._cells.get((source, key), ())

    def parts(self, source: str, key: str, ids: Sequence[str]) -> NDArray[np.int64]:
        """Counts of one setting on those of some images on which it was counted: int64 [N, 3, C + 1]."""
        cells = self._cells[source, key]
        found = [cells[id] for id in ids if id in cells]
        parts = np.zeros((len(found), 3, len(self._classes) + 1), np.int64)
        for own, rows in zip(parts, found, strict=True):
            own[:, rows[:, 0]] = rows[:, 1:].T
        return parts

    def describe(self, source: str, list_name: str, truth: str) -> None:
        """Say whose maps and ground truth counts are of, before they are put."""
        self._maps.setdefault(source, {"list": list_name, "truth": truth[:12], "settings": {}})

    def put(
        self, source: str, key: str, masks: MasksConfig, counts: Mapping[str, NDArray[np.int64]], seconds: float
    ) -> None:
        """Add what a setting counted on some images in so many seconds."""
        for id, parts in counts.items():
            classes = np.flatnonzero(parts.any(0)) if parts.any() else np.zeros(1, np.int64)
            self._cells[source, key][id] = np.column_stack([classes, parts[:, classes].T])
        said = {"masks": masks.model_dump(mode="json", exclude_none=True), "images": len(counts), "seconds": seconds}
        self._maps[source]["settings"][key] = said

    def add(self, path: Path) -> None:
        """What is in a file, too; InputError naming one that is damaged or of other classes."""
        said = _said(path)
        if said["classes"] != self._classes:
            raise InputError(f"{path}: counts of other classes; give another --name", field=path)
        try:
            table = pq.read_table(path, use_threads=False, page_checksum_verification=True)
            slots = list(zip(*(table[name].to_pylist() for name in _NAMES), strict=True))
            numbers = np.column_stack([table[name].to_numpy() for name in _NUMBERS])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise _damaged(path, error) from None
        end = 0
        for (source, key, id), rows in groupby(slots):
            begin, end = end, end + len(list(rows))
            self._cells[source, key][id] = numbers[begin:end]
        for source, maps in said["maps"].items():
            self.describe(source, maps["list"], maps["truth"])
            mine = self._maps[source]["settings"]
            for key, one in maps["settings"].items():
                had = mine.get(key, {"images": 0, "seconds": 0.0})
                mine[key] = one | {name: had[name] + one[name] for name in ("images", "seconds")}

    def write(self, path: Path) -> None:
        """Write all of it, atomically."""
        slots = [(*slot, id) for slot, images in self._cells.items() for id in images]
        cells = [rows for images in self._cells.values() for rows in images.values()]
        names = np.array(slots, object).reshape(-1, len(_NAMES)).repeat([len(rows) for rows in cells], 0)
        numbers = np.concatenate([np.zeros((0, len(_NUMBERS)), np.int64), *cells])
        said = _SAID | {"classes": self._classes, "maps": self._maps}
        schema = pa.schema(_SCHEMA, metadata={"wsss_platform": json.dumps(said)})
        columns = [pa.array(column, kind) for column, (_, kind) in zip([*names.T, *numbers.T], _SCHEMA, strict=True)]
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd", write_page_checksum=True)
        write_atomic(path, buffer.getvalue())


def searched(study: Path) -> Iterator[dict[str, Any]]:
    """What the searches in a study's folder have counted, of each stored maps: "list", "truth" (the first 12 hex digits
    of its hash) and "settings": key -> "masks", "images", "seconds". InputError naming a damaged table."""
    for path in sorted([*study.glob(FILE), *study.glob(f"{INNER}/*/{FILE}")]):
        yield from _said(path)["maps"].values()


def evaluations(study: Path) -> int:
    """How often a study evaluated settings on ground truth: once for each on the same maps."""
    return sum(len(maps["settings"]) for maps in searched(study))


def seconds_per_image(store: Store, *, crf: bool) -> tuple[float | None, int]:
    """What a setting took, the median over the store's studies, and of how many; (None, 0) without any.

    Args:
        store: whose studies.
        crf: of searches with a CRF among their settings, or of those without, as settings share their seconds.
    """
    took: list[float] = []
    for study in sorted((store.root / "studies").glob("*")):
        try:
            found = [list(maps["settings"].values()) for maps in searched(study)]
        except InputError:  # its own study names it
            continue
        for settings in found:
            if any(one["masks"]["crf"] != "none" for one in settings) == crf:
                took += [one["seconds"] / one["images"] for one in settings if one["images"]]
    return (statistics.median(took), len(took)) if took else (None, 0)


def _said(path: Path) -> dict[str, Any]:
    """The metadata of a table."""
    try:
        said: Any = json.loads((pq.read_schema(path).metadata or {}).get(b"wsss_platform", b"null"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    if not isinstance(said, dict) or {name: said.get(name) for name in _SAID} != _SAID:
        raise InputError(f"{path}: not counts of settings, version {_SAID['version']}", field=path)
    return said


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: damaged or cut short ({error}); delete it and search again", field=path)
