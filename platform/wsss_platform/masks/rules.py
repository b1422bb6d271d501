"""Which pixels are background: rules on full-size scores. Ties go to the background.

Labels here are local: 0 is the background, k + 1 the k-th of the image's K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.data.split import IGNORE


@lru_cache
def threshold_of_alpha(alpha: float) -> float:
    """The threshold t with "score > t" exactly where "score > (1 - score)^alpha", for float32 scores in 0..1.

    The largest float32 at which (1 - t)^alpha >= t holds (in float64), found by bisection; so an alpha
    without CRF is a constant threshold. Ours.
    """

    def is_background(bits: int) -> bool:
        score = float(np.uint32(bits).view(np.float32))
        return alpha * float(np.log1p(-score)) >= float(np.log(score))

    low, high = int(np.float32(1e-30).view(np.uint32)), int(np.float32(1).view(np.uint32)) - 1
    while high - low > 1:  # positive floats are ordered like their bits
        middle = (low + high) // 2
        low, high = (middle, high) if is_background(middle) else (low, middle)
    return float(np.uint32(high if is_background(high) else low).view(np.float32))


def alpha_of_threshold(threshold: float) -> float:
    """The alpha whose `threshold_of_alpha` is this float32 above 0 and below 1, bit for bit.

    So a sweep of thresholds is one of alphas, read on another axis. Ours.
    """
    score = float(np.float32(threshold))
    if not 0 < score < 1:
        raise ValueError(f"an alpha belongs to a threshold above 0 and below 1, got {threshold}")
    # (1 - t)^alpha = t, and a little less alpha, so that rounding leaves the background the score of a tie
    return float(np.log(score) / np.log1p(-score)) * (1 - 1e-12)


def threshold(config: MasksConfig) -> float:
    """The score up to which a pixel is background under rule "constant" or "power"."""
    return config.background if config.rule == "constant" else threshold_of_alpha(config.alpha)


def background_score(scores: NDArray[np.float32], config: MasksConfig) -> NDArray[np.float32]:
    """The background's score beside the classes' for rule "constant" or "power": float32 [H, W] (PSA, SEAM).

    Args:
        scores: float32 [K, H, W] in 0..1, K at least 1.
        config: rule and its parameter.
    """
    if config.rule == "constant":
        return np.full(scores.shape[1:], config.background, np.float32)
    score: NDArray[np.float32] = np.power(1 - scores.max(0), np.float32(config.alpha), dtype=np.float32)
    return score


def over(scores: NDArray[np.float32], limit: float) -> NDArray[np.uint8]:
    """Local labels uint8 [H, W]: the best class (the first of equals) where its score exceeds `limit`, else 0."""
    if len(scores) == 1:
        return np.asarray(scores[0] > np.float32(limit), np.uint8)
    best: NDArray[np.uint8] = scores.argmax(0).astype(np.uint8)
    best += 1
    best[~(scores.max(0) > np.float32(limit))] = 0
    return best


def named(local: NDArray[np.uint8], classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mask values from local labels: 0 stays, the k-th class c becomes c + 1."""
    values = np.zeros(len(classes) + 1, np.uint8)
    values[1:] = classes + 1
    mask: NDArray[np.uint8] = values[local]
    return mask


def labels(
    scores: NDArray[np.float32],
    classes: NDArray[np.uint8],
    config: MasksConfig,
    saliency: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """A mask without CRF: uint8 [H, W], 0 background, c + 1 for class c; two passes and "saliency" also give 255.

    Args:
        scores: float32 [K, H, W] in 0..1.
        classes: uint8 [K], 0-based.
        config: which rule.
        saliency: uint8 [H, W], for rule "saliency".
    """
    if config.rule == "saliency":
        assert saliency is not None
        return salient(scores, classes, saliency, config)
    if len(classes) == 0:
        return np.zeros(scores.shape[1:], np.uint8)
    return merged([named(over(scores, threshold(each)), classes) for each in passes(config)], config)


def passes(config: MasksConfig) -> list[MasksConfig]:
    """One background rule "constant" or "power" per pass: the foreground's first, where there are two."""
    if config.rule == "two_threshold":
        limits = (config.confident_foreground, config.confident_background)
        return [config.model_copy(update={"rule": "constant", "background": limit}) for limit in limits]
    if config.rule == "two_alpha":
        alphas = (config.low_alpha, config.high_alpha)
        return [config.model_copy(update={"rule": "power", "alpha": alpha}) for alpha in alphas]
    return [config]


def merged(masks: Sequence[NDArray[np.uint8]], config: MasksConfig) -> NDArray[np.uint8]:
    """One mask from those of all `passes`, in their order."""
    if config.rule == "two_threshold":
        return merge(*masks)
    return merge_alphas(*masks) if config.rule == "two_alpha" else masks[0]


def salient(
    scores: NDArray[np.float32], classes: NDArray[np.uint8], saliency: NDArray[np.uint8], config: MasksConfig
) -> NDArray[np.uint8]:
    """DRS's labels: uint8 [H, W] with 255 (DRS, scripts/pseudo_seg_label_gen.py [code]; no CRF, no walk).

    Scores under `saliency_floor` count 0; the background scores 1 where the image is not salient, else 0; the
    best channel is the label, the background among equals. 255 where more than two channels, the background
    among them, score above `conflict_level`, and where the image is salient but no class is left.

    Args:
        scores: float32 [K, H, W] in 0..1; K may be 0.
        classes: uint8 [K], 0-based.
        saliency: uint8 [H, W], 0..255.
        config: floor, cut and conflict level.
    """
    shown = saliency > config.saliency_cut
    kept = np.where(scores < np.float32(config.saliency_floor), np.float32(0), scores)
    channels = np.concatenate([~shown[None], kept]).astype(np.float32)
    mask = named(channels.argmax(0).astype(np.uint8), classes)
    conflict = (channels > np.float32(config.conflict_level)).sum(0) > 2
    mask[conflict | (shown & (mask == 0))] = IGNORE
    return mask


def merge(foreground: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """IRN's cam_to_ir_label: the foreground pass's class; background where both passes say so; else 255."""
    merged = foreground.copy()
    merged[foreground == 0] = IGNORE
    merged[(foreground == 0) & (background == 0)] = 0
    return merged


def merge_alphas(low: NDArray[np.uint8], high: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PSA's and SEAM's labels from la_crf and ha_crf (voc12/data.py, VOC12AffDataset [code]).

    The class of the low exponent's pass; 255 where that says background; background wherever the high exponent's pass
    says so, even where the low one names a class.
    """
    mask = low.copy()
    mask[low == 0] = IGNORE
    mask[high == 0] = 0
    return mask
