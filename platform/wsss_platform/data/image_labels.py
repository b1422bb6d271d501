"""The label file of a folder of images: labels.csv, labels.json or labels.npy.

    labels.csv    id,class                a row for each image and class; the header may be left out
                  id,cat,dog              or a column of 0 and 1 for each class
    labels.json   {"a": ["cat"], ...}     or what `data convert-labels` writes
    labels.npy    0 and 1, [images, classes]; ids.txt and classes.txt name its rows and columns

classes.txt (a name a line) says the order of the classes, which is that of the numbers 1, 2, ... in masks. Without it
they are in the order of a table's columns, else in that of the alphabet. An id may be written as its image's file name.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsss_platform.data.convert.annotations import line_of, read_json, read_label_json
from wsss_platform.data.reading import Problem
from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError, unknown

LABEL_FILES = ("labels.csv", "labels.json", "labels.npy")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
"""Of image files, in any case."""
CLASSES, IDS = "classes.txt", "ids.txt"
_MOST_CLASSES = 254  # 255 is no class in a mask


@dataclass
class LabelTable:
    """What a label file says."""

    path: Path
    classes: tuple[str, ...] = ()
    labels: dict[str, list[str]] = field(default_factory=dict)
    """Image id -> names of its classes, each once."""
    places: dict[str, str] = field(default_factory=dict)
    """Image id -> its first place, "FILE:ROW"."""
    problems: list[Problem] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)
    """Ids of rows with a problem."""
    name: str = ""
    """Of the data set, where the file says it."""

    def say(self, where: str, id: str, message: str) -> None:
        """Note a problem of an image."""
        self.problems.append(Problem(where, message))
        self.wrong.add(id)


def id_of(name: str) -> str:
    """The id that an id or an image's file name stands for."""
    name = name.strip()
    ending = next((each for each in IMAGE_ENDINGS if name.lower().endswith(each)), "")
    return name[: len(name) - len(ending)]


def read_labels(path: Path) -> LabelTable:
    """A label file with everything that is wrong with its rows.

    Args:
        path: the file; `classes.txt` and `ids.txt` are looked for beside it.

    Raises:
        InputError: the file as a whole is wrong: missing, of another form, without a right row (names the first wrong
            one), or with a wrong list of classes; names the file.
    """
    read = {".csv": _read_csv, ".json": _read_json, ".npy": _read_npy}.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path}: expected a label file that ends in .csv, .json or .npy", field=path)
    listed = path.parent / CLASSES
    said = _lines(listed) if listed.is_file() else None
    if said is not None:
        _check_classes(said, listed)
    table = LabelTable(path)
    own = read(table, said)
    if not table.labels:
        raise InputError(str(table.problems[0]) if table.problems else f"{path}: it names no image", field=path)
    table.classes = tuple(said if said is not None else own)
    _check_classes(table.classes, path)
    for id, names in table.labels.items():
        for name in names:
            if name not in table.classes and id not in table.wrong:
                table.say(table.places[id], id, f"image {id}: {unknown('class', name, table.classes)}")
    return table


def _read_csv(table: LabelTable, said: list[str] | None) -> Iterable[str]:
    try:
        with table.path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [(row, reader.line_num) for reader in [csv.reader(stream)] for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table.path}: not a table of labels: {error}", field=table.path) from None
    if not rows:
        raise InputError(f"{table.path}: it is empty", field=table.path)
    head = [cell.strip() for cell in rows[0][0]]
    if head[0].lower() == "id" and [cell.lower() for cell in head[1:]] != ["class"]:
        return _read_columns(table, head, rows[1:])
    pairs = rows[1:] if head[0].lower() == "id" else rows
    for row, line in pairs:
        where = f"{table.path}:{line}"
        if len(row) != 2:
            table.problems.append(Problem(where, f"expected id,class, got {','.join(row)!r:.80}"))
            continue
        name = row[1].strip()
        id = _checked(table, row[0], where)
        if id is None:
            continue
        if not name:
            table.say(where, id, f"image {id}: its class is empty")
        elif name in table.labels.get(id, ()):
            table.say(where, id, f"image {id}: class {name!r} again; it is already said from {table.places[id]} on")
        else:
            table.places.setdefault(id, where)
            table.labels.setdefault(id, []).append(name)
    return sorted({name for names in table.labels.values() for name in names})


