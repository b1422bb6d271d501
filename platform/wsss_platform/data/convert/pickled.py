"""Pickled `.npy` files of the field, read without running what a pickle may carry.

Label files and maps are passed around as a pickled 0-d object array that holds a dict. An unpickler reads it
whose few allowed names stand for the plain classes below; neither numpy nor torch ever sees the stream.
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
import re
import struct
import tokenize
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError

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
    SyntaxError,
    tokenize.TokenError,
)
"""What a damaged stream raises in the unpickler and the stand-ins (ValueError includes bad Unicode; the last two come
from the header, which numpy reads as Python)."""
_DEEPEST = 4  # dict in array, array or list in dict; deeper is no file of the field
_MOST = 1 << 28  # elements of a tensor, whose strides could claim more than the file has


def read_pickled(data: bytes, where: str, what: str) -> Any:
    """The object in a pickled 0-d `.npy`; numpy arrays and torch tensors in it as numpy arrays.

    Args:
        data: content of the file.
        where: its name, for errors.
        what: what it should be, such as "label file".

    Raises:
        InputError: the file asks for anything but arrays and plain values (names what), or is malformed.
    """
    stream = io.BytesIO(data)
    try:
        shape, dtype = _header(stream)
        if shape != () or dtype != np.dtype(object):
            raise InputError(f"{where}: expected a pickled 0-d object array, got {dtype} {list(shape)}", field=where)
        found = _Reader(stream, where).load()
        if isinstance(found, _Array) and isinstance(found.data, list) and len(found.data) == 1:
            found = found.data[0]
        return _real(found)
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{where}: not a pickled {what}: {error or type(error).__name__}", field=where) from None


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _real(value: Any, depth: int = 0) -> Any:
    """Stand-ins as arrays, in dicts and lists too."""
    if depth > _DEEPEST:
        raise ValueError("nested deeper than any file of the field")
    if isinstance(value, _Array):
        if not isinstance(value.data, bytes):
            raise ValueError("expected a numeric array, got one of objects")
        return _plain(value.dtype, value.data).reshape(value.shape, order=value.order)
    if isinstance(value, dict):
        return {key: _real(item, depth + 1) for key, item in value.items()}
    return [_real(item, depth + 1) for item in value] if isinstance(value, list | tuple) else value


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
        self.order: Any = "C"
        if len(arguments) == 4:  # _frombuffer(bytes, dtype, shape, order), protocol 5
            data, self.dtype, self.shape, self.order = arguments
            if not isinstance(data, bytes | bytearray):  # of a number, bytes() would make so many zeros
                raise ValueError(f"expected an array's bytes, got {type(data).__name__}")
            self.data = bytes(data)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, self.shape, self.dtype, columns_first, data = state
        self.order = "F" if columns_first else "C"
        self.data = data.encode("latin1") if isinstance(data, str) else data


class _Scalar:
    """Stands for `numpy._core.multiarray.scalar`; gives a real number or text."""

    def __new__(cls, dtype: _Dtype, data: Any) -> Any:
        return _plain(dtype, data.encode("latin1") if isinstance(data, str) else data)[0]


class _Encode:
    """Stands for `_codecs.encode`, with which protocol 2 writes bytes."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise ValueError(f"encoding {encoding!r:.40} has no place in such a file")
        return codecs.latin_1_encode(text)[0]


def _plain(dtype: Any, data: bytes) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not re.fullmatch(r"[fiub][1248]|U[1-9]\d{0,2}", str(dtype.code)):
        raise ValueError(f"element type {getattr(dtype, 'code', dtype)!r:.40} has no place in such a file")
    return np.frombuffer(data, np.dtype(dtype.order + dtype.code))


class _Nothing:
    """Stands for the `OrderedDict` of a tensor's hooks, which must be empty."""


_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
"""torch's storage classes by name -> numpy element type."""


def _storage(data: Any, where: str) -> NDArray[Any]:
    """Stands for `torch.storage._load_from_bytes`: the elements of a storage in torch's form before zip files.

    Four pickles (magic number, version, system, the storage as a persistent reference), the list of keys, and
    for the one key int64 count and the elements.
    """
    stream = io.BytesIO(data.encode("latin1") if isinstance(data, str) else data)
    for _ in range(3):
        _Reader(stream, where).load()
    found = _Reader(stream, where, inside_storage=True).load()
    _Reader(stream, where).load()
    if not isinstance(found, np.dtype):
        raise ValueError("expected one torch storage")
    (count,) = struct.unpack("<q", stream.read(8))
    return np.frombuffer(stream.read(), found, count=count)


class _Tensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; gives a numpy array."""

    def __new__(cls, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
        numbers = (offset, *size, *stride)
        if not isinstance(storage, np.ndarray) or len(size) != len(stride):
            raise ValueError("expected a torch storage with as many strides as sides")
        if any(not isinstance(number, int) or number < 0 for number in numbers) or math.prod(size) > _MOST:
            raise ValueError(f"a tensor of size {size!r:.60} and strides {stride!r:.60}")
        if math.prod(size) == 0:
            return np.zeros(size, storage.dtype)
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        if last >= len(storage):
            raise ValueError("a tensor larger than its storage")
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Array for core in ("core", "_core")},
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("collections", "OrderedDict"): _Nothing,
}


class _Reader(pickle._Unpickler):
    """Gives the stand-ins and nothing else. The Python unpickler, whose memo is a dict: the C one lets a damaged
    file claim tens of gigabytes with one number."""

    # set by the Python unpickler, which its type stubs do not tell
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    stack: list[Any]

    def __init__(self, stream: BinaryIO, where: str, inside_storage: bool = False) -> None:
        super().__init__(stream)
        place = stream.tell()
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(place)
        self._where, self._inside_storage = where, inside_storage

    def find_class(self, module: str, name: str) -> Any:
        if self._inside_storage and module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return partial(_storage, where=self._where)
        if (module, name) not in _ALLOWED:
            raise InputError(
                f"{self._where}: refused: the file would run {module}.{name}, which no array needs", field=self._where
            )
        return _ALLOWED[module, name]

    def load_bytearray8(self) -> None:
        """As pickle's, but a length beyond the file claims no memory first."""
        (length,) = struct.unpack("<Q", self.read(8))
        data = self.read(length) if length <= self._size else b""
        if len(data) != length:
            raise ValueError("cut short in an array")
        self.append(bytearray(data))

    def load_build(self) -> None:
        """As pickle's, for the stand-ins of arrays alone: no file changes a class or what else it finds."""
        if not isinstance(self.stack[-2], _Array | _Dtype):
            raise ValueError(f"state for {type(self.stack[-2]).__name__}, which has none in such a file")
        super().load_build()  # type: ignore[misc]

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.BUILD[0]: load_build,
    }

    def persistent_load(self, reference: Any) -> Any:
        if self._inside_storage and isinstance(reference, tuple) and len(reference) == 6 and reference[0] == "storage":
            return reference[1]
        raise InputError(f"{self._where}: refused: the file refers to something outside itself", field=self._where)
