"""Masks in the forms in which people keep them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsss_platform.data.categories import category_ids
from wsss_platform.data.palette import voc_palette
from wsss_platform.errors import InputError
from wsss_platform.masks.foreign import labels, outside, possible_ids, read_numbers

MASK = np.array([[0, 1, 255], [20, 7, 0]], np.uint8)
COCO = ("person", *(f"class {number}" for number in range(2, 80)), "toothbrush")
VOC = tuple(f"class {number}" for number in range(1, 21))


def png(image: Image.Image, **more: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **more)
    return stream.getvalue()


def with_palette(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    return image


def opaque(mask: NDArray[np.uint8], alpha: int = 255) -> Image.Image:
    pixels = np.concatenate([voc_palette()[mask], np.full((*mask.shape, 1), 255, np.uint8)], axis=-1)
    pixels[0, 0, 3] = alpha
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "content",
    [
        png(Image.fromarray(MASK)),
        png(with_palette(MASK, voc_palette())),
        png(with_palette(MASK, np.random.default_rng(0).integers(0, 255, (256, 3)).astype(np.uint8))),
        png(with_palette(MASK, np.roll(voc_palette(), 3, axis=0))),
        png(Image.fromarray(voc_palette()[MASK])),
        png(opaque(MASK)),
    ],
    ids=["grey", "VOC's palette", "another palette", "VOC's colours elsewhere", "RGB", "RGBA"],
)
def test_forms(content: bytes) -> None:
    assert np.array_equal(read_numbers(content, "a.png"), MASK)


def test_a_palette_in_another_order() -> None:
    """As PNG optimisers leave it: the colours say what the indices mean."""
    used, indices = np.unique(MASK, return_inverse=True)
    order = np.random.default_rng(1).permutation(len(used))
    renumbered = np.argsort(order)[indices.reshape(MASK.shape)].astype(np.uint8)
    content = png(with_palette(renumbered, voc_palette()[used[order]]), bits=4)
    assert np.array_equal(read_numbers(content, "a.png", "colours"), MASK)
    assert np.array_equal(read_numbers(content, "a.png"), renumbered)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_not_brightness(bits: int) -> None:
    """Written byte by byte: Pillow writes no grey of 2 and 4 bits."""
    import struct
    import zlib

    values = np.arange(2**bits, dtype=np.uint8)
    packed = np.packbits(((values[:, None] >> np.arange(bits)[::-1]) & 1).reshape(-1)).tobytes()

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header)
    content += part(b"IDAT", zlib.compress(b"\0" + packed)) + part(b"IEND", b"")
    assert read_numbers(content, "a.png").tolist() == [values.tolist()]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not readable as a mask"),
        (png(Image.fromarray(MASK))[:-20], "not readable as a mask"),
        (png(Image.fromarray(MASK.astype(np.uint16))), "got mode I;16"),
        (png(Image.fromarray(np.full((2, 2, 3), 7, np.uint8))), r"colour \(7, 7, 7\) is none of VOC's"),
        (png(opaque(MASK, alpha=3)), "transparent"),
    ],
    ids=["empty", "cut", "16 bits", "no colour of VOC", "transparent"],
)
def test_what_is_refused_by_name(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=rf"place/a\.png: .*{said}"):
        read_numbers(content, "place/a.png")


def seen(*numbers: int) -> NDArray[np.bool_]:
    found = np.zeros(256, np.bool_)
    found[list(numbers)] = True
    return found


def test_which_numbers_of_coco() -> None:
    assert possible_ids(seen(0, 255, 3, 80), COCO) == ["coco-80", "coco-91"]
    assert possible_ids(seen(0, 12), COCO) == ["coco-80"]  # COCO left 12 out
    assert possible_ids(seen(90), COCO) == ["coco-91"]
    assert possible_ids(seen(12, 90), COCO) == []
    assert possible_ids(seen(0, 20), VOC) == ["index"]
    assert possible_ids(seen(21), VOC) == []


def test_labels() -> None:
    own = np.array([[0, 255, *category_ids(COCO)]], np.uint8)
    assert labels(own, "coco-91", COCO, "a.png").tolist() == [[0, 255, *range(1, 81)]]
    assert np.array_equal(labels(MASK, "index", VOC, "a.png"), MASK)
    with pytest.raises(InputError, match=r"a\.png: a pixel of 21, expected 0\.\.20 or 255"):
        labels(MASK + 1, "index", VOC, "a.png")
    with pytest.raises(InputError, match=r"a\.png: a pixel of 12, expected 0, 255 or one of COCO's own 1\.\.90"):
        labels(np.array([[12]], np.uint8), "coco-91", COCO, "a.png")


def test_classes_outside_the_labels() -> None:
    named = np.zeros(20, np.float32)
    named[[0, 6]] = 1
    assert outside(MASK, named) == [19]


def test_a_file_of_more_pixels_than_a_mask_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bomb: "):
        read_numbers(png(Image.new("1", (40_000, 40_000))), "bomb")
