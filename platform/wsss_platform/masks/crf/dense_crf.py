"""Fully connected CRF (Krähenbühl and Koltun 2011) with the published parameter sets, by pydensecrf or our lattice.

The only importer of pydensecrf. It holds the GIL, so parallel images need processes; our lattice runs in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pydensecrf.densecrf as densecrf
from numpy.typing import NDArray
from pydensecrf.utils import unary_from_labels, unary_from_softmax

from wsss_platform.config import MasksConfig
from wsss_platform.errors import unknown
from wsss_platform.masks.crf.lattice import Kernels, Run


@dataclass(frozen=True)
class CrfParameters:
    """Kernel widths and weights. Positions are in pixels of the original image, colours in levels of 255."""

    unary: Literal["labels", "scores"]
    """Energies from hard labels (certainty `CERTAINTY`), or from -log of the scores as they are."""
    gaussian_position: float
    gaussian_weight: float
    bilateral_position: float
    bilateral_colour: float
    bilateral_weight: float


PARAMETERS = {
    "irn": CrfParameters("labels", 3, 3, 50, 5, 10),
    "psa": CrfParameters("scores", 3, 3, 80, 13, 10),
    "walk": CrfParameters("scores", 3, 3, 80, 13, 10),
    "deeplab": CrfParameters("scores", 3, 3, 32, 13, 10),
    "deeplab_v2": CrfParameters("scores", 1, 3, 67, 3, 4),
    "afa": CrfParameters("scores", 3, 3, 64, 5, 4),
    "toco": CrfParameters("scores", 1, 1, 121, 5, 4),
}
"""irn: IRN's cam_to_ir_label (AMN, RTC). psa: PSA, SEAM, OC-CSE, FBR-S. walk: SEAM and AEFT after the random walk, with
one iteration. deeplab: YudeWang's DeepLab test, with one iteration. deeplab_v2: kazuto1011's DeepLab v2, DRS, CLIP-ES.
afa: AFA, WeCLIP. toco: ToCo, DuPL. All [code]."""
CERTAINTY = 0.7
"""Probability that a hard label is right (IRN's gt_prob)."""
LATTICE_LABELS = 32
"""Backend "auto" takes our lattice up to so many labels, pydensecrf above [ours]."""
Backend = Literal["auto", "pydensecrf", "lattice"]


def parameters_of(config: MasksConfig) -> CrfParameters:
    """The config's parameter set with the fields `crf_*` that it sets; InputError when there is no such set."""
    if config.crf not in PARAMETERS:
        raise unknown("CRF parameter set (masks.crf)", config.crf, PARAMETERS, "masks.crf")
    names = ("gaussian_position", "gaussian_weight", "bilateral_position", "bilateral_colour", "bilateral_weight")
    given = {name: getattr(config, f"crf_{name}") for name in names}
    return replace(PARAMETERS[config.crf], **{name: value for name, value in given.items() if value is not None})


def energies(
    start: NDArray[np.uint8] | NDArray[np.float32], labels: int, unary: Literal["labels", "scores"]
) -> NDArray[np.float32]:
    """Negative log probabilities float32 [labels, N] of a start, as pydensecrf's helpers make them."""
    if unary == "labels":
        found = unary_from_labels(start, labels, CERTAINTY, zero_unsure=False)
    else:
        found = unary_from_softmax(start)
    return np.ascontiguousarray(found, np.float32)


def refine(
    image: NDArray[np.uint8],
    starts: Sequence[NDArray[np.uint8] | NDArray[np.float32]],
    labels: int,
    parameters: CrfParameters,
    iterations: int,
    backend: Backend = "pydensecrf",
) -> list[NDArray[np.uint8]]:
    """Mean-field inference from each start; all starts share one lattice, with the bits of separate runs.

    Args:
        image: RGB uint8 [H, W, 3].
        starts: with `unary` "labels", hard labels uint8 [H, W] in 0..labels-1; with "scores",
            float32 [labels, H, W] in 0..1, which need not sum to 1 (the PSA family's do not).
        labels: how many there are, background included; at least 2.
        parameters: which kernels.
        iterations: mean-field steps.
        backend: who computes; "auto" is the quicker one for so many labels.

    Returns:
        For each start the best label uint8 [H, W].
    """
    if labels < 2:
        raise ValueError("a CRF needs the background and at least one class")
    for start in starts:
        if start.shape[-2:] != image.shape[:2]:
            raise ValueError(f"start of shape {start.shape} on an image of {image.shape[0]}x{image.shape[1]}")
    unaries = [energies(start, labels, parameters.unary) for start in starts]
    if backend == "lattice" or (backend == "auto" and labels <= LATTICE_LABELS):
        weights = (parameters.gaussian_weight, parameters.bilateral_weight)
        runs = [Run(unary, *weights, (iterations,)) for unary in unaries]
        return [found[0] for found in kernels(image, parameters).labels(runs)]
    return _by_pydensecrf(image, unaries, labels, parameters, iterations)


def kernels(image: NDArray[np.uint8], parameters: CrfParameters) -> Kernels:
    """The image's own lattices, for runs of any weights and iterations."""
    return Kernels(image, parameters.gaussian_position, parameters.bilateral_position, parameters.bilateral_colour)


def _by_pydensecrf(
    image: NDArray[np.uint8],
    unaries: Sequence[NDArray[np.float32]],
    labels: int,
    parameters: CrfParameters,
    iterations: int,
) -> list[NDArray[np.uint8]]:
    height, width = image.shape[:2]
    field = densecrf.DenseCRF2D(width, height, labels)
    refined = []
    for number, unary in enumerate(unaries):
        field.setUnaryEnergy(unary)
        if number == 0:
            _add_kernels(field, image, parameters)
        beliefs = np.asarray(field.inference(iterations)).reshape(labels, height, width)
        refined.append(beliefs.argmax(0).astype(np.uint8))
    return refined


def _add_kernels(field: densecrf.DenseCRF2D, image: NDArray[np.uint8], parameters: CrfParameters) -> None:
    field.addPairwiseGaussian(sxy=parameters.gaussian_position, compat=parameters.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_position,
        srgb=parameters.bilateral_colour,
        rgbim=np.array(image, order="C"),  # a copy: read-only arrays are refused
        compat=parameters.bilateral_weight,
    )
