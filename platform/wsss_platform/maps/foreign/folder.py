"""Maps as other codebases leave them: which files an image has, and what is in them.

| form | files | content |
|---|---|---|
| irn | ID.npy | dict keys [K] (class from 0), high_res [K, H, W] (IRN, AMN, ReCAM, CLIMS, ... [code]) |
| seam | ID.npy | dict {class from 0: map [H, W]} (PSA, SEAM, EPS, PPC, OC-CSE [code]) |
| clip-es | ID.npy | dict keys [K] (from 0), attn_highres [K, H, W] float16 [code] |
| puzzlecam | ID.npy | dict keys [1 + K] (0, then class from 1), hr_cam or, after the walk, rw [K, H, W] [code] |
| png | ID_CLASS.png (WSSS-BED [code]), CLASS/ID.png or ID/CLASS.png [ours] | grey, 8 or 16 bits, over 255 or 65535 |
| npz | ID.npz | keys [K] (from 0) and maps [K, h, w], or one map [h, w] for each CLASS [ours] |

CLASS is a name of the data set's or a number from 0. Arrays of whole numbers are scores x 255 (uint8) or x 65535
(uint16). IRN's and PuzzleCAM's strided `cam` is not taken: it is aligned otherwise than the full-size map.
"""

from __future__ import annotations

import io
import typing
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_platform.config.imported import Form
from wsss_platform.data.convert.pickled import read_pickled
from wsss_platform.data.reading import BROKEN
from wsss_platform.errors import InputError, unknown

FORMS: tuple[Form, ...] = typing.get_args(Form)
_LARGEST = 1 << 30  # bytes of one image's maps
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "irn": ("high_res",),
    "clip-es": ("attn_highres",),
    "puzzlecam": ("hr_cam", "rw"),
}


@dataclass(frozen=True)
class Foreign:
    """One image's maps as they were found."""

    classes: tuple[int, ...]
    """K foreground classes from 0, each once."""
    maps: NDArray[np.float32]
    """float32 [K, h, w], of whatever size and range."""


@dataclass(frozen=True)
class ForeignFolder:
    """A folder of maps in one form."""

    folder: Path
    form: Form
    classes: tuple[str, ...]
    """Names of the data set's C foreground classes."""

    def files(self, id: str) -> tuple[Path, ...]:
        """The image's files, sorted; none when it has no maps."""
        if self.form == "png":
            return tuple(path for _, path in self._pngs.get(id, ()))
        path = self.folder / f"{id}.{'npz' if self.form == 'npz' else 'npy'}"
        return (path,) if path.is_file() else ()

    def read(self, id: str, contents: Sequence[bytes]) -> Foreign:
        """The image's maps from the bytes of its `files`, in their order.

        Raises:
            InputError: naming the file: it would run code, is damaged, of another form, or has a class that is
                unknown, out of range or twice.
        """
        if self.form == "png":
            pairs = [(name, str(path)) for name, path in self._pngs[id]]
            named = [(self._class(name, where), where) for name, where in pairs]
            maps = [_grey(data, where) for data, (_, where) in zip(contents, named, strict=True)]
            return self._put_together([number for number, _ in named], maps, str(self.folder / id))
        where = str(self.files(id)[0])
        if len(contents[0]) > _LARGEST:
            raise InputError(f"{where}: larger than {_LARGEST >> 20} MiB, which no image's maps are", field=where)
        if self.form == "npz":
            return self._of_npz(_read_npz(contents[0], where), where)
        table = _table(contents[0], where)
        if self.form == "seam":
            return self._put_together(list(table), list(table.values()), where)
        keys = _get(table, ("keys",), self.form, where)
        if self.form == "puzzlecam":
            if len(keys) == 0 or keys[0] != 0:
                raise InputError(
                    f"{where}: keys {_short(keys)} do not begin with 0, the background, as PuzzleCAM's do", field=where
                )
            keys = keys[1:] - 1
        return self._put_together(list(keys), _get(table, _FIELDS[self.form], self.form, where), where)

    @cached_property
    def _pngs(self) -> dict[str, list[tuple[str, Path]]]:
        """Image id -> (what stands for the class, file), sorted by file."""
        nested = sorted(self.folder.glob("*/*.png"))
        class_first = bool(nested) and all(self._is_class(path.parent.name) for path in nested)
        found: dict[str, list[tuple[str, Path]]] = {}
        for path in nested:
            name, id = (path.parent.name, path.stem) if class_first else (path.stem, path.parent.name)
            found.setdefault(id, []).append((name, path))
        for path in sorted(self.folder.glob("*.png")):
            id, _, name = path.stem.rpartition("_")
            found.setdefault(id, []).append((name, path))
        return found

    def _is_class(self, name: str) -> bool:
        return name in self.classes or (name.isdecimal() and str(int(name)) == name and int(name) < len(self.classes))

    def _class(self, name: str, where: str) -> int:
        if name.isdecimal():
            return int(name)
        if name not in self.classes:
            error = unknown("class", name, self.classes, where)
            raise error.in_context(f"{where}: {error}")
        return self.classes.index(name)

    def _of_npz(self, table: Mapping[str, NDArray[Any]], where: str) -> Foreign:
        if "keys" in table:
            return self._put_together(list(table["keys"]), _get(table, ("maps",), "npz", where), where)
        return self._put_together([self._class(name, where) for name in table], list(table.values()), where)

    def _put_together(self, keys: Sequence[Any], maps: Iterable[Any], where: str) -> Foreign:
        classes = [_number(key, where) for key in keys]
        wrong = [number for number in classes if not 0 <= number < len(self.classes)]
        if wrong:
            raise InputError(
                f"{where}: class {wrong[0]} is out of range: the data set's are 0..{len(self.classes) - 1}, "
                "without a background",
                field=where,
            )
        if len(set(classes)) < len(classes):
            raise InputError(f"{where}: classes {_short(classes)} name one twice", field=where)
        scores = [_scores(item, where) for item in maps]
        if len(scores) != len(classes):
            raise InputError(f"{where}: {len(scores)} maps for {len(classes)} classes", field=where)
        if len({item.shape for item in scores}) > 1:
            raise InputError(
                f"{where}: maps of different sizes: {_short([item.shape for item in scores])}", field=where
            )
        order = np.argsort(classes, kind="stable").tolist()
        stack = np.stack([scores[place] for place in order]) if scores else np.zeros((0, 1, 1), np.float32)
        return Foreign(tuple(classes[place] for place in order), stack)


