"""The quick reader of indices says what Pillow says, or leaves the file to it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_platform.data import palette
from wsss_platform.data.index_png import read_plain_indices
from wsss_platform.data.palette import write_mask
from wsss_platform.data.reading import read_mask
from wsss_platform.errors import InputError


def a_mask() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (37, 53)).astype(np.uint8) * 85


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels: bytes, width: int = 3, height: int = 2, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PIXELS = zlib.compress(b"\0\1\2\3\0\4\5\6")


def test_what_pillow_says(tmp_path: Path) -> None:
    mask = a_mask()
    write_mask(tmp_path / "palette.png", mask)
    Image.fromarray(mask).save(tmp_path / "grey.png")
    found = read_plain_indices(tmp_path / "palette.png")
    assert found is not None
    assert found[1] == "P"
    np.testing.assert_array_equal(found[0], mask)
    assert found[0].flags.c_contiguous
    for name in ("palette.png", "grey.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), np.array(Image.open(tmp_path / name)))
    with pytest.raises(InputError, match="has mode L"):
        palette.read_mask(tmp_path / "grey.png")


def test_several_parts(tmp_path: Path) -> None:
    whole = png(PIXELS)
    at = whole.index(b"IDAT") - 4
    parts = whole[:at] + chunk(b"IDAT", PIXELS[:5]) + chunk(b"IDAT", PIXELS[5:]) + chunk(b"IEND", b"")
    (tmp_path / "one.png").write_bytes(parts)
    found = read_plain_indices(tmp_path / "one.png")
    assert found is not None
    assert found[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found[1] == "L"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(zlib.compress(b"\1\1\1\1\1\4\1\1")), id="filtered"),
        pytest.param(png(zlib.compress(b"\0\x12\0\x34"), depth=4), id="4 bits"),
        pytest.param(png(PIXELS, colour=2), id="RGB"),
        pytest.param(png(PIXELS)[:-20], id="cut in the pixels"),
        pytest.param(png(PIXELS)[:-4], id="cut in the end"),
        pytest.param(png(PIXELS[:-1]), id="no checksum of the stream"),
        pytest.param(png(PIXELS[:-1] + b"\0"), id="wrong checksum of the stream"),
        pytest.param(png(PIXELS).replace(PIXELS, PIXELS[:3] + b"\7" + PIXELS[4:]), id="wrong checksum of the chunk"),
        pytest.param(png(PIXELS, height=3), id="lines missing"),
        pytest.param(png(PIXELS, height=0), id="no lines"),
        pytest.param(b"GIF89a", id="no PNG"),
        pytest.param(b"", id="empty"),
    ],
)
def test_the_rest_is_left_to_pillow(tmp_path: Path, content: bytes) -> None:
    """Which forgives some of it; what it refuses is refused, with the file's name."""
    path = tmp_path / "one.png"
    path.write_bytes(content)
    assert read_plain_indices(path) is None
    try:
        with Image.open(path) as image:
            wanted = np.array(image) if image.mode in ("L", "P") else None
    except (OSError, SyntaxError):
        wanted = None
    if wanted is None or content[24:25] == b"\4":  # 4 bits of grey come stretched
        with pytest.raises(InputError, match=r"one\.png"):
            read_mask(path)
    else:
        np.testing.assert_array_equal(read_mask(path), wanted)


def test_no_small_file_takes_much_memory(tmp_path: Path) -> None:
    """More compressed bytes than a mask can have, and a size that no mask has."""
    for number, content in enumerate((png(bytes(1 << 19)), png(PIXELS, width=1 << 20, height=1 << 20))):
        (tmp_path / f"{number}.png").write_bytes(content)
        assert read_plain_indices(tmp_path / f"{number}.png") is None