def _read_columns(table: LabelTable, head: list[str], rows: list[tuple[list[str], int]]) -> Iterable[str]:
    classes = head[1:]
    _check_classes(classes, Path(f"{table.path}:1"))
    for row, line in rows:
        where = f"{table.path}:{line}"
        id = _new(table, row[0], where)
        if id is None:
            continue
        cells = [cell.strip() for cell in row[1:]]
        if len(cells) != len(classes) or any(cell not in ("0", "1") for cell in cells):
            table.say(where, id, f"image {id}: expected {len(classes)} values of 0 or 1, got {','.join(cells)!r:.80}")
            continue
        table.labels[id] = [name for name, cell in zip(classes, cells, strict=True) if cell == "1"]
    return classes


def _read_json(table: LabelTable, said: list[str] | None) -> Iterable[str]:
    text, data = read_json(table.path)
    if isinstance(data, dict) and isinstance(data.get("labels"), dict) and "classes" in data:
        found = read_label_json(table.path)
        table.name = found.name
        for key, names in found.labels.items():
            id = _new(table, key, f"{table.path}:{line_of(text, key)}")
            if id is not None:
                table.labels[id] = list(dict.fromkeys(names))
        return found.classes
    if not isinstance(data, dict):
        raise InputError(f"{table.path}: expected {{image id: [class names]}}", field=table.path)
    for key, names in data.items():
        where = f"{table.path}:{line_of(text, key)}"
        id = _new(table, key, where)
        if id is None:
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
            table.say(where, id, f"image {id}: expected a list of class names, got {names!r:.80}")
            continue
        table.labels[id] = list(dict.fromkeys(name.strip() for name in names))
    return sorted({name for names in table.labels.values() for name in names})


def _read_npy(table: LabelTable, said: list[str] | None) -> Iterable[str]:
    path = table.path
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "pickle" in str(error):
            raise InputError(
                f"{path}: a pickled file, such as IRN's cls_labels.npy, which can run code; convert it once with "
                f"`wsss-platform data convert-labels {path} {path.with_suffix('.json')}` and move it away",
                field=path,
            ) from None
        raise InputError(f"{path}: not an array of labels: {error}", field=path) from None
    ids_file, classes_file = path.parent / IDS, path.parent / CLASSES
    for file in (ids_file, classes_file):
        if not file.is_file():
            raise InputError(f"{path}: needs {file}, one name a line", field=file)
    ids, classes = _lines(ids_file), said or []
    if getattr(array, "shape", None) != (len(ids), len(classes)):
        raise InputError(
            f"{path}: shape {getattr(array, 'shape', None)}, but {IDS} names {len(ids)} images and {CLASSES} "
            f"{len(classes)} classes; expected ({len(ids)}, {len(classes)})",
            field=path,
        )
    if array.dtype.kind not in "buif":
        raise InputError(f"{path}: values of type {array.dtype}; expected 0 and 1", field=path)
    for row, name in enumerate(ids):
        where = f"{path}: row {row}"
        id = _new(table, name, f"{ids_file}:{row + 1}")
        if id is None:
            continue
        if not np.isin(array[row], (0, 1)).all():
            table.say(where, id, f"image {id}: expected values of 0 or 1, got {array[row]!r:.80}")
            continue
        table.labels[id] = [classes[place] for place in np.flatnonzero(array[row])]
    return classes


def _new(table: LabelTable, name: str, where: str) -> str | None:
    """The id of a row, which must be its only one; None where it is wrong."""
    id = _checked(table, name, where)
    if id is not None and id in table.places:
        table.say(where, id, f"image {id} comes twice; it is already in {table.places[id]}")
        return None
    if id is not None:
        table.places[id] = where
    return id


def _checked(table: LabelTable, name: str, where: str) -> str | None:
    """The id of a row; None where it is no plain name."""
    try:
        return check_id(id_of(name), where)
    except InputError as error:
        table.problems.append(Problem(where, str(error).removeprefix(f"{where}: ")))
        return None


def _lines(path: Path) -> list[str]:
    """The lines of a text file, without those that are empty."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a list of names: {error}", field=path) from None


def _check_classes(classes: Iterable[str], where: Path) -> None:
    """InputError for a list of classes that is empty, too long, or has an empty name or one twice."""
    names = list(classes)
    if not names or not all(names):
        raise InputError(f"{where}: {'a class has an empty name' if names else 'it names no class'}", field=where)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{where}: class {twice!r} comes twice", field=where)
    if len(names) > _MOST_CLASSES:
        raise InputError(f"{where}: {len(names)} classes; a mask has room for {_MOST_CLASSES}", field=where)
