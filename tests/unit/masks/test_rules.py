"""Background rules against definitions written pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_platform.config import MasksConfig
from wsss_platform.masks.rules import (
    alpha_of_threshold,
    background_score,
    labels,
    merge,
    merge_alphas,
    named,
    over,
    threshold,
    threshold_of_alpha,
)

CLASSES = np.array([1, 4, 19], np.uint8)


def scores(seed: int = 0) -> np.ndarray:
    """Two decimals, so that classes tie with each other and with the background."""
    return np.round(np.random.default_rng(seed).random((3, 21, 18)) * 0.6, 2).astype(np.float32)


def argmax_with_background(maps: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The peers' way: the background stacked first, argmax, first of equals."""
    values = np.concatenate([[0], CLASSES + 1])
    return values[np.concatenate([background[None], maps]).argmax(0)].astype(np.uint8)


def test_the_scores_have_ties() -> None:
    ordered = np.sort(scores(), axis=0)
    assert (ordered[-1] == ordered[-2]).any()
    assert (ordered[-1] == np.float32(0.3)).any()


@pytest.mark.parametrize("background", [0.0, 0.15, 0.3, 0.31, 0.6, 1.0])
def test_constant(background: float) -> None:
    config = MasksConfig(background=background)
    wanted = argmax_with_background(scores(), np.full((21, 18), background, np.float32))
    np.testing.assert_array_equal(labels(scores(), CLASSES, config), wanted)
    np.testing.assert_array_equal(
        labels(scores()[:1], CLASSES[:1], config), named(over(scores()[:1], background), CLASSES[:1])
    )


@pytest.mark.parametrize("alpha", [1.0, 2.0, 4.0, 8.0, 24.0])
def test_power(alpha: float) -> None:
    """In float64, where the score and the background's power are compared without a rounding to float32."""
    config = MasksConfig(rule="power", alpha=alpha)
    maps = scores()
    exact = (1 - maps.astype(np.float64).max(0)) ** alpha
    wanted = argmax_with_background(maps.astype(np.float64), exact)
    np.testing.assert_array_equal(labels(maps, CLASSES, config), wanted)
    assert threshold(config) == threshold_of_alpha(alpha)
    np.testing.assert_allclose(background_score(maps, config), exact, rtol=1e-5)


def test_larger_alpha_is_less_background() -> None:
    found = [threshold_of_alpha(alpha) for alpha in (0.5, 1, 2, 4, 8, 16, 32, 64, 128)]
    assert found == sorted(found, reverse=True)
    assert found[1] == 0.5


def test_merge_truth_table() -> None:
    """IRN: (foreground pass, background pass) -> label."""
    table = {(0, 0): 0, (0, 3): 255, (3, 3): 3, (3, 0): 3, (3, 5): 3}
    foreground = np.array([[pair[0] for pair in table]], np.uint8)
    background = np.array([[pair[1] for pair in table]], np.uint8)
    assert merge(foreground, background)[0].tolist() == list(table.values())
    assert foreground[0].tolist() == [0, 0, 3, 3, 3]  # its input is left alone


def test_two_thresholds() -> None:
    config = MasksConfig(rule="two_threshold", confident_foreground=0.4, confident_background=0.2)
    best = scores().max(0)
    wanted = np.where(best > np.float32(0.4), CLASSES[scores().argmax(0)] + 1, 255)
    wanted[best <= np.float32(0.2)] = 0
    np.testing.assert_array_equal(labels(scores(), CLASSES, config), wanted)


@pytest.mark.parametrize("rule", ["constant", "power", "two_threshold"])
def test_no_class_is_all_background(rule: str) -> None:
    config = MasksConfig.model_validate({"rule": rule})
    found = labels(np.zeros((0, 5, 7), np.float32), CLASSES[:0], config)
    assert found.shape == (5, 7)
    assert not found.any()


def test_a_threshold_is_an_alpha() -> None:
    """Both ways bit for bit, so the sweep of thresholds can be read as one of alphas."""
    for value in np.append(np.arange(1, 200) / 200, [1e-6, 1 - 2**-20]).astype(np.float32):
        assert threshold_of_alpha(alpha_of_threshold(float(value))) == value
    for value in (0.0, 1.0):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            alpha_of_threshold(value)


def test_merge_of_two_alphas_truth_table() -> None:
    """PSA's VOC12AffDataset: (la_crf, ha_crf) -> label; the high exponent's background wins over any class."""
    table = {(0, 0): 0, (0, 2): 255, (2, 2): 2, (2, 3): 2, (2, 0): 0, (5, 0): 0}
    low, high = (np.array([pair[side] for pair in table], np.uint8) for side in (0, 1))
    np.testing.assert_array_equal(merge_alphas(low, high), list(table.values()))


def test_two_alphas_without_crf() -> None:
    config = MasksConfig(rule="two_alpha", low_alpha=2, high_alpha=16)
    low, high = (labels(scores(), CLASSES, MasksConfig(rule="power", alpha=alpha)) for alpha in (2, 16))
    found = labels(scores(), CLASSES, config)
    np.testing.assert_array_equal(found, np.where(high == 0, 0, np.where(low == 0, 255, low)))
    assert {0, 255} < set(np.unique(found).tolist())
    with pytest.raises(ValueError, match="low_alpha must not exceed"):
        MasksConfig(rule="two_alpha", low_alpha=9, high_alpha=8)
