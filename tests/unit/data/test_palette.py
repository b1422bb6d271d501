"""Masks as palette PNG: labels kept, VOC's colours, same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_platform.data.palette import read_mask, voc_palette, write_mask
from wsss_platform.errors import InputError


def test_round_trip_keeps_every_value(tmp_path: Path) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = tmp_path / "a.png"
    write_mask(path, mask)
    found = read_mask(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, mask)
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]
    write_mask(tmp_path / "b.png", mask)
    assert path.read_bytes() == (tmp_path / "b.png").read_bytes()


def test_colours_are_those_of_voc(tmp_path: Path) -> None:
    """As published in the development kit: aeroplane, bicycle, person, tvmonitor, the border's cream."""
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128)}
    known |= {20: (0, 64, 128), 255: (224, 224, 192)}
    write_mask(tmp_path / "a.png", np.array([list(known)], np.uint8))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        colours = np.asarray(image.convert("RGB"))[0]
    assert [tuple(colour) for colour in colours.tolist()] == list(known.values())
    assert voc_palette().shape == (256, 3)
    assert len(np.unique(voc_palette(), axis=0)) == 256


def test_a_transposed_view(tmp_path: Path) -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_mask(tmp_path / "a.png", mask.T)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), mask.T)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=r"a\.png: no such mask"):
        read_mask(path)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    with pytest.raises(InputError, match=r"a\.png: .* mode RGB"):
        read_mask(path)
    write_mask(path, np.random.default_rng(0).integers(0, 21, (64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"a\.png: not readable as a mask"):
        read_mask(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"a\.png: not readable as a mask"):
        read_mask(path)
    with pytest.raises(ValueError, match="uint8"):
        write_mask(path, np.zeros((4, 4), np.int64))  # type: ignore[arg-type]
