"""One picture's stored maps and its pixels to its pseudo mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import AnyMap, full_size
from wsss_platform.masks.crf import PARAMETERS, refine
from wsss_platform.masks.rules import background_score, confident_passes, labels, merge, named, over, threshold


def make_mask(
    stored: AnyMap,
    image: NDArray[np.uint8] | None,
    config: MasksConfig,
    saliency: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The pseudo mask: uint8 [H, W], 0 background, c + 1 for class c, 255 undecided ("two_threshold", "saliency").

    The CRF sees the background and the classes present. Its starts are what the parameter set was
    published with: "irn" hard labels of the rule; the others the scores with the rule's background score.

    Args:
        stored: the picture's maps.
        image: RGB uint8 [H, W, 3]; needed only for a CRF, checked whenever given.
        config: rule and CRF.
        saliency: uint8 [H, W]; needed only for rule "saliency".

    Raises:
        InputError: the map does not fit the picture or its saliency, a CRF without the picture, or rule "saliency"
            without saliency; names the picture.
    """
    size = (stored.height, stored.width)
    if image is not None and image.shape != (*size, 3):
        raise InputError(
            f"picture {stored.id}: its map is for {size[0]}x{size[1]} pixels, the picture has shape {image.shape}"
        )
    if image is None and config.crf != "none":
        raise InputError(f"picture {stored.id}: the CRF {config.crf!r} needs the picture's pixels")
    if config.rule == "saliency" and (saliency is None or saliency.shape != size):
        found = "there is none" if saliency is None else f"it has shape {saliency.shape}, its map {size}"
        raise InputError(f"picture {stored.id}: masks.rule 'saliency' needs its saliency map; {found}")
    scores = full_size(stored)
    if image is None or config.crf == "none" or len(stored.classes) == 0:
        return labels(scores, stored.classes, config, saliency)
    local = _refined(scores, image, config)
    masks = [named(item, stored.classes) for item in local]
    return merge(*masks) if config.rule == "two_threshold" else masks[0]


def _refined(scores: NDArray[np.float32], image: NDArray[np.uint8], config: MasksConfig) -> list[NDArray[np.uint8]]:
    """Local labels after the CRF, one per pass of the rule."""
    parameters = PARAMETERS[config.crf]
    starts: list[NDArray[np.uint8] | NDArray[np.float32]]
    if config.rule == "two_threshold":
        if parameters.unary == "labels":
            starts = list(confident_passes(scores, config))
        else:
            starts = [_stacked(np.full(scores.shape[1:], limit, np.float32), scores) for limit in _limits(config)]
    elif parameters.unary == "labels":
        starts = [over(scores, threshold(config))]
    else:
        starts = [_stacked(background_score(scores, config), scores)]
    return refine(image, starts, len(scores) + 1, parameters, config.crf_iterations)


def _limits(config: MasksConfig) -> tuple[float, float]:
    return config.confident_foreground, config.confident_background


def _stacked(background: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([background[None], scores])
