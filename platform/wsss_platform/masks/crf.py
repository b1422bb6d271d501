"""Fully connected CRF (Krähenbühl and Koltun 2011) by pydensecrf, with the published parameter sets.

The only importer of pydensecrf. It holds the GIL, so parallel pictures need processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pydensecrf.densecrf as densecrf
from numpy.typing import NDArray
from pydensecrf.utils import unary_from_labels, unary_from_softmax


@dataclass(frozen=True)
class CrfParameters:
    """Kernel widths and weights. Positions are in pixels of the original picture, colours in levels of 255."""

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
    "deeplab": CrfParameters("scores", 3, 3, 32, 13, 10),
    "deeplab_v2": CrfParameters("scores", 1, 3, 67, 3, 4),
}
"""irn: IRN's cam_to_ir_label (AMN, RTC). psa: PSA, SEAM, OC-CSE, FBR-S. deeplab: YudeWang's DeepLab test.
deeplab_v2: kazuto1011's DeepLab v2, DRS."""
CERTAINTY = 0.7
"""Probability that a hard label is right (IRN's gt_prob)."""


def refine(
    image: NDArray[np.uint8],
    starts: Sequence[NDArray[np.uint8] | NDArray[np.float32]],
    labels: int,
    parameters: CrfParameters,
    iterations: int,
) -> list[NDArray[np.uint8]]:
    """Mean-field inference from each start; all starts share one lattice, with the bits of separate runs.

    Args:
        image: RGB uint8 [H, W, 3].
        starts: with `unary` "labels", hard labels uint8 [H, W] in 0..labels-1; with "scores",
            float32 [labels, H, W] in 0..1, which need not sum to 1 (the PSA family's do not).
        labels: how many there are, background included; at least 2.
        parameters: which kernels.
        iterations: mean-field steps.

    Returns:
        For each start the best label uint8 [H, W].
    """
    if labels < 2:
        raise ValueError("a CRF needs the background and at least one class")
    height, width = image.shape[:2]
    field = densecrf.DenseCRF2D(width, height, labels)
    refined = []
    for number, start in enumerate(starts):
        if start.shape[-2:] != (height, width):
            raise ValueError(f"start of shape {start.shape} on a picture of {height}x{width}")
        if parameters.unary == "labels":
            unary = unary_from_labels(start, labels, CERTAINTY, zero_unsure=False)
        else:
            unary = unary_from_softmax(start)
        field.setUnaryEnergy(np.ascontiguousarray(unary))
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
