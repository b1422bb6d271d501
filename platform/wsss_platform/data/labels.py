"""`cls_labels.npy` -> label JSON, without running what a pickle may carry.

The file the field passes around is a pickled 0-d object array holding a dict: id -> float32 [20]. It is read
by an unpickler whose few allowed names stand for the plain classes below; numpy itself never sees the stream.
"""

from __future__ import annotations

import codecs
import pickle
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.annotations import VOC_CLASSES, write_label_json
from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError

_MAX_BYTES = 1 << 28
_DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
)
"""What a damaged stream raises in the unpickler and the stand-ins (ValueError includes bad Unicode and text)."""


def convert_labels(npy_path: Path, json_path: Path, classes: Sequence[str] = VOC_CLASSES) -> int:
    """Convert a pickled `cls_labels.npy` once; afterwards nobody needs to unpickle anything.

    Keys are ids ("2007_000032") or integers without the underscore (2007000032, as in IRN).

    Args:
        npy_path: the pickled file.
        json_path: label JSON to write (atomically).
        classes: names of the vector's C positions.

    Returns:
        Number of pictures.

    Raises:
        InputError: the file asks for anything but numpy arrays (names what), is malformed, or has a key or
            vector of another kind; nothing is written.
    """
    labels: dict[str, list[str]] = {}
    for key, vector in _read(npy_path).items():
        id = _id(key, npy_path)
        if id in labels:
            raise InputError(f"{npy_path}: picture {id} comes twice")
        if vector.shape != (len(classes),) or not np.isin(vector, (0, 1)).all():
            raise InputError(
                f"{npy_path}: labels of {id}: expected {len(classes)} values of 0 or 1, got {vector!r:.80}"
            )
        labels[id] = [classes[index] for index in np.flatnonzero(vector).tolist()]
    write_label_json(json_path, classes, dict(sorted(labels.items())))
    return len(labels)


def _id(key: Any, path: Path) -> str:
    if isinstance(key, np.integer | int) and not isinstance(key, bool):
        digits = str(int(key))
        if len(digits) != 10 or int(key) < 0:
            raise InputError(f"{path}: integer key {digits}: expected ten digits such as 2007000032 for 2007_000032")
        return f"{digits[:4]}_{digits[4:]}"
    if not isinstance(key, str):
        raise InputError(f"{path}: key {key!r:.80}: expected a picture id")
    return check_id(key, str(path))


def _read(path: Path) -> dict[Any, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            if path.stat().st_size > _MAX_BYTES:
                raise InputError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, which no label file is")
            shape, dtype = _header(stream)
            if shape != () or dtype != np.dtype(object):
                raise InputError(f"{path}: expected a pickled 0-d object array, got {dtype} {list(shape)}")
            table = _Reader(stream, str(path)).load()
        if isinstance(table, _Array) and isinstance(table.data, list) and len(table.data) == 1:
            table = table.data[0]
        if not isinstance(table, dict):
            raise ValueError(f"expected a dict of picture id -> label vector, got a {type(table).__name__}")
        return {key: _vector(key, value) for key, value in table.items()}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{path}: not a pickled label file: {error or type(error).__name__}") from None


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _vector(key: Any, value: Any) -> NDArray[Any]:
    if not isinstance(value, _Array) or not isinstance(value.data, bytes):
        raise ValueError(f"labels of {key!r:.80}: expected a numeric array, got a {type(value).__name__}")
    return _plain(value.dtype, value.data).reshape(value.shape)


class _Dtype:
    """Stands for `numpy.dtype`."""

    def __init__(self, code: str = "", align: Any = False, copy: Any = False) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="


class _Array:
    """Stands for `numpy.ndarray`, `_reconstruct` and `_frombuffer`."""

    def __init__(self, *arguments: Any) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype: Any = None
        self.data: Any = None
        if len(arguments) == 4:  # _frombuffer(bytes, dtype, shape, order), protocol 5
            data, self.dtype, self.shape, _ = arguments
            self.data = bytes(data)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, self.shape, self.dtype, _, data = state
        self.data = data.encode("latin1") if isinstance(data, str) else data


class _Scalar:
    """Stands for `numpy._core.multiarray.scalar`; gives a real number or text."""

    def __new__(cls, dtype: _Dtype, data: Any) -> Any:
        return _plain(dtype, data.encode("latin1") if isinstance(data, str) else data)[0]


class _Encode:
    """Stands for `_codecs.encode`, with which protocol 2 writes bytes."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise ValueError(f"encoding {encoding!r:.40} has no place in a label file")
        return codecs.latin_1_encode(text)[0]


def _plain(dtype: Any, data: bytes) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not re.fullmatch(r"[fiub][1248]|U[1-9]\d{0,2}", str(dtype.code)):
        raise ValueError(f"element type {getattr(dtype, 'code', dtype)!r:.40} has no place in a label file")
    return np.frombuffer(data, np.dtype(dtype.order + dtype.code))


_ALLOWED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Array for core in ("core", "_core")},
}


class _Reader(pickle._Unpickler):
    """Gives the stand-ins and nothing else. The Python unpickler, whose memo is a dict: the C one lets a damaged
    file claim tens of gigabytes with one number."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        super().__init__(stream)
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise InputError(f"{self._where}: refused: the file would run {module}.{name}, which is not label data")
        return _ALLOWED[module, name]

    def persistent_load(self, reference: Any) -> Any:
        raise InputError(f"{self._where}: refused: the file refers to something outside itself")
