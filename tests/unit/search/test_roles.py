"""Thresholds, loss weights and sampling ratios of a space: told by path or said, and missed where neither."""

from __future__ import annotations

from typing import Any

import pytest

import wsss_methods
from wsss_platform.config import DataConfig, MapsConfig, MasksConfig, SampleConfig
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.levels import split
from wsss_platform.search.roles import THRESHOLDS, role_faults, role_of
from wsss_platform.search.space import SearchSpace
from wsss_platform.search.space_file import read_space
from wsss_platform.tune.identity import identity
from wsss_platform.tune.options import StudyOptions

METHOD = wsss_methods.get("fbr_cam")
CONFIG = METHOD.config()
PHASES = METHOD.phases(CONFIG)
NUMBER = {"kind": "float", "low": 0.1, "high": 0.2, "reason": "wide enough to matter"}
WEIGHT = {"loss.decorrelation": NUMBER}
THRESHOLD = {"masks.saliency_floor": NUMBER}
RATIO = {"sampling.sure_cut": {**NUMBER, "role": "sampling_ratio"}}


def space(axes: dict[str, Any], **without: Any) -> SearchSpace:
    return read_space({"axes": axes, "without": without}, CONFIG, "space.toml")


def faults(axes: dict[str, Any], **without: Any) -> list[str]:
    return list(role_faults(space(axes, **without), PHASES))


def test_the_path_tells_or_the_axis_says() -> None:
    axes = space({**WEIGHT, **THRESHOLD, **RATIO, "sampling.temperature": NUMBER}).axes
    assert [role_of(axis, PHASES) for axis in axes] == ["loss_weight", "threshold", "sampling_ratio", None]
    assert not faults({**WEIGHT, **THRESHOLD, **RATIO})


def test_paths_are_those_of_the_phases() -> None:
    fbr = wsss_methods.get("fbr")
    axes = read_space(
        {"axes": {"seed.masks.confident_foreground": {**NUMBER, "low": 0.5, "high": 0.6}}}, fbr.config(), "here"
    ).axes
    assert role_of(axes[0], fbr.phases(fbr.config())) == "threshold"
    assert role_of(axes[0], fbr.phases(fbr.config())[1:]) is None


def test_a_reason_stands_for_an_axis() -> None:
    (missing,) = faults({**WEIGHT, **THRESHOLD})
    assert missing.startswith('no axis is a sampling_ratio: add one that says role = "sampling_ratio"')
    assert '[without] sampling_ratio = "..."' in missing
    assert not faults({**WEIGHT, **THRESHOLD}, sampling_ratio="nothing is sampled")


def test_what_is_said_must_be_true() -> None:
    (stale,) = faults({**WEIGHT, **THRESHOLD, **RATIO}, loss_weight="there is one term")
    assert stale == "[without] gives a reason for no loss_weight, but 1 axes are one; delete the reason"
    (wrong,) = faults({"loss.decorrelation": {**NUMBER, "role": "threshold"}, **THRESHOLD, **RATIO})
    assert wrong == '[axes."loss.decorrelation"] says role = "threshold", but its path makes it a loss_weight'
    elsewhere = {"train.weight_decay": {**NUMBER, "role": "loss_weight"}}
    (wrong,) = faults({**elsewhere, **THRESHOLD, **RATIO})
    assert wrong.endswith("is in no loss section of a phase")


@pytest.mark.parametrize(
    ("axes", "without", "said"),
    [
        (
            WEIGHT,
            {"sampling_ration": "nothing is sampled"},
            r"\[without\]: unknown role .* mean 'sampling_ratio'",
        ),
        (WEIGHT, {"threshold": ""}, r"\[without\]: threshold: say in words"),
        (WEIGHT, {"threshold": True}, r"\[without\]: threshold: say in words"),
        (
            {"sampling.sure_cut": {**NUMBER, "role": "tresholds"}},
            {},
            r"sampling.sure_cut\"\]: unknown role 'tresholds'; did you mean 'threshold'",
        ),
    ],
)
def test_mistakes_are_explained(axes: dict[str, Any], without: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        space(axes, **without)


def test_a_table_of_reasons_is_a_table() -> None:
    with pytest.raises(InputError, match=r"\[without\]: expected a table of reasons"):
        read_space({"axes": WEIGHT, "without": "nothing"}, CONFIG, "space.toml")


def test_a_study_is_the_same_whatever_is_said_of_its_axes() -> None:
    experiment = Experiment(METHOD, CONFIG, DataConfig(sample=SampleConfig(train=2, val=2, size=48)))
    plain = {path: {name: value for name, value in axis.items() if name != "role"} for path, axis in RATIO.items()}
    one, other = (
        identity(experiment, split(experiment, read, 0), "val ground truth", StudyOptions())
        for read in (space(plain), space(RATIO, threshold="the sweep solves it"))
    )
    assert one == other


def test_thresholds_are_fields() -> None:
    assert set(THRESHOLDS) <= {*MasksConfig.model_fields, *MapsConfig.model_fields}
