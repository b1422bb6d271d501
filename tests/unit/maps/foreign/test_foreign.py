"""Maps as other codebases leave them: every form read, detected, and refused with the file's name."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_platform.config.imported import Form
from wsss_platform.errors import InputError
from wsss_platform.maps.foreign.folder import FORMS, Foreign, ForeignFolder, detect

CLASSES = ("boat", "car", "cow", "dog", "tv monitor")
ID = "2007_000032"
MAPS = np.linspace(0, 1, 2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8)


def save(folder: Path, value: Any, id: str = ID) -> Path:
    np.save(folder / f"{id}.npy", value, allow_pickle=True)
    return folder


def png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def read(folder: Path, form: Form, id: str = ID) -> Foreign:
    source = ForeignFolder(folder, form, CLASSES)
    return source.read(id, [path.read_bytes() for path in source.files(id)])


def fill(folder: Path, form: Form) -> Path:
    """Classes 1 and 3 with `MAPS`, as the codebase itself writes them."""
    match form:
        case "irn":  # keys and the strided map are torch tensors in the released make_cam.py
            keys = torch.tensor([1, 3])
            save(folder, {"keys": keys, "cam": torch.zeros(2, 2, 2), "high_res": MAPS})
        case "seam":
            save(folder, {1: MAPS[0], 3: MAPS[1]})
        case "clip-es":
            save(folder, {"keys": np.array([1, 3]), "attn_highres": MAPS.astype(np.float16)})
        case "puzzlecam":
            save(folder, {"keys": np.array([0, 2, 4]), "cam": torch.zeros(2, 2, 2), "hr_cam": MAPS})
        case "png":
            for number, values in zip((1, 3), MAPS, strict=True):
                png(folder / f"{ID}_{number}.png", np.rint(values * 255).astype(np.uint8))
        case "npz":
            np.savez(folder / f"{ID}.npz", keys=np.array([1, 3]), maps=MAPS)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_detected_and_read(tmp_path: Path, form: Form) -> None:
    fill(tmp_path, form)
    assert detect(tmp_path, ["not_there", ID], CLASSES) == form
    found = read(tmp_path, form)
    assert found.classes == (1, 3)
    assert found.maps.dtype == np.float32
    step = {"png": 0.5 / 255, "clip-es": 3e-4}.get(form, 0.0)
    np.testing.assert_allclose(found.maps, MAPS, rtol=0, atol=step + 1e-7)


def test_classes_are_sorted_with_their_maps(tmp_path: Path) -> None:
    found = read(save(tmp_path, {3: MAPS[1], 1: MAPS[0]}), "seam")
    assert found.classes == (1, 3)
    np.testing.assert_array_equal(found.maps, MAPS)
    numpy_keys = read(save(tmp_path, {np.int64(3): MAPS[1], np.int64(1): MAPS[0]}), "seam")
    np.testing.assert_array_equal(numpy_keys.maps, MAPS)


def test_puzzlecam_after_its_walk_and_an_image_without_classes(tmp_path: Path) -> None:
    found = read(save(tmp_path, {"keys": np.array([0, 5]), "rw": MAPS[:1]}), "puzzlecam")
    assert found.classes == (4,)
    assert read(save(tmp_path, {}), "seam").classes == ()
    assert read(save(tmp_path, {"keys": np.zeros(0, int), "high_res": np.zeros((0, 6, 8))}), "irn").classes == ()


def test_npz_by_class_and_whole_numbers(tmp_path: Path) -> None:
    np.savez(
        tmp_path / f"{ID}.npz", **{"dog": np.array([[0, 51, 255]], np.uint8), "1": np.array([[0, 0, 65535]], np.uint16)}
    )
    found = read(tmp_path, "npz")
    assert found.classes == (1, 3)
    np.testing.assert_allclose(found.maps, [[[0, 0, 1]], [[0, 0.2, 1]]])


@pytest.mark.parametrize("layout", ["{id}_{name}.png", "{name}/{id}.png", "{id}/{name}.png"])
@pytest.mark.parametrize("names", [("car", "tv monitor"), ("1", "4")])
def test_the_three_layouts_of_png(tmp_path: Path, layout: str, names: tuple[str, str]) -> None:
    for name, level in zip(names, (51, 255), strict=True):
        png(tmp_path / layout.format(id=ID, name=name), np.full((3, 4), level, np.uint8))
        png(tmp_path / layout.format(id="2007_000033", name=name), np.zeros((3, 4), np.uint8))
    found = read(tmp_path, "png")
    assert found.classes == (1, 4)
    np.testing.assert_allclose(found.maps[:, 0, 0], [0.2, 1])


def test_sixteen_bits(tmp_path: Path) -> None:
    png(tmp_path / f"{ID}_1.png", np.array([[0, 13107, 65535]], np.uint16))
    np.testing.assert_allclose(read(tmp_path, "png").maps, [[[0, 0.2, 1]]])


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("irn", {"keys": np.array([1]), "cam": MAPS[:1]}, "irn files have high_res, this one .keys, cam"),
        ("irn", {"keys": np.array([1]), "high_res": MAPS}, "2 maps for 1 classes"),
        ("irn", {"keys": np.array([1, 5]), "high_res": MAPS}, r"class 5 is out of range: the data set's are 0\.\.4"),
        ("irn", {"keys": np.array([-1, 1]), "high_res": MAPS}, "class -1 is out of range"),
        ("irn", {"keys": np.array([1, 1]), "high_res": MAPS}, "name one twice"),
        ("irn", {"keys": np.array([1.0, 2.0]), "high_res": MAPS}, "is no class number"),
        ("puzzlecam", {"keys": np.array([1, 2]), "hr_cam": MAPS}, "do not begin with 0"),
        ("puzzlecam", {"keys": np.array([0, 2, 6]), "hr_cam": MAPS}, "class 5 is out of range"),
        ("seam", {"keys": MAPS[0]}, "'keys' is no class number"),
        ("seam", {1: MAPS}, r"expected maps \[height, width\], got \(2, 6, 8\)"),
        ("seam", {1: MAPS[0], 2: MAPS[0, :3]}, "maps of different sizes"),
        ("seam", {1: "text"}, "expected maps"),
        ("seam", {1: MAPS[0].astype(np.int64)}, "maps of int64"),
        ("seam", {1, 2}, "expected a dict, got a set"),
    ],
)
def test_what_does_not_fit_its_form_names_the_file(tmp_path: Path, form: Form, value: Any, said: str) -> None:
    save(tmp_path, value)
    with pytest.raises(InputError, match=rf"{ID}\.npy.*{said}"):
        read(tmp_path, form)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["irn", "seam", "clip-es", "puzzlecam"])
def test_a_file_that_would_run_code_is_refused_by_name(tmp_path: Path, form: Form) -> None:
    victim = tmp_path / "ran"
    save(tmp_path, {"keys": Payload(victim)})
    for look in (lambda: read(tmp_path, form), lambda: detect(tmp_path, [ID], CLASSES)):
        with pytest.raises(InputError, match=rf"{ID}\.npy: refused: the file would run (posix|nt)\.system"):
            look()
    assert not victim.exists()
    np.load(tmp_path / f"{ID}.npy", allow_pickle=True)  # as the codebases read it
    assert victim.exists()


def test_npz_with_a_pickle_in_it_and_broken_ones(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    hidden = np.empty((), object)
    hidden[()] = Payload(victim)
    np.savez(tmp_path / f"{ID}.npz", keys=np.array([1]), maps=hidden)
    with pytest.raises(InputError, match=rf"{ID}\.npz: not readable as \.npz without running code"):
        read(tmp_path, "npz")
    assert not victim.exists()
    (tmp_path / f"{ID}.npz").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=rf"{ID}\.npz"):
        read(tmp_path, "npz")


def test_png_that_are_no_scores(tmp_path: Path) -> None:
    png(tmp_path / f"{ID}_1.png", np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"_1\.png: expected a grey PNG of 8 or 16 bits, got RGB"):
        read(tmp_path, "png")
    (tmp_path / f"{ID}_1.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(InputError, match=r"_1\.png: not readable"):
        read(tmp_path, "png")
    png(tmp_path / f"{ID}_1.png", np.zeros((3, 4), np.uint8))
    png(tmp_path / f"{ID}_cat.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(InputError, match=r"_cat\.png: unknown class 'cat'"):
        read(tmp_path, "png")


def test_what_cannot_be_detected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        detect(tmp_path / "none", [ID], CLASSES)
    with pytest.raises(InputError, match="the folder is empty"):
        detect(tmp_path, [ID], CLASSES)
    save(tmp_path, {"mask": MAPS}, "other")
    with pytest.raises(InputError, match=rf"such as {ID}; the first file is other\.npy"):
        detect(tmp_path, [ID], CLASSES)
    with pytest.raises(InputError, match=r"other\.npy: a dict of \[mask\] is none of the known forms"):
        detect(tmp_path, ["other"], CLASSES)
    fill(tmp_path, "irn")
    fill(tmp_path, "npz")
    with pytest.raises(InputError, match="forms irn and npz; say which with --as"):
        detect(tmp_path, [ID], CLASSES)


def irn_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, {"keys": torch.tensor([1]), "high_res": MAPS[:1]}, allow_pickle=True)
    return stream.getvalue()


def npz_file() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{CLASSES[0]: MAPS[0]})
    return stream.getvalue()


@pytest.mark.parametrize(("form", "make"), [("irn", irn_file), ("npz", npz_file)])
def test_damage_is_only_ever_an_input_error(form: Form, make: Callable[[], bytes], tmp_path: Path) -> None:
    """Each tenth byte of a real file changed, and the file cut there."""
    data = make()
    source = ForeignFolder(tmp_path, form, CLASSES)
    fill(tmp_path, form)
    for place in range(0, len(data), 10):
        for broken in (data[:place], data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]):
            try:
                source.read(ID, [broken])
            except InputError as error:
                assert ID in str(error)
