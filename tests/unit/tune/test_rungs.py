"""At which epochs trials are compared: never while a head or a term of the loss may still wait in one of them."""

from __future__ import annotations

from typing import Any

import pytest

from study_requests import study_options
from wsss_methods import get
from wsss_platform.config import DataConfig, override
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.space_file import read_space
from wsss_platform.tune.rungs import planned_rungs

RATE = {"train.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-3, "reason": "around the default"}}

STARTS = {"rtc": "segmentation.start", "rcm_mam": "support.warm_up"}


def rungs(start: float, name: str = "rtc", axis: dict[str, Any] | None = None) -> tuple[int, ...]:
    method = get(name)
    changes = {"train.epochs": 9} | ({STARTS[name]: start} if name in STARTS else {})
    config = override(method.config(), changes)
    axes = RATE if axis is None else {**RATE, "segmentation.start": {"reason": "when the head begins", **axis}}
    return planned_rungs(
        Experiment(method, config, DataConfig()), read_space({"axes": axes}, config, "test"), study_options()
    )


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize(("start", "expected"), [(0, (1, 3)), (0.1, (3,)), (1, (3,)), (2, (3,)), (2.1, ()), (5, ())])
def test_what_begins_later_moves_the_first_comparison(name: str, start: float, expected: tuple[int, ...]) -> None:
    assert rungs(start, name) == expected


def test_an_axis_counts_with_its_latest_start() -> None:
    assert rungs(0, axis={"kind": "float", "low": 0.0, "high": 2.0}) == (3,)
    assert rungs(1, axis={"kind": "categorical", "choices": [1.0, 4.0]}) == ()


def test_methods_that_train_everything_from_the_start_are_compared_from_the_first_rung() -> None:
    assert rungs(0, name="cam") == (1, 3)
