"""The quick way to read the indices of an 8-bit palette or grey PNG: inflate, and leave out the filter bytes.

Masks are palette PNGs without filters (PNG standard, section 9: filtering indices does not pay), which is all this
reads; less than half the time of Pillow. Whatever else a file is or has, the caller asks Pillow.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

_DAMAGED: tuple[type[Exception], ...] = (struct.error, zlib_ng.error)  # type: ignore[assignment] # its stub: Exception()
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_INFLATED = 1032  # bytes that deflate makes of one at most
_LARGEST = 1 << 28  # bytes of pixels: no small file can make this reader allocate without bounds


def read_plain_indices(path: Path) -> tuple[NDArray[np.uint8], str] | None:
    """Indices uint8 [H, W] and Pillow's name of the mode, "P" or "L"; checksums are verified.

    None when the file is damaged, cut short, filtered, interlaced, not of 8 bits, or no such PNG at all.

    Raises:
        OSError: the file cannot be read.
    """
    data = memoryview(path.read_bytes())
    parts: list[memoryview] = []
    header, at = (0, 0, 0, 0, 0, 0, 0), len(_SIGNATURE)
    if data[:at] != _SIGNATURE:
        return None
    try:
        for number in range(len(data)):
            length, kind = struct.unpack_from(">I4s", data, at)
            body = data[at + 8 : at + 8 + length]
            if zlib_ng.crc32(data[at + 4 : at + 8 + length]) != struct.unpack_from(">I", data, at + 8 + length)[0]:
                return None
            if (kind == b"IHDR") != (number == 0):
                return None
            if kind == b"IHDR":
                header = struct.unpack(">IIBBBBB", body)
            elif kind == b"IDAT":
                parts.append(body)
            elif kind == b"IEND":
                break
            at += 12 + length
        pixels = b"".join(parts)
        width, height, depth, colour, *rest = header
        size = height * (width + 1)
        known = depth == 8 and colour in (0, 3) and not any(rest) and size > 0
        if not known or max(size, _MOST_INFLATED * len(pixels)) > _LARGEST:
            return None
        raw = zlib_ng.decompress(pixels, bufsize=size + 1)
    except _DAMAGED:
        return None
    if len(raw) != size:
        return None
    lines = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    return None if lines[:, 0].any() else (np.ascontiguousarray(lines[:, 1:]), "P" if colour == 3 else "L")
