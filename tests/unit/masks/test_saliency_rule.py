"""DRS's label rule against a loop over pixels written from its description, and at its limits."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_platform.config import MasksConfig, MethodConfig, override
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import StoredMap, full_size, grid_size
from wsss_platform.masks.make import make_mask
from wsss_platform.masks.rules import labels, salient

CLASSES = np.array([1, 4, 19], np.uint8)


def by_loops(scores: np.ndarray, saliency: np.ndarray, config: MasksConfig) -> np.ndarray:
    """One pixel after the other, one channel after the other."""
    mask = np.zeros(saliency.shape, np.uint8)
    for y in range(saliency.shape[0]):
        for x in range(saliency.shape[1]):
            shown = int(saliency[y, x]) > config.saliency_cut
            best, label, strong = (0.0, 0, 0) if shown else (1.0, 0, 1)
            for k, kind in enumerate(CLASSES):
                score = np.float32(scores[k, y, x])
                if score < np.float32(config.saliency_floor):
                    score = np.float32(0)
                if score > best:
                    best, label = float(score), int(kind) + 1
                if score > np.float32(config.conflict_level):
                    strong += 1
            if strong > 2 or (shown and label == 0):
                label = 255
            mask[y, x] = label
    return mask


def case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two decimals, high ones among them, so that ties, conflicts and both sides of each bound occur."""
    random = np.random.default_rng(seed)
    scores = np.round(np.minimum(random.random((3, 23, 19)) * 1.6, 1), 2).astype(np.float32)
    scores[:, random.random((23, 19)) < 0.3] *= np.float32(0.2)
    return scores, random.integers(0, 120, (23, 19)).astype(np.uint8)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"saliency_floor": 0.4, "saliency_cut": 10},
        {"conflict_level": 0.5},
        {"saliency_floor": 0.0, "saliency_cut": 0},
        {"saliency_floor": 1.0, "saliency_cut": 254, "conflict_level": 0.0},
    ],
)
def test_it_is_the_loop(fields: dict[str, float]) -> None:
    config = MasksConfig.model_validate({"rule": "saliency", **fields})
    scores, saliency = case()
    found = labels(scores, CLASSES, config, saliency)
    np.testing.assert_array_equal(found, by_loops(scores, saliency, config))
    assert found.dtype == np.uint8


def test_the_case_has_everything() -> None:
    found = labels(*(case()[0], CLASSES, MasksConfig(rule="saliency"), case()[1]))
    assert set(np.unique(found).tolist()) == {0, 2, 5, 20, 255}


def one(scores: list[float], saliency: int) -> int:
    maps = np.array(scores, np.float32).reshape(-1, 1, 1)
    shown = np.array([[saliency]], np.uint8)
    return int(salient(maps, CLASSES[: len(scores)], shown, MasksConfig(rule="saliency")).item())


@pytest.mark.parametrize(
    ("scores", "saliency", "label"),
    [
        ([0.5, 0.3, 0.0], 51, 2),  # salient: the best class
        ([0.5, 0.3, 0.0], 50, 0),  # 50 is not above 50
        ([1.0, 0.3, 0.0], 0, 0),  # not salient: the background, also against a full score (first of equals)
        ([0.19, 0.0, 0.0], 255, 255),  # salient, but no class reaches 0.20
        ([0.20, 0.0, 0.0], 255, 2),  # the bound itself counts
        ([0.95, 0.95, 0.0], 255, 2),  # two strong channels are no conflict ("more than two")
        ([0.95, 0.95, 0.95], 255, 255),  # three are
        ([0.95, 0.95, 0.0], 0, 255),  # and where nothing is salient, the background is one of them
        ([0.9, 0.95, 0.95], 255, 5),  # 0.9 is not above 0.9
        ([], 255, 255),  # no class in the image: what is salient contradicts that
        ([], 0, 0),
    ],
)
def test_the_bounds(scores: list[float], saliency: int, label: int) -> None:
    assert one(scores, saliency) == label


def stored(height: int = 21, width: int = 18) -> StoredMap:
    scores = np.random.default_rng(0).integers(0, 256, (3, *grid_size(height, width))).astype(np.uint8)
    return StoredMap("2007_1", CLASSES, scores, height, width)


def test_a_mask_from_stored_maps() -> None:
    config = MasksConfig(rule="saliency")
    saliency = np.random.default_rng(1).integers(0, 256, (21, 18)).astype(np.uint8)
    item = stored()
    wanted = by_loops(full_size(item), saliency, config)
    np.testing.assert_array_equal(make_mask(item, None, config, saliency), wanted)


def test_saliency_that_is_missing_or_of_another_size_is_named() -> None:
    with pytest.raises(InputError, match="2007_1.*needs its saliency map; there is none"):
        make_mask(stored(), None, MasksConfig(rule="saliency"))
    with pytest.raises(InputError, match="2007_1.*has shape"):
        make_mask(stored(), None, MasksConfig(rule="saliency"), np.zeros((18, 21), np.uint8))


def test_no_crf_with_it() -> None:
    with pytest.raises(InputError, match="takes no CRF"):
        override(MethodConfig(), {"masks.rule": "saliency", "masks.crf": "irn"})
