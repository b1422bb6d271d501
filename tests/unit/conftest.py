"""Records for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wsss_platform.plan.protocol import Protocol
from wsss_platform.run.records import BestScore, FixedScore, RunRecord, Scores

PROTOCOL = Protocol(
    data="voc12",
    train_list="train_bal",
    train_images=400,
    score_list="val_bal",
    score_images=200,
    supervision="labels",
    labels_from="xml",
    label_gate=True,
    selection="none",
    backbone="efficientnet_lite0 stride 16",
    initial_weights="imagenet",
    scales="0.5, 1, 1.5 + flip",
    background="constant 0.3",
    crf="none",
    affinity="none",
    segmenter="none",
    truth="0123456789ab",
)


def scores(mean: float, best: float | None = None, threshold: float = 0.35) -> Scores:
    """A score with two classes."""
    per_class = {"background": mean, "cat": mean, "dog": None}
    swept = None if best is None else BestScore(threshold=threshold, mean_iou=best)
    return Scores(fixed=FixedScore(mean_iou=mean, per_class=per_class), best=swept)


def make(name: str, mean: float | None = None, **changes: Any) -> RunRecord:
    """A finished record, scored when a mean is given."""
    made: dict[str, Any] = {
        "name": name,
        "method": "cam",
        "revision": 1,
        "config": {"train": {"epochs": 8, "learning_rate": 2e-4}, "loss": {"classification": 1.0}},
        "data": {"kind": "voc12", "root": "/data/VOC2012"},
        "seed": 0,
        "workers": 1,
        "protocol": PROTOCOL,
        "stages": {"train:cam": "a" * 64},
        "scores": None if mean is None else scores(mean, mean + 0.02),
        "seconds": {"train:cam": 60.0, "maps:cam": 12.5},
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:17+00:00",
        "status": "finished",
    }
    return RunRecord(**{**made, **changes})


MakeRecord = Callable[..., RunRecord]


@pytest.fixture
def record() -> MakeRecord:
    """(name, mean=None, **fields) -> a finished record, scored when a mean is given."""
    return make


@pytest.fixture
def protocol() -> Protocol:
    """The protocol of those records."""
    return PROTOCOL


@pytest.fixture
def make_scores() -> Callable[..., Scores]:
    """(mean, best=None, threshold=0.35) -> a score with two classes."""
    return scores
