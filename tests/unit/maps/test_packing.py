"""Packed grids: nothing is lost, and smooth ones are small."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_platform.maps.packing import packed, unpacked


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["u1", "<u2", "<f2"]),
    shape=st.tuples(st.integers(0, 3), st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 1000),
)
def test_round_trip(kind: str, shape: tuple[int, int, int], seed: int) -> None:
    """Any bits at all, NaN among them, contiguous or not."""
    whole = np.dtype(kind)
    count = int(np.prod(shape)) * 2
    bits = np.random.default_rng(seed).integers(0, 256, count * whole.itemsize, dtype=np.uint8)
    grids = bits.view(whole).reshape(*shape, 2)[..., 0]
    content = packed(grids)
    assert len(content) == grids.size * whole.itemsize
    again = unpacked(content, whole, shape)
    assert (again.dtype, again.shape) == (whole, shape)
    assert again.tobytes() == grids.tobytes()


def test_a_smooth_map_is_small() -> None:
    y, x = np.mgrid[:97, :129] / 129
    smooth = np.rint(2040 * (0.2 + 0.5 * x * y + 0.3 * np.sin(3 * x) * np.cos(2 * y)))[None].astype(np.uint16)
    plain, ours = (len(zlib.compress(content)) for content in (smooth.tobytes(), packed(smooth)))
    assert ours < plain / 2
    assert ours < smooth.nbytes / 6


@pytest.mark.parametrize(("kind", "size"), [("u1", 11), ("u1", 13), ("<u2", 12), ("<u2", 25)])
def test_content_of_another_size(kind: Any, size: int) -> None:
    with pytest.raises(ValueError, match="reshape"):
        unpacked(bytes(size), np.dtype(kind), (1, 3, 4))
