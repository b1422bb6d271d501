"""The converter of cls_labels.npy: both key types, all pickle protocols, and no code from the file."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_platform.data.convert.annotations import VOC_CLASSES, LabelJson, read_label_json, write_label_json
from wsss_platform.data.labels import convert_labels
from wsss_platform.errors import InputError

VECTORS = {"2007_000032": (0, 14), "2007_000039": (19,), "2011_003276": (1, 3, 7)}


def vector(*classes: int, dtype: Any = np.float32) -> np.ndarray:
    out = np.zeros(20, dtype)
    out[list(classes)] = 1
    return out


def write_npy(path: Path, table: Any, protocol: int = 2, replace: tuple[bytes, bytes] = (b"", b"")) -> Path:
    """As numpy.save writes a pickled object array, with the given protocol."""
    array = np.empty((), object)
    array[()] = table
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
        data = pickle.dumps(array, protocol=protocol)
        stream.write(data.replace(*replace) if replace[0] else data)
    return path


def raw_npy(path: Path, payload: bytes) -> Path:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
        stream.write(payload)
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("keys", ["text", "numpy text", "int", "int32", "int64"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, bool])
def test_all_key_types_and_protocols(tmp_path: Path, protocol: int, keys: str, dtype: Any) -> None:
    kind: Any = {"text": str, "numpy text": np.str_, "int": int, "int32": np.int32, "int64": np.int64}[keys]
    named = {kind(id if "text" in keys else id.replace("_", "")): classes for id, classes in VECTORS.items()}
    source = write_npy(tmp_path / "x.npy", {key: vector(*where, dtype=dtype) for key, where in named.items()}, protocol)
    assert convert_labels(source, tmp_path / "x.json") == 3
    found = read_label_json(tmp_path / "x.json")
    assert (found.name, found.classes) == ("", VOC_CLASSES)
    assert found.labels == {id: tuple(VOC_CLASSES[index] for index in where) for id, where in VECTORS.items()}


def test_what_numpy_save_writes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", {np.int32(2007000032): vector(3)}, allow_pickle=True)  # type: ignore[arg-type]
    assert convert_labels(tmp_path / "x.npy", tmp_path / "x.json") == 1
    assert json.loads((tmp_path / "x.json").read_text())["labels"] == {"2007_000032": ["boat"]}


def test_module_names_of_numpy_1(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "x.npy", {np.int32(2007000032): vector(3)}, 2, (b"numpy._core.", b"numpy.core."))
    assert b"numpy.core.multiarray" in source.read_bytes()
    assert convert_labels(source, tmp_path / "x.json") == 1


class Payload:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "ran"
    source = write_npy(tmp_path / "bad.npy", {"2007_000032": Payload(os.system, f"touch {victim}")}, protocol)
    with pytest.raises(InputError, match=r"bad\.npy: refused: the file would run (posix|nt)\.system"):
        convert_labels(source, tmp_path / "bad.json")
    assert not victim.exists()
    assert not (tmp_path / "bad.json").exists()


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (eval, ("1",), "eval"),
        (getattr, ("", "join"), "getattr"),
        (np.load, ("x",), "numpy.load"),
        (pickle.loads, (b"",), "loads"),
        (codecs.decode, (b"", "utf8"), "decode"),
    ],
)
def test_other_callables_are_named(tmp_path: Path, function: Any, arguments: Any, name: str) -> None:
    source = write_npy(tmp_path / "bad.npy", {"2007_000032": Payload(function, *arguments)})
    with pytest.raises(InputError, match=rf"bad\.npy: refused: the file would run .*{name}"):
        convert_labels(source, tmp_path / "bad.json")


def test_persistent_reference_and_other_encoding(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="refers to something outside"):
        convert_labels(raw_npy(tmp_path / "bad.npy", b"Pthing\n."), tmp_path / "x.json")
    payload = b"c_codecs\nencode\n(Vabc\nVrot13\ntR."
    with pytest.raises(InputError, match=r"bad\.npy: .*encoding 'rot13'"):
        convert_labels(raw_npy(tmp_path / "bad.npy", payload), tmp_path / "x.json")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "expected a dict"),
        ({200700003: vector(1)}, "integer key 200700003: expected ten digits"),
        ({"../up": vector(1)}, "is not a plain name"),
        ({2.5: vector(1)}, "expected an image id"),
        ({"2007_000032": vector(1)[:19]}, "labels of 2007_000032: expected 20 values"),
        ({"2007_000032": vector(1) * 3}, "labels of 2007_000032: expected 20 values of 0 or 1"),
        ({"2007_000032": [0, 1]}, "expected a numeric array, got a list"),
        ({"2007_000032": np.array(["a"] * 20, object)}, "expected a numeric array"),
        ({"2007_000032": vector(1), 2007000032: vector(1)}, "image 2007_000032 comes twice"),
    ],
)
def test_other_contents_name_the_file(tmp_path: Path, table: Any, message: str) -> None:
    source = write_npy(tmp_path / "odd.npy", table)
    with pytest.raises(InputError, match=rf"odd\.npy: .*{message}"):
        convert_labels(source, tmp_path / "x.json")


def test_files_that_are_no_label_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npy: no such file"):
        convert_labels(tmp_path / "none.npy", tmp_path / "x.json")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match=r"text\.npy: not a pickled label file"):
        convert_labels(tmp_path / "text.npy", tmp_path / "x.json")
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"plain\.npy: expected a pickled 0-d object array, got float64"):
        convert_labels(tmp_path / "plain.npy", tmp_path / "x.json")


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_only_ever_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    source = write_npy(folder / "x.npy", {np.int32(2007000032): vector(1), "2007_000039": vector(2)})
    data = bytearray(source.read_bytes())
    position = 128 + position % (len(data) - 128)
    data[position] = value
    source.write_bytes(bytes(data[:position] if cut else data))
    with contextlib.suppress(InputError):  # anything else fails the test
        convert_labels(source, folder / "x.json")
        read_label_json(folder / "x.json")


def test_a_huge_memo_number_claims_no_memory(tmp_path: Path) -> None:
    payload = b"\x80\x02}r\xff\xff\xff\x7f."  # an empty dict, remembered under number 2^31 - 1
    assert convert_labels(raw_npy(tmp_path / "x.npy", payload), tmp_path / "x.json") == 0


def test_label_json_round_trip(tmp_path: Path) -> None:
    labels = {"b": ("cat", "dog"), "a": (), 'c"': ("dog",)}
    write_label_json(tmp_path / "x.json", ("dog", "cat"), labels)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "classes": ["dog", "cat"],
        "labels": {id: list(names) for id, names in labels.items()},
    }
    write_label_json(tmp_path / "empty.json", ("dog",), {})
    assert read_label_json(tmp_path / "empty.json") == LabelJson("", ("dog",), {})
    write_label_json(tmp_path / "named.json", ("dog",), {"a": ("dog",)}, name="coco2014")
    assert read_label_json(tmp_path / "named.json") == LabelJson("coco2014", ("dog",), {"a": ("dog",)})


@pytest.mark.parametrize("name", ["../up", "Coco 2014", 3, None, "x" * 41])
def test_a_wrong_name_of_the_data_set_is_refused(tmp_path: Path, name: Any) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"name": name, "classes": ["dog"], "labels": {}}))
    with pytest.raises(InputError, match=r'x\.json: "name": .*such as "coco2014"'):
        read_label_json(tmp_path / "x.json")


@pytest.mark.parametrize(("name", "images"), [("irn_int_keys", 12_031), ("str_keys", 1_332)])
def test_the_fields_own_files(photographs: Path, tmp_path: Path, name: str, images: int) -> None:
    source = photographs.parents[1] / f"cls_labels_{name}.npy"
    if not source.is_file():
        pytest.skip(f"there is no {source}")
    assert convert_labels(source, tmp_path / "x.json") == images
    labels = read_label_json(tmp_path / "x.json").labels
    known = read_label_json(photographs / "image_level_labels.json").labels
    shared = labels.keys() & known.keys()
    assert len(shared) > 900
    assert all(sorted(labels[id]) == sorted(known[id]) for id in shared)
