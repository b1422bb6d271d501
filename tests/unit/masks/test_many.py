"""Many settings on shared lattices against one mask at a time."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import StoredMap, grid_size
from wsss_platform.masks.make import make_mask
from wsss_platform.masks.many import make_masks, widths

HEIGHT, WIDTH = 40, 52


def stored(classes: list[int]) -> StoredMap:
    rows, columns = grid_size(HEIGHT, WIDTH)
    ys, xs = np.mgrid[:rows, :columns]
    blobs = [np.exp(-((ys - 3 - 2 * k) ** 2 + (xs - 4 - 3 * k) ** 2) / 12) for k in range(len(classes))]
    scores = (np.array(blobs).reshape(len(classes), rows, columns) * 255).astype(np.uint8)
    return StoredMap("a", np.array(classes, np.uint8), scores, HEIGHT, WIDTH)


def image() -> np.ndarray:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (4, 5, 3)).repeat(12, 0).repeat(12, 1)[:HEIGHT, :WIDTH]
    return (coarse + generator.normal(0, 9, coarse.shape)).clip(0, 255).astype(np.uint8)


SETTINGS = [
    MasksConfig(),
    MasksConfig(rule="two_alpha"),
    MasksConfig(crf="irn"),
    MasksConfig(crf="irn", crf_iterations=2),
    MasksConfig(crf="irn", crf_bilateral_weight=2.5),
    MasksConfig(crf="irn", rule="two_threshold"),
    MasksConfig(crf="afa", rule="power", alpha=3, crf_bilateral_position=50),
    MasksConfig(crf="psa", rule="two_alpha", low_alpha=2, high_alpha=20),
    MasksConfig(crf="psa", rule="two_alpha", low_alpha=2, high_alpha=20, crf_iterations=1),
    MasksConfig(crf="psa", crf_gaussian_weight=0),
    MasksConfig(crf="toco", background=0.6),
]
OTHERS = [
    MasksConfig(crf="irn", crf_backend="auto"),
    MasksConfig(crf="irn", crf_iterations=2),  # by pydensecrf
    MasksConfig(rule="saliency", saliency_cut=40),
]


@pytest.mark.parametrize("classes", [[], [3], [0, 7, 19]])
def test_each_mask_is_that_of_its_setting_alone(classes: list[int]) -> None:
    item, pixels = stored(classes), image()
    settings = [*(config.model_copy(update={"crf_backend": "lattice"}) for config in SETTINGS), *OTHERS]
    saliency = np.indices((HEIGHT, WIDTH)).sum(0).astype(np.uint8)
    found = make_masks(item, pixels, settings, saliency)
    for config, mask in zip(settings, found, strict=True):
        alone = make_mask(item, None if config.rule == "saliency" else pixels, config, saliency)
        np.testing.assert_array_equal(mask, alone, err_msg=str(config))
    if classes:
        differing = {mask.tobytes() for mask in found[: len(SETTINGS)]}
        assert len(differing) > len(SETTINGS) - 2  # the settings differ in what they give


def test_only_kernel_widths_part_settings() -> None:
    assert widths(SETTINGS[2]) == widths(SETTINGS[4]) == (3, 50, 5)
    assert widths(SETTINGS[6]) == (3, 50, 5)
    assert widths(SETTINGS[0]) == ()
    assert widths(MasksConfig(crf="irn", crf_bilateral_colour=7)) == (3, 50, 7)


def test_maps_of_another_image_are_named() -> None:
    with pytest.raises(InputError, match="image a: its map is for 40x52 pixels"):
        make_masks(stored([3]), image()[:-1], SETTINGS)
