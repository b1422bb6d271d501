"""HyperBand: which rungs a trial has, and who decides there. No cluster, the test plays Tune."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from wsss_platform.config import override
from wsss_platform.engine.brackets import (
    bracket_of,
    bracket_shares,
    check_scheduler,
    hyperband_rungs,
    own_rungs,
)
from wsss_platform.engine.pruners import make_pruner
from wsss_platform.engine.request import StudyRequest
from wsss_platform.engine.samplers import SAMPLERS
from wsss_platform.engine.searcher import StudySearcher
from wsss_platform.engine.study import StudyFolder
from wsss_platform.engine.trial import TrialPlan
from wsss_platform.errors import InputError
from wsss_platform.local_runner import LocalRunner
from wsss_platform.search.space import read_space
from wsss_platform.store import Store

from tiny_method import TinyConfig, tiny_job  # isort: skip

CONFIG = TinyConfig()
AXES = {
    "loss.contrast": {"kind": "float", "low": 0.01, "high": 1.0, "log": True, "reason": "a range to test with"},
    "train.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True, "reason": "a range to test with"},
}
SPACE = read_space({"axes": AXES}, CONFIG, "space.toml")


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (1, 1, ()),
        (2, 1, ()),
        (3, 1, (1,)),
        (8, 1, (2,)),
        (20, 1, (2, 6)),
        (27, 1, (1, 3, 9)),
        (243, 1, (9, 27, 81)),
        (20, 4, (4,)),
        (20, 10, ()),
        (46, 5, (5, 15)),
    ],
)
def test_rungs_fit_between_the_first_checkpoint_and_the_end(epochs: int, every: int, expected: tuple[int, ...]) -> None:
    assert hyperband_rungs(epochs, 3, every) == expected
    assert all(rung % every == 0 and rung < epochs for rung in expected)


def request(**more: Any) -> StudyRequest:
    config = override(CONFIG, {"train.epochs": 20})
    experiment = replace(tiny_job().experiment, config=config)
    return StudyRequest(experiment, SPACE, 4, Store(Path("nowhere")), "study", scheduler="hyperband", **more)


def test_a_request_has_them_and_says_so_in_its_identity() -> None:
    asked = request()
    assert asked.rungs == (2, 6)
    assert (asked.identity()["rungs"], asked.identity()["brackets"]) == ([2, 6], 3)
    other = replace(asked, scheduler="asha")
    assert other.rungs == (2, 6, 18)
    assert other.identity()["brackets"] is None  # what earlier versions wrote
    with pytest.raises(InputError, match="cannot be stopped early"):
        request(objectives=("accuracy", "seconds"))


@pytest.mark.parametrize("rungs", [(1,), (2, 6), (1, 3, 9), (9, 27, 81)])
def test_brackets_are_those_of_optuna(rungs: tuple[int, ...]) -> None:
    """The plan and the trials work them out without Optuna; its pruner must find the same ones."""
    study = optuna.create_study(study_name="some-study", direction="maximize")
    pruner = make_pruner("hyperband", rungs)
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    pruner.prune(study, optuna.trial.create_trial(state=TrialState.FAIL))  # the first call makes its brackets
    assert pruner._n_brackets == len(rungs) + 1
    assert tuple(pruner._trial_allocation_budgets) == bracket_shares(len(rungs) + 1)
    seen = set()
    for number in range(200):
        trial = optuna.trial.create_trial(state=TrialState.RUNNING)
        trial.number = number
        bracket = bracket_of("some-study", number, len(rungs) + 1)
        assert pruner._get_bracket_id(study, trial) == bracket
        assert own_rungs(rungs, "some-study", number) == rungs[bracket:]
        seen.add(bracket)
    assert seen == set(range(len(rungs) + 1))


def test_a_trial_is_scored_at_its_own_rungs_only() -> None:
    plan = TrialPlan(
        tiny_job().experiment, Path("nowhere"), Path("studies/some-study"), LocalRunner(), "masks", (1, 3, 9), 4, 0
    )
    assert plan.rungs_of(7) == (1, 3, 9)
    banded = replace(plan, bracket_reduction=3)
    assert [banded.rungs_of(number) for number in range(50)] == [
        (1, 3, 9)[bracket_of("some-study", number, 4) :] for number in range(50)
    ]


def searcher(folder: Path, sampler: str = "tpe") -> StudySearcher:
    opened = StudyFolder(folder / "s", {})
    pruner = make_pruner("hyperband", (1, 3))
    return StudySearcher(opened, SPACE, CONFIG, seed=3, sampler=sampler, pruner=pruner)


def play(search: StudySearcher, name: str) -> dict[str, Any]:
    given = search.suggest(name)
    number, changes = given["number"], json.loads(given["changes"])
    value = 0.9 - abs(changes.get("loss.contrast", 0.1) - 0.3)
    for epoch in own_rungs((1, 3), "s", number):
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


def test_each_bracket_stops_from_its_own_rung_on(tmp_path: Path) -> None:
    search = searcher(tmp_path, "random")
    for index in range(60):
        play(search, f"t{index}")
    stopped: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for trial in StudyFolder(tmp_path / "s", {}).study.get_trials():
        if trial.state is TrialState.PRUNED:
            stopped[bracket_of("s", trial.number, 3)].add(max(trial.intermediate_values))
    assert stopped == {0: {1, 3}, 1: {3}, 2: set()}


def test_a_wrong_scheduler_is_told() -> None:
    with pytest.raises(InputError, match="did you mean 'hyperband'"):
        check_scheduler("hyperbnad")
    assert check_scheduler("asha", ("accuracy", "seconds")) == "asha"
