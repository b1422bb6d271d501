"""One image's stored maps and its pixels to its pseudo mask."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import AnyMap, full_size
from wsss_platform.masks.crf.dense_crf import parameters_of, refine
from wsss_platform.masks.rules import background_score, labels, merged, named, over, passes, threshold


def make_mask(
    stored: AnyMap,
    image: NDArray[np.uint8] | None,
    config: MasksConfig,
    saliency: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The pseudo mask: uint8 [H, W], 0 background, c + 1 for class c, 255 undecided (rules
    of two passes, "saliency").

    The CRF sees the background and the classes present. Its starts are what the parameter set was
    published with: "irn" hard labels of the rule; the others the scores with the rule's background score.

    Args:
        stored: the image's maps.
        image: RGB uint8 [H, W, 3]; needed only for a CRF, checked whenever given.
        config: rule and CRF.
        saliency: uint8 [H, W]; needed only for rule "saliency".

    Raises:
        InputError: the map does not fit the image or its saliency, a CRF without the image, or rule "saliency"
            without saliency; names the image.
    """
    size = (stored.height, stored.width)
    if image is not None and image.shape != (*size, 3):
        raise InputError(
            f"image {stored.id}: its map is for {size[0]}x{size[1]} pixels, the image has shape {image.shape}",
            field=stored.id,
        )
    if image is None and config.crf != "none":
        raise InputError(f"image {stored.id}: the CRF {config.crf!r} needs the image's pixels", field=stored.id)
    if config.rule == "saliency" and (saliency is None or saliency.shape != size):
        found = "there is none" if saliency is None else f"it has shape {saliency.shape}, its map {size}"
        raise InputError(f"image {stored.id}: masks.rule 'saliency' needs its saliency map; {found}", field=stored.id)
    scores = full_size(stored)
    if image is None or config.crf == "none" or len(stored.classes) == 0:
        return labels(scores, stored.classes, config, saliency)
    parameters = parameters_of(config)
    begin = starts(scores, config, parameters.unary)
    local = refine(image, begin, len(scores) + 1, parameters, config.crf_iterations, config.crf_backend)
    return merged([named(item, stored.classes) for item in local], config)


def starts(
    scores: NDArray[np.float32], config: MasksConfig, unary: Literal["labels", "scores"]
) -> list[NDArray[np.uint8] | NDArray[np.float32]]:
    """What a CRF begins with, one per pass of the rule: local labels [H, W], or scores [K + 1, H, W]."""
    if unary == "labels":
        return [over(scores, threshold(each)) for each in passes(config)]
    return [np.concatenate([background_score(scores, each)[None], scores]) for each in passes(config)]
