"""Damaged files are errors that name the file; masks keep their indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_platform.data.reading import image_size, read_image, read_mask
from wsss_platform.data.sample.tree import voc_palette, write_mask
from wsss_platform.errors import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "image.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def test_image_is_rgb_and_its_size_is_in_the_header(path: Path) -> None:
    image = read_image(path)
    assert (image.shape, image.dtype) == ((40, 60, 3), np.uint8)
    assert image_size(path) == (40, 60)


def test_grey_image_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 4), 7, np.uint8)).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == 7).all()
    assert read_image(tmp_path / "grey.png").shape == (5, 4, 3)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.97])
def test_truncated_image_names_the_file(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"image\.jpg: "):
        read_image(path)


def test_missing_image_and_text_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jpg: no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match=r"none\.jpg: no such file"):
        image_size(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("hello, I am no image")
    with pytest.raises(InputError, match=r"text\.jpg: not a JPEG or PNG"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(InputError, match="cannot be decoded"):
        read_image(tmp_path)


def test_every_index_survives_palette_and_grey_png(tmp_path: Path) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(tmp_path / "palette.png", mask)
    Image.fromarray(mask).save(tmp_path / "grey.png")
    assert np.array_equal(read_mask(tmp_path / "palette.png"), mask)
    assert np.array_equal(read_mask(tmp_path / "grey.png"), mask)


def test_palette_png_of_few_bits_keeps_indices(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(mask)
    image.putpalette(voc_palette()[:4].tobytes())
    image.save(tmp_path / "two_bits.png", bits=2)
    assert np.array_equal(read_mask(tmp_path / "two_bits.png"), mask)


def test_truncated_mask_names_the_file(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", np.random.default_rng(0).integers(0, 21, (64, 64), dtype=np.uint8))
    data = (tmp_path / "mask.png").read_bytes()
    (tmp_path / "mask.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"mask\.png: cannot be decoded"):
        read_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("mode", ["RGB", "1", "I;16"])
def test_mask_without_indices_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask\.png: expected a palette or 8-bit grayscale PNG"):
        read_mask(tmp_path / "mask.png")


def test_grey_png_of_four_bits_is_refused_because_decoding_stretches_it(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x12")) + chunk(b"IEND", b"")
    (tmp_path / "mask.png").write_bytes(png)
    with pytest.raises(InputError, match=r"mask\.png: expected"):
        read_mask(tmp_path / "mask.png")


def test_palette_is_that_of_the_devkit() -> None:
    palette = voc_palette()
    assert palette[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip
