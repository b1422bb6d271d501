"""Percentile bootstrap over images (Efron and Tibshirani 1993, chapter 13; paired: chapter 15).

The mean IoU is a function of sums over images, so a resample is a vector of image weights times
the per-image counts; no image is read again. It says how the score would vary with other images of
the same kind, not with other seeds of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.scores.confusion import mean_iou_of_parts
from wsss_platform.scores.intervals import Comparison, Interval
from wsss_platform.scores.sparse import SparseParts

LEVEL = 0.95
"""Coverage of every interval here."""
_BATCH = 64  # resamples per matrix product
_DRAWS = 2**18  # images drawn for one matrix product, and weighted at once: bounds the memory


def bootstrap(parts: NDArray[np.int64] | SparseParts, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean IoU over all images with its interval.

    Args:
        parts: int64 [N, 3, C + 1], see `confusion.parts`; both forms give the same interval.
        resamples: how many.
        seed: of the resampling; the same seed and N draw the same images.
    """
    _require(parts)
    values = np.concatenate([mean_iou_of_parts(_weighted(w, parts)) for w in _weights(len(parts), resamples, seed)])
    all_once = np.ones((1, len(parts)))
    return _interval(float(mean_iou_of_parts(_weighted(all_once, parts))[0]), values)


def compare(a: NDArray[np.int64], b: NDArray[np.int64], resamples: int = 2000, seed: int = 0) -> Comparison:
    """Paired comparison of two runs whose images are in the same order: int64 [N, 3, C + 1] each."""
    _require(a)
    if a.shape != b.shape:
        raise InputError(f"counts of shapes {a.shape} and {b.shape} cannot be paired")
    first, second = [], []
    for weights in _weights(len(a), resamples, seed):
        first.append(mean_iou_of_parts(_weighted(weights, a)))
        second.append(mean_iou_of_parts(_weighted(weights, b)))
    values_a, values_b = np.concatenate(first), np.concatenate(second)
    value_a, value_b = float(mean_iou_of_parts(a.sum(0))), float(mean_iou_of_parts(b.sum(0)))
    gap = values_a - values_b
    return Comparison(
        a=_interval(value_a, values_a),
        b=_interval(value_b, values_b),
        difference=_interval(value_a - value_b, gap),
        a_wins=float(np.mean(gap > 0) + np.mean(gap == 0) / 2),
        images=len(a),
        resamples=resamples,
        seed=seed,
    )


def _require(parts: NDArray[np.int64] | SparseParts) -> None:
    counts = parts.count if isinstance(parts, SparseParts) else parts
    if len(parts) == 0 or not counts.any():
        raise InputError("nothing to resample: no image has a scored pixel")


def _weights(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Batches [r, N]: how often each image is drawn in each resample of N with replacement.

    The draws follow each other in one stream, so they do not depend on how large the batches are.
    """
    generator = np.random.default_rng(seed)
    batch = max(1, min(_BATCH, _DRAWS // images))
    for start in range(0, resamples, batch):
        rows = min(batch, resamples - start)
        drawn = generator.integers(0, images, (rows, images)) + np.arange(rows)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=rows * images)
        yield counts.reshape(rows, images).astype(np.float64)


def _weighted(weights: NDArray[np.float64], parts: NDArray[np.int64] | SparseParts) -> NDArray[np.float64]:
    """Sums [r, 3, C + 1]; whole numbers below 2^53, so exact in float64."""
    if isinstance(parts, SparseParts):
        return parts.weighted(weights)
    flat = parts.reshape(len(parts), -1)
    step = max(1, _DRAWS // flat.shape[1])
    sums = np.zeros((len(weights), flat.shape[1]))
    for start in range(0, len(flat), step):
        some = slice(start, start + step)
        sums += weights[:, some] @ flat[some].astype(np.float64)
    return sums.reshape(len(weights), *parts.shape[1:])


def _interval(value: float, values: NDArray[np.float64]) -> Interval:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(value, float(low), float(high))


Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Sums over images [..., K] or [..., 3, C + 1] -> a value each [...]."""


def _mean_over_seeds(
    parts: Iterable[NDArray[np.int64] | SparseParts],
    statistic: Statistic,
    weights: NDArray[np.float64],
    drawn: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Of each of r resamples: weights of its images [r, N], seeds that were drawn [r, S]."""
    each = np.stack([statistic(_weighted(weights, one)) for one in parts], axis=1)  # [r, S]
    return np.asarray(np.take_along_axis(each, drawn, axis=1).mean(1))


def bootstrap_seeds(parts: Sequence[SparseParts], resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean over seeds of the mean IoU, with an interval that holds the luck of images and of seeds.

    A resample draws images with replacement, the same for every seed's run, and seeds with replacement. With few seeds
    their luck is known badly; with one not at all.

    Args:
        parts: counts of the same images in the same order, one for each seed.
        resamples: how many.
        seed: of the resampling.
    """
    for each in parts:
        _require(each)
    images = len(parts[0])
    if any(len(each) != images for each in parts):
        raise InputError("scores of other numbers of images cannot be averaged over seeds")
    generator = np.random.default_rng((seed, len(parts)))
    values = []
    for weights in _weights(images, resamples, seed):
        drawn = generator.integers(0, len(parts), (len(weights), len(parts)))
        values.append(_mean_over_seeds(parts, mean_iou_of_parts, weights, drawn))
    all_once = np.ones((1, images))
    means = [float(mean_iou_of_parts(_weighted(all_once, one))[0]) for one in parts]
    return _interval(float(np.mean(means)), np.concatenate(values))


def compare_seeds(
    a: NDArray[np.int64], b: NDArray[np.int64], statistic: Statistic, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Two methods over the same seeds and images; both are drawn anew in each resample.

    The value is the mean over seeds. A resample draws images with replacement, the same for every run, and
    seeds with replacement, the same for both methods, so the interval holds the luck of images and of seeds.
    With few seeds the latter is known badly; with one not at all.

    Args:
        a: int64 [S, N, ...]: counts per seed and image of the first method.
        b: the same of the second.
        statistic: what is compared, from counts summed over images.
        resamples: how many.
        seed: of the resampling.
    """
    if a.shape != b.shape:
        raise InputError(f"counts of shapes {a.shape} and {b.shape} cannot be paired")
    seeds, images = a.shape[:2]
    if not a.any():
        raise InputError("nothing to resample: no image has a scored pixel")
    generator = np.random.default_rng((seed, seeds))
    values: list[list[NDArray[np.float64]]] = [[], []]
    for weights in _weights(images, resamples, seed):
        drawn = generator.integers(0, seeds, (len(weights), seeds))
        for kept, counts in zip(values, (a, b), strict=True):
            kept.append(_mean_over_seeds(counts, statistic, weights, drawn))
    first, second = (np.concatenate(kept) for kept in values)
    value_a, value_b = (float(statistic(counts.sum(1).astype(np.float64)).mean()) for counts in (a, b))
    gap = first - second
    return Comparison(
        a=_interval(value_a, first),
        b=_interval(value_b, second),
        difference=_interval(value_a - value_b, gap),
        a_wins=float(np.mean(gap > 0) + np.mean(gap == 0) / 2),
        images=images,
        resamples=resamples,
        seed=seed,
    )
