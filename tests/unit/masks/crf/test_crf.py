"""Masks with the dense CRF against direct calls of pydensecrf, typed out as the published scripts do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydensecrf.densecrf as densecrf
import pytest
from PIL import Image
from pydensecrf.utils import unary_from_labels, unary_from_softmax

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import StoredMap, full_size, grid_size
from wsss_platform.masks.crf.dense_crf import PARAMETERS, CrfParameters, parameters_of, refine
from wsss_platform.masks.make import make_mask
from wsss_platform.masks.rules import labels, named

HEIGHT, WIDTH = 45, 61
ROOT = Path(__file__).parents[3]


def image(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 12 + 1, width // 12 + 1, 3)).repeat(12, 0).repeat(12, 1)
    noisy = coarse[:height, :width] + generator.normal(0, 8, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def stored(classes: list[int], seed: int = 0) -> StoredMap:
    """Smooth blobs, one per class."""
    rows, columns = grid_size(HEIGHT, WIDTH)
    ys, xs = np.mgrid[:rows, :columns]
    generator = np.random.default_rng(seed)
    blobs = [
        np.exp(-((ys - y) ** 2 + (xs - x) ** 2) / 20)
        for y, x in zip(
            generator.integers(0, rows, len(classes)), generator.integers(0, columns, len(classes)), strict=True
        )
    ]
    scores = np.array(blobs).reshape(len(classes), rows, columns)
    return StoredMap("2007_1", np.array(classes, np.uint8), (scores * 255).astype(np.uint8), HEIGHT, WIDTH)


def published(pixels: np.ndarray, unary: np.ndarray, kernels: tuple[float, ...], steps: int) -> np.ndarray:
    count = len(unary)
    height, width = pixels.shape[:2]
    field = densecrf.DenseCRF2D(width, height, count)
    field.setUnaryEnergy(np.ascontiguousarray(unary))
    field.addPairwiseGaussian(sxy=kernels[0], compat=kernels[1])
    field.addPairwiseBilateral(
        sxy=kernels[2], srgb=kernels[3], rgbim=np.ascontiguousarray(np.copy(pixels)), compat=kernels[4]
    )
    return np.argmax(np.array(field.inference(steps)).reshape(count, height, width), axis=0)


@pytest.mark.parametrize("classes", [[3], [0, 7], [1, 5, 19]])
def test_irn_two_passes(classes: list[int]) -> None:
    """IRN's cam_to_ir_label, line by line."""
    item, pixels = stored(classes), image()
    config = MasksConfig(rule="two_threshold", crf="irn", confident_foreground=0.45, confident_background=0.15)
    keys = np.pad(np.array(classes) + 1, (1, 0))

    def one_pass(limit: float) -> Any:
        padded = np.pad(full_size(item), ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=limit)
        unary = unary_from_labels(np.argmax(padded, axis=0), len(keys), gt_prob=0.7, zero_unsure=False)
        return keys[published(pixels, unary, (3, 3, 50, 5, 10), 10)]

    foreground, background = one_pass(0.45), one_pass(0.15)
    wanted = foreground.copy()
    wanted[foreground == 0] = 255
    wanted[background + foreground == 0] = 0
    found = make_mask(item, pixels, config)
    np.testing.assert_array_equal(found, wanted)
    assert {0, 255} < set(np.unique(found).tolist())
    assert (found != labels(full_size(item), item.classes, config)).any()  # the CRF does something


KERNELS = {"psa": (3, 3, 80, 13, 10), "deeplab": (3, 3, 32, 13, 10), "deeplab_v2": (1, 3, 67, 3, 4)}


@pytest.mark.parametrize("name", list(KERNELS))
def test_from_scores_with_an_alpha(name: str) -> None:
    """PSA's la_crf and ha_crf: (1 - max)^alpha stacked first, unary_from_softmax."""
    item, pixels = stored([2, 9]), image(1)
    config = MasksConfig.model_validate({"rule": "power", "alpha": 4, "crf": name, "crf_iterations": 5})
    scores = full_size(item)
    background = np.power(1 - np.max(scores, axis=0, keepdims=True), 4)
    unary = unary_from_softmax(np.concatenate((background, scores), axis=0))
    wanted = np.array([0, 3, 10])[published(pixels, unary, KERNELS[name], 5)]
    np.testing.assert_array_equal(make_mask(item, pixels, config), wanted)
    assert len(np.unique(wanted)) == 3


def test_constant_background() -> None:
    item, pixels = stored([2, 9]), image(1)
    scores = full_size(item)
    hard = labels(scores, np.array([0, 1], np.uint8), MasksConfig(background=0.2))
    unary = unary_from_labels(hard, 3, gt_prob=0.7, zero_unsure=False)
    wanted = np.array([0, 3, 10])[published(pixels, unary, (3, 3, 50, 5, 10), 10)]
    np.testing.assert_array_equal(make_mask(item, pixels, MasksConfig(background=0.2, crf="irn")), wanted)
    stacked = np.concatenate([np.full((1, HEIGHT, WIDTH), 0.2, np.float32), scores])
    wanted = np.array([0, 3, 10])[published(pixels, unary_from_softmax(stacked), KERNELS["psa"], 10)]
    np.testing.assert_array_equal(make_mask(item, pixels, MasksConfig(background=0.2, crf="psa")), wanted)


def test_two_thresholds_from_scores() -> None:
    """Not published together; each pass is the constant rule, then IRN's merge."""
    item, pixels = stored([2, 9]), image(1)
    both = MasksConfig(rule="two_threshold", crf="psa", confident_foreground=0.4, confident_background=0.1)
    high, low = (make_mask(item, pixels, MasksConfig(background=limit, crf="psa")) for limit in (0.4, 0.1))
    wanted = np.where(high != 0, high, np.where(low != 0, 255, 0))
    np.testing.assert_array_equal(make_mask(item, pixels, both), wanted)


