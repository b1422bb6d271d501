"""The two-dimensional sweep equals the masks of rule "saliency" at every floor and cut, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.masks.rules import salient
from wsss_platform.scores.confusion import confusion, parts
from wsss_platform.scores.counts import read_saliencies, write_saliencies
from wsss_platform.scores.saliency import Pairs, SaliencyCells, saliency_histogram, saliency_parts, sweep_saliency
from wsss_platform.scores.sweep import grid

C = 5
Image = tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


def an_image(seed: int, height: int, width: int, classes: int) -> Image:
    """Scores of one decimal: ties among classes, floors and the conflict level are common, and so are three classes."""
    generator = np.random.default_rng(seed)
    present = np.sort(generator.permutation(C)[:classes]).astype(np.uint8)
    scores = (generator.integers(0, 11, (classes, height, width)) / 10).astype(np.float32)
    saliency = generator.choice(np.array([0, 1, 49, 50, 51, 200, 254, 255], np.uint8), (height, width))
    truth = generator.choice(np.append(np.arange(C + 1), 255).astype(np.uint8), (height, width))
    return scores, present, saliency, truth


def cells_of(image: Image, pairs: Pairs, name: str = "one") -> SaliencyCells:
    return sweep_saliency(*image, pairs, C, name)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    classes=st.integers(0, 5),
    level=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
    floors=st.sampled_from([grid(1), grid(10), grid(7, [0.2, 1.0])]),
)
def test_equals_the_masks_of_every_pair(
    seed: int, height: int, width: int, classes: int, level: float, floors: NDArray[np.float32]
) -> None:
    scores, present, saliency, truth = image = an_image(seed, height, width, classes)
    pairs = Pairs(floors, np.array([0, 1, 50, 60, 254]), level)
    cells = cells_of(image, pairs)
    assert cells.pixels.sum() == (truth != 255).sum()
    assert cells.pixels.all()
    found = saliency_parts(saliency_histogram([cells], C, len(floors), len(pairs.cuts)))
    for (i, floor), (j, cut) in ((a, b) for a in enumerate(floors) for b in enumerate(pairs.cuts)):
        config = MasksConfig(rule="saliency", saliency_floor=floor, saliency_cut=int(cut), conflict_level=level)
        wanted = parts(confusion(truth, salient(scores, present, saliency, config), C))
        np.testing.assert_array_equal(found[i, j], wanted, err_msg=f"floor {floor}, cut {cut}")


def test_counts_on_disk(tmp_path: Path) -> None:
    pairs = Pairs(grid(10), np.array([0, 50, 100]), 0.5)
    some = {f"p{seed}": an_image(seed, 6, 8, 4) for seed in range(5)}
    cells = {name: cells_of(image, pairs) for name, image in some.items()}
    names = tuple(f"class{number}" for number in range(C))
    write_saliencies(tmp_path / "saliency-000000.parquet", names, pairs, list(cells.items())[:3])
    write_saliencies(tmp_path / "saliency-000001.parquet", names, pairs, list(cells.items())[3:])
    chunks = list(read_saliencies(tmp_path))
    assert [name for chunk in chunks for name in chunk.ids] == list(cells)
    assert chunks[0].classes == names
    assert (chunks[1].pairs.floors.tolist(), chunks[1].pairs.cuts.tolist()) == (pairs.floors.tolist(), [0, 50, 100])
    rows = np.concatenate([chunk.parts(3, 1) for chunk in chunks])
    for row, item in zip(rows, cells.values(), strict=True):
        np.testing.assert_array_equal(row, saliency_parts(saliency_histogram([item], C, 10, 3))[3, 1])
    path = tmp_path / "saliency-000001.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="saliency-000001.parquet: not readable"):
        list(read_saliencies(tmp_path))


def test_wrong_input_is_named() -> None:
    pairs = Pairs(grid(10), np.array([0, 50]), 0.9)
    scores, present, saliency, truth = an_image(0, 4, 5, 2)
    with pytest.raises(InputError, match="one: scores of shape .* saliency"):
        cells_of((scores, present, saliency[:2], truth), pairs)
    with pytest.raises(InputError, match="one: class 7 of the maps"):
        cells_of((scores, np.array([1, 7], np.uint8), saliency, truth), pairs)
    with pytest.raises(InputError, match="one: a score is not a number"):
        cells_of((scores * np.float32(np.nan), present, saliency, truth), pairs)
    with pytest.raises(InputError, match="one: the ground truth holds values above 5"):
        cells_of((scores, present, saliency, np.full_like(truth, 77)), pairs)
