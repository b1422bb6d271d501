"""Somebody else's maps on our grid: geometry, ranges, the gate, and what is refused by name."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from wsss_platform.config import ImportSection
from wsss_platform.errors import InputError
from wsss_platform.maps.foreign.fit import Remarks, fit
from wsss_platform.maps.foreign.folder import Foreign
from wsss_platform.maps.storage import StoredMap, full_size

NAMES = ("boat", "car", "cow", "dog")
SIZE = (37, 51)


def section(**changes: Any) -> ImportSection:
    return ImportSection(form=changes.pop("form", "irn"), folder="/maps", content="0" * 64, **changes)


def fitted(
    maps: np.ndarray, classes: tuple[int, ...] = (1,), labels: tuple[int, ...] = (1,), **changes: Any
) -> tuple[StoredMap, Remarks]:
    vector = np.isin(np.arange(len(NAMES)), labels)
    return fit("a", Foreign(classes, maps.astype(np.float32)), SIZE, vector, NAMES, section(**changes))


def smooth(rows: int, columns: int) -> np.ndarray:
    """A plane over the image, seen at any resolution: [1, rows, columns] in 0.1..0.9."""
    down, right = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    return np.asarray(0.1 + 0.5 * down[:, None] + 0.3 * right)[None]


@pytest.mark.parametrize("size", [SIZE, (10, 13), (19, 26), (74, 102), (5, 7)])
def test_a_map_covers_its_image_at_any_size(size: tuple[int, int]) -> None:
    stored, remarks = fitted(smooth(*size))
    assert remarks.resampled == (None if size == SIZE else size)
    inside = full_size(stored)[0][8:-10, 8:-10]  # the outermost cells of a coarse map go on flat
    np.testing.assert_allclose(inside, smooth(*SIZE)[0][8:-10, 8:-10], atol=2e-3)


def test_a_network_s_map_of_the_image_s_size_comes_back() -> None:
    """Upsampled from stride 16, as most codebases leave it."""
    outputs = np.random.default_rng(0).random((2, 3, 4), np.float32)
    maps = np.stack([cv2.resize(item, (64, 48))[:37, :51] for item in outputs])
    stored, remarks = fitted(maps, (1, 3), (1, 3))
    assert remarks == Remarks()
    assert stored.classes.tolist() == [1, 3]
    assert stored.precision == "float16"
    inner = np.abs(full_size(stored) - maps)[:, :32, :44]
    assert np.median(inner) < 2e-4
    assert inner.max() < 0.01  # where a node is the extreme: it is cut to the highest or lowest pixel
    np.testing.assert_allclose(full_size(stored), maps, atol=0.05)
    levels, _ = fitted(maps, (1, 3), (1, 3), precision="uint11")
    assert levels.precision == "uint11"
    np.testing.assert_allclose(full_size(levels), full_size(stored), atol=5e-4)


def test_no_grid_comes_nearer_to_a_map_of_the_image_s_size() -> None:
    maps = np.stack([cv2.resize(np.random.default_rng(0).random((7, 9), np.float32), SIZE[::-1])])
    stored, _ = fitted(maps)
    error = np.square(full_size(stored) - maps).sum()
    generator = np.random.default_rng(1)
    for _ in range(20):
        other = (stored.nodes + generator.normal(0, 0.02, stored.nodes.shape)).astype(np.float16)
        changed = StoredMap("a", stored.classes, other, *SIZE)
        assert np.square(full_size(changed) - maps).sum() > error


def test_nodes_stay_within_the_map_s_range() -> None:
    """Least squares would swing over at a sharp edge."""
    maps = np.full((1, *SIZE), 0.2)
    maps[:, :, 21:] = 0.7
    nodes = fitted(maps)[0].nodes
    assert nodes.min() > 0.2 - 1e-3
    assert nodes.max() < 0.7 + 1e-3


@pytest.mark.parametrize("size", [(51, 37), (20, 20), (64, 64)])
def test_other_proportions_are_refused_or_stretched(size: tuple[int, int]) -> None:
    rows, columns = size
    with pytest.raises(InputError, match=rf"image a: its maps have {rows} x {columns} cells.*37 x 51.*--stretch"):
        fitted(smooth(*size))
    stored, remarks = fitted(smooth(*size), stretch=True)
    assert remarks.resampled == size
    np.testing.assert_allclose(full_size(stored)[0][5:-7, 6:-8], smooth(*SIZE)[0][5:-7, 6:-8], atol=4e-3)


def test_turned_maps_are_called_so() -> None:
    with pytest.raises(InputError, match="height and width exchanged"):
        fitted(smooth(51, 37))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_names_image_and_class(bad: float) -> None:
    maps = np.concatenate([smooth(*SIZE)] * 2)
    maps[1, 20, 30] = bad
    with pytest.raises(InputError, match="image a: its map of dog has NaN or infinite"):
        fitted(maps, (1, 3), (1, 3))
    fitted(maps, (1, 3), (1,))  # of a class that is left out it does not matter


@pytest.mark.parametrize(("factor", "shift"), [(4.0, 0.0), (1.0, -0.5), (1.0, 0.2)])
def test_other_ranges_are_refused_or_normalised(factor: float, shift: float) -> None:
    maps = smooth(*SIZE) * factor + shift
    with pytest.raises(InputError, match=r"image a: its scores are .*expected 0\.\.1; --normalise max"):
        fitted(maps)
    by_max = np.maximum(maps, 0) / maps.max()
    found = full_size(fitted(maps, normalise="max")[0])[0]
    np.testing.assert_allclose(found[8:-8, 8:-8], by_max[0][8:-8, 8:-8], atol=0.04)
    stretched = full_size(fitted(maps, normalise="minmax")[0])[0]
    wanted = ((maps - maps.min()) / (maps.max() - maps.min()))[0]
    np.testing.assert_allclose(stretched[8:-8, 8:-8], wanted[8:-8, 8:-8], atol=4e-3)


def test_rounding_outside_of_the_range_is_cut() -> None:
    maps = np.zeros((1, *SIZE))
    maps[0, :, ::2], maps[0, :, 1::2] = -5e-4, 1.0005
    scores = fitted(maps)[0].scores
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_seam_s_own_negatives_are_background() -> None:
    """(cam - min - 1e-5) / (max - min + 1e-5) of a map that is 0 all over."""
    assert fitted(np.full((1, *SIZE), -1.0), form="seam")[0].scores.max() == 0
    with pytest.raises(InputError, match="expected 0"):
        fitted(np.full((1, *SIZE), -1.1), form="seam")
    with pytest.raises(InputError, match="expected 0"):
        fitted(np.full((1, *SIZE), -1.0), form="irn")


def test_a_flat_map_is_normalised_to_nothing() -> None:
    assert fitted(np.zeros((1, *SIZE)), normalise="max")[0].scores.max() == 0
    assert fitted(np.full((1, *SIZE), 3.0), normalise="minmax")[0].scores.max() == 0


def test_the_gate_and_what_it_remarks() -> None:
    maps = np.concatenate([smooth(*SIZE)] * 2)
    stored, remarks = fitted(maps, (1, 3), (0, 3))
    assert stored.classes.tolist() == [3]
    assert (remarks.dropped, remarks.lacking) == (("car",), ("boat",))
    stored, remarks = fitted(maps, (1, 3), (0, 3), gate="none")
    assert stored.classes.tolist() == [1, 3]
    assert remarks == Remarks()


def test_classes_counted_from_one_are_noticed() -> None:
    with pytest.raises(InputError, match="image a: its maps are of cow, its labels name car; are the classes counted"):
        fitted(smooth(*SIZE), (2,), (1,))


def test_an_image_without_maps_is_all_background() -> None:
    stored, remarks = fitted(np.zeros((0, 1, 1)), (), (1,))
    assert stored.scores.shape[0] == 0
    assert remarks.lacking == ("car",)