def test_psa_two_alphas() -> None:
    """PSA's la_crf and ha_crf and what VOC12AffDataset makes of them, line by line."""
    item, pixels = stored([2, 9]), image(1)
    scores = full_size(item)

    def one_pass(alpha: float) -> np.ndarray:
        background = np.power(1 - np.max(scores, axis=0, keepdims=True), alpha)
        unary = unary_from_softmax(np.concatenate((background, scores), axis=0))
        return np.array([0, 3, 10])[published(pixels, unary, KERNELS["psa"], 10)]

    low, high = one_pass(4), one_pass(32)
    wanted = low.copy()
    wanted[low == 0] = 255
    wanted[high == 0] = 0
    found = make_mask(item, pixels, MasksConfig(rule="two_alpha", low_alpha=4, high_alpha=32, crf="psa"))
    np.testing.assert_array_equal(found, wanted)
    assert set(np.unique(found).tolist()) == {0, 3, 10, 255}


def test_fields_that_are_set_replace_those_of_the_named_set() -> None:
    assert parameters_of(MasksConfig(crf="irn")) == PARAMETERS["irn"]
    config = MasksConfig(crf="irn", crf_gaussian_weight=0, crf_bilateral_position=80, crf_bilateral_colour=13)
    assert parameters_of(config) == CrfParameters("labels", 3, 0, 80, 13, 10)
    item, pixels = stored([2, 9]), image(1)
    config = MasksConfig(crf="deeplab_v2", **{f"crf_{name}": value for name, value in CHANGED.items()})
    scores = full_size(item)
    unary = unary_from_softmax(np.concatenate([np.full((1, HEIGHT, WIDTH), 0.3, np.float32), scores]))
    wanted = np.array([0, 3, 10])[published(pixels, unary, tuple(CHANGED.values()), 10)]
    np.testing.assert_array_equal(make_mask(item, pixels, config), wanted)
    with pytest.raises(InputError, match=r"masks\.crf"):
        parameters_of(MasksConfig())


CHANGED = {
    "gaussian_position": 2.0,
    "gaussian_weight": 1.5,
    "bilateral_position": 20.0,
    "bilateral_colour": 30.0,
    "bilateral_weight": 6.0,
}


def test_a_shared_lattice_changes_nothing() -> None:
    pixels = image(2)
    starts = [np.random.default_rng(seed).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8) for seed in range(3)]
    together = refine(pixels, starts, 3, PARAMETERS["irn"], 4)
    for start, found in zip(starts, together, strict=True):
        np.testing.assert_array_equal(refine(pixels, [start], 3, PARAMETERS["irn"], 4)[0], found)


def test_a_read_only_image() -> None:
    pixels = image()
    pixels.flags.writeable = False
    make_mask(stored([1]), pixels, MasksConfig(crf="irn"))


def test_no_class() -> None:
    found = make_mask(stored([]), image(), MasksConfig(rule="two_threshold", crf="irn"))
    assert found.shape == (HEIGHT, WIDTH)
    assert not found.any()


def test_images_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="2007_1: its map is for 45x61"):
        make_mask(stored([1]), image(0, 61, 45), MasksConfig())
    with pytest.raises(InputError, match="2007_1: the CRF 'irn' needs the image"):
        make_mask(stored([1]), None, MasksConfig(crf="irn"))
    with pytest.raises(ValueError, match="at least one class"):
        refine(image(), [np.zeros((HEIGHT, WIDTH), np.uint8)], 1, PARAMETERS["irn"], 1)


def voc_root() -> Path | None:
    given = os.environ.get("WSSS_VOC_ROOT")
    root = Path(given) if given else ROOT.parent / "shared" / "data" / "VOCdevkit" / "VOC2012"
    return root if (root / "JPEGImages").is_dir() else None


@pytest.mark.voc
@pytest.mark.skipif(voc_root() is None, reason="no VOC2012 tree: set WSSS_VOC_ROOT")
def test_a_photograph() -> None:
    """Equal labels to the published calls on a real image, from its coarsened ground-truth mask."""
    root = voc_root()
    assert root is not None
    name = sorted(path.stem for path in (root / "SegmentationClass").glob("*.png"))[0]
    with Image.open(root / "JPEGImages" / f"{name}.jpg") as file:
        pixels = np.array(file)
    with Image.open(root / "SegmentationClass" / f"{name}.png") as file:
        truth = np.array(file)
    height, width = truth.shape
    classes = np.setdiff1d(np.unique(truth), [0, 255]).astype(np.uint8) - 1
    rows, columns = grid_size(height, width)
    coarse = np.zeros((len(classes), rows, columns), np.uint8)
    inside = truth[2::4, 2::4]
    for k, c in enumerate(classes):
        coarse[k, : inside.shape[0], : inside.shape[1]] = (inside == c + 1) * 200
    item = StoredMap(name, classes, coarse, height, width)
    hard = labels(full_size(item), np.arange(len(classes), dtype=np.uint8), MasksConfig(background=0.3))
    unary = unary_from_labels(hard, len(classes) + 1, gt_prob=0.7, zero_unsure=False)
    wanted = named(published(pixels, unary, (3, 3, 50, 5, 10), 10).astype(np.uint8), classes)
    np.testing.assert_array_equal(make_mask(item, pixels, MasksConfig(background=0.3, crf="irn")), wanted)
