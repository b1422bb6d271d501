"""ASHA: at which rungs trials are compared, and that a restart stops the same ones. No cluster, the test plays Tune."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from study_requests import study_request, study_searcher
from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.request import StudyRequest
from wsss_platform.tune.search_algorithm import SAMPLERS, make_pruner
from wsss_platform.tune.searcher import StudySearcher
from wsss_platform.tune.study import StudyFolder

from tiny_method import TinyConfig, tiny_job  # isort: skip

CONFIG = TinyConfig()
AXES = {
    "loss.contrast": {"kind": "float", "low": 0.01, "high": 1.0, "log": True, "reason": "a range to test with"},
    "train.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True, "reason": "a range to test with"},
}
SPACE = read_space({"axes": AXES}, CONFIG, "space.toml")
RUNGS = (1, 3)


def request(**more: Any) -> StudyRequest:
    config = override(CONFIG, {"train.epochs": 20})
    experiment = replace(tiny_job().experiment, config=config)
    return study_request(experiment, SPACE, 4, Store(Path("nowhere")), **more)


def test_a_request_has_rungs_and_says_so_in_its_identity() -> None:
    assert request().rungs == (2, 6, 18)
    assert request().identity()["rungs"] == [2, 6, 18]
    assert request(reduction=2).rungs == (5, 10)
    for more in ({"scheduler": "none"}, {"objectives": ("accuracy", "seconds")}):
        assert request(**more).rungs == ()


def test_without_rungs_nobody_stops_trials() -> None:
    assert make_pruner((), 3) is None
    assert isinstance(make_pruner(RUNGS, 3), optuna.pruners.SuccessiveHalvingPruner)


def searcher(folder: Path, sampler: str = "tpe") -> StudySearcher:
    opened = StudyFolder(folder / "s", {})
    return study_searcher(opened, SPACE, CONFIG, sampler=sampler, pruner=make_pruner(RUNGS, 3))


def play(search: StudySearcher, name: str) -> dict[str, Any]:
    given = search.suggest(name)
    number, changes = given["number"], json.loads(given["changes"])
    value = 0.9 - abs(changes.get("loss.contrast", 0.1) - 0.3)
    for epoch in RUNGS:
        search.on_trial_result(name, {"event": "rung", "epoch": epoch, "value": value})
        if search._folder.stop_file(number).exists():
            search.on_trial_complete(name, {"event": "stopped", "epoch": epoch})
            return given
    search.on_trial_complete(name, {"event": "finished", "objective": value})
    return given


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_restart_changes_neither_draws_nor_stops(tmp_path: Path, sampler: str) -> None:
    package = SAMPLERS[sampler]
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    count = 14 if sampler != "nsgaii" else 26  # past the random start
    one = searcher(tmp_path / "a", sampler)
    whole = [play(one, f"t{index}") for index in range(count)]
    pieces = [play(searcher(tmp_path / "b", sampler), "t") for _ in range(count)]
    assert pieces == whole
    mine, other = (StudyFolder(tmp_path / name / "s", {}).study.get_trials() for name in "ab")
    assert [(trial.state, trial.values) for trial in mine] == [(trial.state, trial.values) for trial in other]


def test_trials_are_stopped_at_each_rung_and_the_best_at_none(tmp_path: Path) -> None:
    search = searcher(tmp_path, "random")
    for index in range(60):
        play(search, f"t{index}")
    trials = StudyFolder(tmp_path / "s", {}).study.get_trials()
    stopped = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert {max(trial.intermediate_values) for trial in stopped} == set(RUNGS)
    assert trials[0].state is TrialState.COMPLETE  # the default config is never stopped
    best = max(trials, key=lambda trial: trial.intermediate_values[RUNGS[0]])
    assert best.state is TrialState.COMPLETE


def test_a_wrong_scheduler_is_told() -> None:
    with pytest.raises(InputError, match="did you mean 'asha'"):
        request(scheduler="ahsa")
