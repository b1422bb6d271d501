"""A reader of mxnet's `.params` files (`mx.nd.save` of a dict), which needs no mxnet and runs nothing of the file.

The layout is that of mxnet's src/ndarray/ndarray.cc, little-endian:

    uint64 0x112, uint64 0
    uint64 count, then that many arrays:
        uint32 0xF993fac9, int32 storage type (0 is dense)     version 2, from mxnet 0.12; 0xF993faca is version 3
        uint32 0xF993fac8                                      version 1
        (neither: the next field comes first)                  the form of 2016, that of WideResNet-38's weights
        uint32 axes, then that many sizes: int64, in the form of 2016 uint32
        int32 device type, int32 device number, int32 element type, the elements
    uint64 count, then that many names: uint64 length, UTF-8
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_platform.errors import InputError

LIST_MAGIC = 0x112
VERSION_1, VERSION_2, VERSION_3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f8"), 2: np.dtype("<f2")}
"""mxnet's number of an element type -> the type. Whole numbers are no weights."""
_AXES = 8
"""Most axes that an array may have; a larger number means that the file is something else."""


def read_params(path: Path) -> dict[str, Tensor]:
    """Every array of a file as float32, by name with its "arg:" or "aux:" left out.

    Raises:
        InputError: the file is missing, cut short, has anything after its end, or is not of this layout.
    """
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", field=path) from None
    return _Reader(path, content).everything()


class _Reader:
    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content, self.place = path, content, 0

    def everything(self) -> dict[str, Tensor]:
        if self.number("<Q") != LIST_MAGIC or self.number("<Q") != 0:
            raise self.error("it does not begin as an mxnet .params file does")
        arrays = [self.array() for _ in range(self.count("<Q", 12))]
        names = [self.name() for _ in range(self.count("<Q", 8))]
        if self.place != len(self.content):
            raise self.error(f"{len(self.content) - self.place} bytes follow its end")
        if len(names) != len(arrays) or len(set(names)) != len(names):
            raise self.error(f"{len(arrays)} arrays have {len(set(names))} different names")
        return dict(zip(names, arrays, strict=True))

    def array(self) -> Tensor:
        """The next array."""
        start = self.place
        first = self.number("<I")
        if first in (VERSION_2, VERSION_3):
            if self.number("<i") != 0:
                raise self.error("it holds a sparse array", start)
        elif first != VERSION_1:
            self.place = start
        axes = self.number("<I")
        if not 0 < axes <= _AXES:
            raise self.error(f"an array has {axes} axes", start)
        size = "<q" if first in (VERSION_1, VERSION_2, VERSION_3) else "<I"
        shape = [self.number(size) for _ in range(axes)]
        self.take(8)  # the device that it was on
        number = self.number("<i")
        if number not in TYPES:
            raise self.error(f"an array has elements of mxnet's type {number}; expected 0, 1 or 2", start)
        if any(side < 1 for side in shape):
            raise self.error(f"an array has the shape {shape}", start)
        elements = self.take(math.prod(shape) * TYPES[number].itemsize)
        return torch.from_numpy(np.frombuffer(elements, TYPES[number]).astype(np.float32).reshape(shape))

    def name(self) -> str:
        """The next name."""
        start = self.place
        try:
            name = self.take(self.number("<Q")).decode()
        except UnicodeDecodeError:
            raise self.error("a name is not UTF-8", start) from None
        return name.removeprefix("arg:").removeprefix("aux:")

    def count(self, form: str, least: int) -> int:
        """A number of entries of at least so many bytes each; a wrong one is seen before they are read."""
        start = self.place
        found = self.number(form)
        if found * least > len(self.content) - self.place:
            raise self.error(f"it says that {found} entries follow, and is too short for them", start)
        return found

    def number(self, form: str) -> int:
        """The next whole number."""
        found: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return found

    def take(self, length: int) -> bytes:
        """The next bytes."""
        if length > len(self.content) - self.place:
            raise self.error(f"it ends where {length} more bytes are expected; is the download complete?")
        taken = self.content[self.place : self.place + length]
        self.place += length
        return taken

    def error(self, reason: str, place: int | None = None) -> InputError:
        """What is wrong, and where."""
        return InputError(f"{self.path}: {reason} (at byte {self.place if place is None else place})", field=self.path)
