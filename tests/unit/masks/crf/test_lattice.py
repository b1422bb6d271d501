"""Our lattice against pydensecrf: the same labels but for rounding, whatever is shared or run beside each other."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pydensecrf.densecrf as densecrf
import pytest
from PIL import Image

from wsss_platform.masks.crf.dense_crf import PARAMETERS, CrfParameters, energies, kernels, refine
from wsss_platform.masks.crf.lattice import CHANNELS, Kernels, Run
from wsss_platform.masks.crf.permutohedral import bilateral, spatial

ROOT = Path(__file__).parents[3]


def random_image(seed: int, height: int = 90, width: int = 121, noise: float = 6) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 15 + 1, width // 15 + 1, 3)).repeat(15, 0).repeat(15, 1)
    return (coarse[:height, :width] + generator.normal(0, noise, (height, width, 3))).clip(0, 255).astype(np.uint8)


def scores(seed: int, labels: int, height: int = 90, width: int = 121) -> np.ndarray:
    """float32 [labels, H, W]: smooth hills that do not sum to one."""
    generator = np.random.default_rng(seed)
    hills = [cv2.resize(generator.random((5, 6), np.float32), (width, height)) for _ in range(labels)]
    return np.array(hills, np.float32)


def reference(image: np.ndarray, unary: np.ndarray, parameters: CrfParameters, steps: int) -> np.ndarray:
    """pydensecrf's beliefs float32 [L, H, W], typed out."""
    height, width = image.shape[:2]
    field = densecrf.DenseCRF2D(width, height, len(unary))
    field.setUnaryEnergy(unary)
    field.addPairwiseGaussian(sxy=parameters.gaussian_position, compat=parameters.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_position,
        srgb=parameters.bilateral_colour,
        rgbim=image.copy(),
        compat=parameters.bilateral_weight,
    )
    return np.asarray(field.inference(steps)).reshape(len(unary), height, width)


@pytest.mark.parametrize("name", list(PARAMETERS))
@pytest.mark.parametrize("labels", [2, 3, 6])
def test_beliefs_are_those_of_pydensecrf(name: str, labels: int) -> None:
    image, parameters = random_image(labels), PARAMETERS[name]
    start = scores(labels, labels)
    unary = energies(
        start if parameters.unary == "scores" else start.argmax(0).astype(np.uint8), labels, parameters.unary
    )
    wanted = reference(image, unary, parameters, 10)
    run = Run(unary, parameters.gaussian_weight, parameters.bilateral_weight, (10,))
    found = kernels(image, parameters)
    np.testing.assert_allclose(found.beliefs(run), wanted, atol=2e-3)
    assert np.abs(found.beliefs(run) - wanted).mean() < 1e-5
    assert np.mean(found.labels([run])[0][0] == wanted.argmax(0)) >= 0.9999
    assert np.mean(wanted.argmax(0) == unary.argmin(0).reshape(90, 121)) < 0.99  # the CRF does something


def test_twenty_one_labels_and_a_lattice_that_outgrows_its_first_table() -> None:
    """Noise puts nearly every pixel into simplices of its own."""
    image = random_image(0, 150, 170, noise=40)
    assert bilateral(image, 50, 5).size > 1 << 15
    unary = energies(scores(1, 21, 150, 170), 21, "scores")
    wanted = reference(image, unary, PARAMETERS["irn"], 5).argmax(0)
    found = kernels(image, PARAMETERS["irn"]).labels([Run(unary, 3, 10, (5,))])
    assert np.mean(found[0][0] == wanted) >= 0.9999


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 1), (2, 3)])
def test_small_images(size: tuple[int, int]) -> None:
    image, start = random_image(3, *size), scores(2, 3, *size)
    unary = energies(start, 3, "scores")
    found = kernels(image, PARAMETERS["psa"]).beliefs(Run(unary, 3, 10, (3,)))
    np.testing.assert_allclose(found, reference(image, unary, PARAMETERS["psa"], 3), atol=2e-3)


def test_what_is_shared_changes_no_bit() -> None:
    """Runs of other starts, weights and iterations beside each other, more than are filtered at once."""
    image = random_image(5)
    shared = Kernels(image, 3, 50, 5)
    runs = [
        Run(energies(scores(seed, 2 + seed % 3), 2 + seed % 3, "scores"), seed % 4, 2.0 * seed, (1, 2 + seed % 5))
        for seed in range(14)
    ]
    assert sum(len(run.energies) - 1 for run in runs) > CHANNELS
    together = shared.labels(runs)
    for run, found in zip(runs, together, strict=True):
        for step, labels in zip(run.iterations, found, strict=True):
            alone = Kernels(image, 3, 50, 5).labels([run._replace(iterations=(step,))])[0][0]
            np.testing.assert_array_equal(labels, alone)
    assert any((first[0] != first[1]).any() for first in together)