def detect(folder: Path, ids: Sequence[str], classes: tuple[str, ...]) -> Form:
    """The form of a folder's maps, by the first listed image that has any.

    Raises:
        InputError: no such folder, no file of a listed image, files of two forms, or none that is known.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", field=folder)
    found: list[Form] = []
    for suffix in ("npy", "npz"):
        first = next((folder / f"{id}.{suffix}" for id in ids if (folder / f"{id}.{suffix}").is_file()), None)
        if first is not None:
            found.append("npz" if suffix == "npz" else _form_of(first))
    pngs = ForeignFolder(folder, "png", classes)
    if any(pngs.files(id) for id in ids):
        found.append("png")
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder}: has maps of the forms {' and '.join(found)}; say which with --as", field=folder)
    there = next((path.name for path in sorted(folder.iterdir())), None)
    hint = f"the first file is {there}" if there else "the folder is empty"
    raise InputError(
        f"{folder}: no ID.npy, ID.npz or per-class PNG of a listed image, such as {ids[0]}; {hint}", field=folder
    )


def _form_of(path: Path) -> Form:
    table = _table(path.read_bytes(), str(path))
    if all(isinstance(key, int | np.integer) for key in table):
        return "seam"
    for form, fields in _FIELDS.items():
        if "keys" in table and any(field in table for field in fields):
            return typing.cast("Form", form)
    known = "; ".join(f"{form}: keys, {' or '.join(fields)}" for form, fields in _FIELDS.items())
    raise InputError(
        f"{path}: a dict of {_short(list(table))} is none of the known forms ({known}; seam: classes)", field=path
    )


def _table(data: bytes, where: str) -> dict[Any, Any]:
    table = read_pickled(data, where, "map file")
    if not isinstance(table, dict):
        raise InputError(f"{where}: expected a dict, got a {type(table).__name__}", field=where)
    return table


def _get(table: Mapping[Any, Any], names: Sequence[str], form: str, where: str) -> NDArray[Any]:
    for name in names:
        if name in table:
            try:
                return np.asarray(table[name])
            except ValueError as error:
                raise InputError(f"{where}: {name}: {error}", field=where) from None
    raise InputError(f"{where}: {form} files have {' or '.join(names)}, this one {_short(list(table))}", field=where)


def _read_npz(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(item.file_size for item in archive.infolist()) > _LARGEST:
                raise InputError(
                    f"{where}: larger than {_LARGEST >> 20} MiB when unpacked, which no image's maps are", field=where
                )
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except InputError:
        raise
    except (*BROKEN, zipfile.BadZipFile, KeyError, RuntimeError, MemoryError) as error:  # RuntimeError: encrypted
        raise InputError(f"{where}: not readable as .npz without running code from it ({error})", field=where) from None


def _grey(data: bytes, where: str) -> NDArray[Any]:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode not in ("L", "I;16"):
                raise InputError(f"{where}: expected a grey PNG of 8 or 16 bits, got {image.mode}", field=where)
            return np.array(image)
    except InputError:
        raise
    except (*BROKEN, MemoryError) as error:
        raise InputError(f"{where}: not readable as a PNG ({error})", field=where) from None


def _number(key: Any, where: str) -> int:
    if isinstance(key, bool | np.bool_) or not isinstance(key, int | np.integer):
        raise InputError(f"{where}: {key!r:.60} is no class number", field=where)
    return int(key)


def _scores(values: Any, where: str) -> NDArray[np.float32]:
    """float32 [h, w]; whole numbers over their largest."""
    if not isinstance(values, np.ndarray) or values.ndim != 2 or 0 in values.shape:
        raise InputError(
            f"{where}: expected maps [height, width], got {getattr(values, 'shape', type(values).__name__)}",
            field=where,
        )
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype.name not in ("uint8", "uint16", "bool"):
        raise InputError(
            f"{where}: maps of {values.dtype}; expected floats, or uint8 and uint16 as parts of the largest",
            field=where,
        )
    largest = 1 if values.dtype.kind == "b" else np.iinfo(values.dtype).max
    return np.divide(values, largest, dtype=np.float32)


def _short(values: Any) -> str:
    text = ", ".join(str(value) for value in values)
    return f"[{text[:60]}...]" if len(text) > 60 else f"[{text}]"
