"""Image-level labels as files: the label JSON and VOC's XML annotations.

A label JSON is {"classes": [class names in mask order], "labels": {image id: [class names]}}; "name" may say which
data set it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError, unknown
from wsss_platform.store.artefacts import write_atomic

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 foreground classes of VOC 2012; mask value of class c is c + 1."""
_NAME = re.compile(r"[a-z0-9_-]{0,40}")


@dataclass(frozen=True)
class LabelJson:
    """What a label JSON says."""

    name: str
    """Of the data set; "" when it does not say."""
    classes: tuple[str, ...]
    """In the order of the mask values."""
    labels: Mapping[str, tuple[str, ...]]
    """Image id -> names of its classes."""


def read_label_json(path: Path) -> LabelJson:
    """A label JSON.

    Raises:
        InputError: missing, not JSON, another structure, an id or class twice, an id with a path in it, a name of
            the data set that is none, or an unknown class (with the nearest right one); names the file and, where
            there is one, the line.
    """
    text, data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("labels"), dict) or not _is_names(data.get("classes")):
        raise InputError(f'{path}: expected {{"classes": [names], "labels": {{image id: [class names]}}}}', field=path)
    classes = tuple(data["classes"])
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f"{path}: classes are empty or repeat a name", field=path)
    name = data.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f'{path}: "name": {name!r:.60}: expected small letters, digits, "-" and "_", such as "coco2014"', field=path
        )
    for id, names in data["labels"].items():
        try:
            _check_labels(id, names, classes)
        except InputError as error:
            raise error.in_context(f"{path}:{line_of(text, id)}: {error}", field=path) from None
    return LabelJson(name, classes, {id: tuple(names) for id, names in data["labels"].items()})


def read_json(path: Path) -> tuple[str, Any]:
    """A JSON file as text and as what it says; InputError when it is missing, not JSON, or says a key twice."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, json.loads(text, object_pairs_hook=_no_duplicates)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", field=path) from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError, RecursionError, _DuplicateError) as error:
        raise InputError(f"{path}: not a label JSON: {error}", field=path) from None


def line_of(text: str, key: str) -> int:
    """The line of a JSON text in which a key stands, from 1."""
    return text.count("\n", 0, max(text.find(f"{json.dumps(key)}:"), 0)) + 1


def write_label_json(
    path: Path, classes: Sequence[str], labels: Mapping[str, Iterable[str]], *, name: str = ""
) -> None:
    """Write a label JSON, one line per image, ids in the given order; the data set's name when there is one."""
    lines = [f"  {json.dumps(id)}: {json.dumps(list(names))}" for id, names in labels.items()]
    head = (f' "name": {json.dumps(name)},\n' if name else "") + f' "classes": {json.dumps(list(classes))},\n'
    write_atomic(path, f'{{\n{head} "labels": {{\n' + ",\n".join(lines) + "\n }\n}\n")


def as_vector(names: Iterable[str], classes: Sequence[str], where: str) -> NDArray[np.bool_]:
    """Class names -> bool [C]; InputError beginning with `where` for an unknown one, with the nearest right name."""
    vector = np.zeros(len(classes), dtype=bool)
    for name in names:
        if name not in classes:
            error = unknown("class", name, classes)
            raise error.in_context(f"{where}: {error}")
        vector[classes.index(name)] = True
    return vector


def read_annotation(path: Path) -> tuple[str, ...]:
    """Class names of the objects of one VOC XML annotation, sorted, each once; "difficult" ones count too (as in IRN).

    Raises:
        InputError: missing, malformed (with the line), or with a document type declaration or entities in it.
    """
    parser = expat.ParserCreate()
    names: set[str] = set()
    open_tags: list[str] = []
    text: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        open_tags.append(tag)
        text.clear()

    def end(tag: str) -> None:
        if open_tags == ["annotation", "object", "name"]:  # not the names of an object's parts
            names.add("".join(text).strip())
        open_tags.pop()

    def refuse(*declaration: Any) -> None:
        raise InputError(f"{path}:{parser.CurrentLineNumber}: document type declarations are not accepted", field=path)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", field=path) from None
    except (expat.ExpatError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not an XML annotation: {error}", field=path) from None
    return tuple(sorted(names))


class _DuplicateError(ValueError):
    """A JSON key that comes twice."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _DuplicateError(f"{twice!r} comes twice")
    return found


def _check_labels(id: str, names: Any, classes: tuple[str, ...]) -> None:
    check_id(id, "labels")
    if not _is_names(names):
        raise InputError(f"labels of {id}: expected a list of class names, got {names!r:.80}", field=id)
    as_vector(names, classes, f"labels of {id}")


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