def test_threads_leave_the_same_bits() -> None:
    images = [random_image(seed) for seed in range(6)]
    run = Run(energies(scores(1, 3), 3, "scores"), 3, 10, (4,))

    def work(image: np.ndarray) -> bytes:
        return kernels(image, PARAMETERS["irn"]).beliefs(run).tobytes()

    alone = [work(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, images)) == alone


def test_a_simplex_is_made_of_neighbours_and_its_weights_sum_to_one() -> None:
    lattice = bilateral(random_image(7), 30, 9)
    np.testing.assert_allclose(lattice.weights.sum(1), 1, atol=1e-4)
    assert lattice.weights.min() > -1e-4
    assert set(np.unique(lattice.points)) == set(range(lattice.size))
    along = [lattice.chains[a:b] for a, b in zip(lattice.starts[:-1], lattice.starts[1:], strict=True)]
    for chain in along:  # a point is in one run per axis at most, and the last of every axis closes its run
        points = np.where(chain < 0, ~chain, chain)
        assert len(np.unique(points)) == len(points)
        assert chain[-1] < 0
    linked = {pair for chain in along for pair in zip(chain, np.where(chain < 0, ~chain, chain)[1:], strict=False)}
    corners = lattice.points[::97]
    for r in range(lattice.points.shape[1]):  # consecutive corners, the last and the first among them
        pairs = zip(corners[:, r - 1], corners[:, r], strict=True)
        assert all((a, b) in linked for a, b in pairs)


def test_widths_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="above 0"):
        spatial(5, 5, 0)
    with pytest.raises(ValueError, match="too small"):
        bilateral(random_image(0), 1e-4, 1e-4)


@pytest.mark.parametrize("backend", ["auto", "lattice"])
def test_refine_by_either_backend(backend: str) -> None:
    image = random_image(9)
    starts = [scores(seed, 3).argmax(0).astype(np.uint8) for seed in (1, 2)]
    wanted = refine(image, starts, 3, PARAMETERS["irn"], 10)
    found = refine(image, starts, 3, PARAMETERS["irn"], 10, backend)  # type: ignore[arg-type]
    assert np.mean(np.array(found) == np.array(wanted)) >= 0.9999


def voc_root() -> Path | None:
    given = os.environ.get("WSSS_VOC_ROOT")
    root = Path(given) if given else ROOT.parent / "shared" / "data" / "VOCdevkit" / "VOC2012"
    return root if (root / "JPEGImages").is_dir() else None


@pytest.mark.voc
@pytest.mark.skipif(voc_root() is None, reason="no VOC2012 tree: set WSSS_VOC_ROOT")
@pytest.mark.parametrize("number", [0, 200, 600])
def test_photographs(number: int) -> None:
    """IRN's two passes and PSA's scores, on blurred ground-truth masks."""
    root = voc_root()
    assert root is not None
    mask = sorted((root / "SegmentationClass").glob("*.png"))[number]
    with Image.open(root / "JPEGImages" / f"{mask.stem}.jpg") as opened:
        image = np.array(opened)
    with Image.open(mask) as opened:
        truth = np.array(opened)
    present = np.setdiff1d(np.unique(truth), [0, 255])
    hills = np.array([cv2.GaussianBlur((truth == value).astype(np.float32), (0, 0), 15) for value in present])
    hills /= hills.max((1, 2), keepdims=True)
    background = np.power(1 - hills.max(0, keepdims=True), 4)
    for name in ("irn", "psa"):
        start = np.concatenate([background, hills])
        unary = energies(
            start if name == "psa" else start.argmax(0).astype(np.uint8), len(start), PARAMETERS[name].unary
        )
        wanted = reference(image, unary, PARAMETERS[name], 10).argmax(0)
        run = Run(unary, PARAMETERS[name].gaussian_weight, PARAMETERS[name].bilateral_weight, (10,))
        found = kernels(image, PARAMETERS[name]).labels([run])[0][0]
        assert np.mean(found == wanted) >= 0.9999
