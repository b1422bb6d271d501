"""`cls_labels.npy` -> label JSON, without running what a pickle may carry.

The file the field passes around is a pickled 0-d object array holding a dict: id -> float32 [20].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.convert.annotations import VOC_CLASSES, write_label_json
from wsss_platform.data.convert.pickled import read_pickled
from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError

_MAX_BYTES = 1 << 28


def convert_labels(npy_path: Path, json_path: Path, classes: Sequence[str] = VOC_CLASSES) -> int:
    """Convert a pickled `cls_labels.npy` once; afterwards nobody needs to unpickle anything.

    Keys are ids ("2007_000032") or integers without the underscore (2007000032, as in IRN).

    Args:
        npy_path: the pickled file.
        json_path: label JSON to write (atomically).
        classes: names of the vector's C positions.

    Returns:
        Number of images.

    Raises:
        InputError: the file asks for anything but numpy arrays (names what), is malformed, or has a key or
            vector of another kind; nothing is written.
    """
    labels: dict[str, list[str]] = {}
    for key, vector in _read(npy_path).items():
        id = _id(key, npy_path)
        if id in labels:
            raise InputError(f"{npy_path}: image {id} comes twice", field=npy_path)
        if vector.shape != (len(classes),) or not np.isin(vector, (0, 1)).all():
            raise InputError(
                f"{npy_path}: labels of {id}: expected {len(classes)} values of 0 or 1, got {vector!r:.80}",
                field=npy_path,
            )
        labels[id] = [classes[index] for index in np.flatnonzero(vector).tolist()]
    write_label_json(json_path, classes, dict(sorted(labels.items())))
    return len(labels)


def _id(key: Any, path: Path) -> str:
    if isinstance(key, np.integer | int) and not isinstance(key, bool):
        digits = str(int(key))
        if len(digits) != 10 or int(key) < 0:
            raise InputError(
                f"{path}: integer key {digits}: expected ten digits such as 2007000032 for 2007_000032", field=path
            )
        return f"{digits[:4]}_{digits[4:]}"
    if not isinstance(key, str):
        raise InputError(f"{path}: key {key!r:.80}: expected an image id", field=path)
    return check_id(key, str(path))


def _read(path: Path) -> dict[Any, NDArray[Any]]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, which no label file is", field=path)
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", field=path) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", field=path) from None
    table = read_pickled(data, str(path), "label file")
    if not isinstance(table, dict):
        raise InputError(
            f"{path}: expected a dict of image id -> label vector, got a {type(table).__name__}", field=path
        )
    for key, value in table.items():
        if not isinstance(value, np.ndarray):
            raise InputError(
                f"{path}: labels of {key!r:.80}: expected a numeric array, got a {type(value).__name__}", field=path
            )
    return table
