"""The restricted unpickler: arrays and tensors of the field's .npy files, and nothing that would run."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsss_platform.data.convert.pickled import read_pickled
from wsss_platform.errors import InputError


def saved(value: Any, protocol: int = 4) -> bytes:
    """As numpy.save writes a pickled object."""
    array = np.empty((), object)
    array[()] = value
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue() + pickle.dumps(array, protocol=protocol)


def read(data: bytes) -> Any:
    return read_pickled(data, "x.npy", "map file")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool])
def test_torch_tensors_are_read_without_torch(protocol: int, dtype: torch.dtype) -> None:
    whole = (torch.arange(24).reshape(2, 3, 4) % 2).to(dtype)
    tensors = {"whole": whole, "turned": whole.permute(2, 0, 1), "cut": whole[1:, :, ::2], "none": whole[:0]}
    found = read(saved(tensors, protocol))
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_in_both_orders(protocol: int) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = read(saved({"c": values, "f": np.asfortranarray(values), "list": [values[0]], 3: 4.5}, protocol))
    np.testing.assert_array_equal(found["c"], values)
    np.testing.assert_array_equal(found["f"], values)
    np.testing.assert_array_equal(found["list"][0], values[0])
    assert found[3] == 4.5


class Payload:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "ran"
    data = saved({"keys": Payload(os.system, f"touch {victim}")}, protocol)
    with pytest.raises(InputError, match=r"x\.npy: refused: the file would run (posix|nt)\.system"):
        read(data)
    assert not victim.exists()
    pickle.loads(data[data.index(b"\n") + 1 :])  # the payload does what it says where nothing refuses
    assert victim.exists()


def test_code_inside_a_storage_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    inner = pickle.dumps(Payload(os.system, f"touch {victim}"), protocol=2)
    data = saved({"cam": Payload(torch.storage._load_from_bytes, inner)})
    with pytest.raises(InputError, match=r"refused: the file would run (posix|nt)\.system"):
        read(data)
    assert not victim.exists()
    with pytest.raises(InputError, match=r"would run torch\.FloatStorage"):  # a name of storages, but not inside one
        read(saved({"cam": Payload(torch.FloatStorage, 3)}))


def rebuilt(*arguments: Any) -> bytes:
    """A pickled tensor with these arguments after its storage of three floats."""
    stream = io.BytesIO()
    torch.save(torch.zeros(3).storage(), stream, _use_new_zipfile_serialization=False)
    storage = Payload(torch.storage._load_from_bytes, stream.getvalue())
    return saved({"cam": Payload(torch._utils._rebuild_tensor_v2, storage, *arguments)})


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, (4,), (1,), False, {}), "larger than its storage"),
        ((2, (2,), (1,), False, {}), "larger than its storage"),
        ((-1, (2,), (1,), False, {}), "a tensor of size"),
        ((0, (2,), (-1,), False, {}), "a tensor of size"),
        ((0, (1 << 40,), (0,), False, {}), "a tensor of size"),
        ((0, (2, 1), (1,), False, {}), "as many strides"),
        ((0, 2, 1, False, {}), "x.npy"),
    ],
)
def test_tensors_that_lie_about_their_storage(arguments: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(rebuilt(*arguments))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_honest_tensor_of_that_helper() -> None:
    assert read(rebuilt(1, (2,), (1,), False, {}))["cam"].tolist() == [0, 0]


def test_storages_that_are_cut_or_odd() -> None:
    stream = io.BytesIO()
    torch.save(torch.zeros(3).untyped_storage(), stream, _use_new_zipfile_serialization=False)
    for inner in (b"", b"\x80\x02.", stream.getvalue(), struct.pack("<q", 3)):
        with pytest.raises(InputError, match=r"x\.npy"):
            read(saved({"cam": Payload(torch.storage._load_from_bytes, inner)}))


def test_a_dict_that_holds_itself_ends() -> None:
    table: dict[str, Any] = {}
    table["again"] = table
    with pytest.raises(InputError, match="nested deeper"):
        read(saved(table))


def raw(stream: bytes) -> bytes:
    """A `.npy` of one object whose pickle is `stream`."""
    return saved(None)[: -len(pickle.dumps(np.array(None, object), protocol=4))] + stream


def test_a_length_beyond_the_file_claims_no_memory() -> None:
    with pytest.raises(InputError, match="cut short"):
        read(raw(b"\x80\x05\x96" + struct.pack("<Q", 10**11) + b"abc."))


def test_a_number_in_the_place_of_bytes_makes_no_zeros() -> None:
    call = b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(J\xff\xff\xff\x7fNNNtR."
    with pytest.raises(InputError, match="expected an array's bytes, got int"):
        read(raw(call))


def test_no_file_changes_what_the_next_one_is_read_with() -> None:
    change = b"\x80\x02c_codecs\nencode\n(N}U\x07__new__NstbN."
    with pytest.raises(InputError, match="state for type"):
        read(raw(change))
    again = {"a": np.arange(3)}
    np.testing.assert_array_equal(read(saved(again, 2))["a"], again["a"])
