"""The .params reader on files that the tests write, in each form, and on damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss_platform.errors import InputError
from wsss_platform.nets.released.mxnet_params import read_params

FORMS = ("2016", "1", "2", "3")
MAGIC = {"1": 0xF993FAC8, "2": 0xF993FAC9, "3": 0xF993FACA}
NUMBERS = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}


def encode(arrays: dict[str, np.ndarray], form: str = "2016") -> bytes:
    """What mx.nd.save writes for a dict, after mxnet's src/ndarray/ndarray.cc (NDArray::Save, the list's Save)."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        if form in MAGIC:
            content += struct.pack("<I", MAGIC[form])
        if form in ("2", "3"):
            content += struct.pack("<i", 0)
        content += struct.pack("<I", array.ndim)
        content += struct.pack(f"<{array.ndim}{'I' if form == '2016' else 'q'}", *array.shape)
        content += struct.pack("<iii", 1, 0, NUMBERS[array.dtype.name]) + array.tobytes()
    content += struct.pack("<Q", len(arrays))
    for name in arrays:
        content += struct.pack("<Q", len(name.encode())) + name.encode()
    return content


ARRAYS = {
    "arg:conv1a_weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "aux:bn7_moving_mean": np.array([0.25, -3.0]),
    "plain": np.array([[1.5]], dtype=np.float16),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x.params"
    path.write_bytes(encode(ARRAYS, form))
    read = read_params(path)
    assert list(read) == ["conv1a_weight", "bn7_moving_mean", "plain"]
    for value, wanted in zip(read.values(), ARRAYS.values(), strict=True):
        assert value.dtype == torch.float32
        assert value.tolist() == wanted.tolist()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, form: str) -> None:
    path, whole = tmp_path / "x.params", encode(ARRAYS, form)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"x\.params: .* \(at byte \d+\)"):
            read_params(path)


def _changed(place: int, form: str, value: int) -> bytes:
    content = bytearray(encode(ARRAYS, "2"))
    struct.pack_into(form, content, place, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(ARRAYS) + b"\0", "1 bytes follow its end"),
        (b"PK\x03\x04" + bytes(60), "does not begin as an mxnet"),
        (_changed(16, "<Q", 2**60), "1152921504606846976 entries follow"),
        (_changed(28, "<i", 1), "sparse"),
        (_changed(32, "<I", 9), "9 axes"),
        (_changed(32, "<I", 0), "0 axes"),
        (_changed(36, "<q", -2), "the shape"),
        (_changed(36, "<q", 2**40), "more bytes are expected"),
        (encode({"a": np.ones(2, np.int64)}), "mxnet's type 6"),
        (encode({"arg:a": np.ones(2), "aux:a": np.ones(2)}), "2 arrays have 1 different names"),
        (encode({"abc": np.ones(1)}).replace(b"abc", b"a\xffc"), "not UTF-8"),
    ],
)
def test_what_is_not_of_the_layout_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.params"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_params(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.params"):
        read_params(tmp_path / "absent.params")
