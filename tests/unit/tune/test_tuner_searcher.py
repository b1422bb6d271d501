"""The searcher and the study's folder, driven by hand: no cluster, the test plays Tune."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from study_requests import study_request, study_searcher
from tiny_method import TinyConfig, best_config, tiny_job
from wsss_platform.config import override
from wsss_platform.data.part import spread
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.jobs import EpochEnd
from wsss_platform.search.space import SearchSpace
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.halting import Halt, halt_file
from wsss_platform.tune.searcher import TAKEOVERS, StudySearcher, changes_of, default_params
from wsss_platform.tune.study import StudyFolder
from wsss_platform.tune.trial import NotAppliedError, check_applied, trace
from wsss_platform.tune.tuner import twin

WHY = "a range to test with"
CONFIG = TinyConfig()


def space_of(**tables: dict[str, Any]) -> SearchSpace:
    data = {name.replace("__", "."): {"reason": WHY, **table} for name, table in tables.items()}
    return read_space({"axes": data}, CONFIG, "space.toml")


SPACE = space_of(
    loss__contrast={"kind": "float", "low": 0.01, "high": 1.0, "log": True},
    train__epochs={"kind": "int", "low": 2, "high": 8},
    maps__scales={"kind": "categorical", "choices": [[1.0], list(CONFIG.maps.scales)]},
)


def searcher(folder: Path, space: SearchSpace = SPACE, **more: Any) -> StudySearcher:
    return study_searcher(StudyFolder(folder, {"what": 1}), space, CONFIG, **more)


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return StudyFolder(folder, {"what": 1}).study.get_trials()


def finish(search: StudySearcher, name: str, objective: float | None) -> None:
    search.on_trial_complete(name, {"event": "finished", "objective": objective, "fixed": 0.1})


def value(config: dict[str, Any]) -> float:
    """Some objective that depends on every parameter."""
    changes = json.loads(config["changes"])
    return math.log(changes.get("loss.contrast", 0.1)) + changes.get("train.epochs", 8) / 10


def drive(search: StudySearcher, count: int) -> list[dict[str, Any]]:
    configs = []
    for index in range(count):
        configs.append(search.suggest(f"t{index}"))
        finish(search, f"t{index}", value(configs[-1]))
    return configs


def test_trial_0_is_the_default_and_later_ones_are_legal(tmp_path: Path) -> None:
    configs = drive(searcher(tmp_path / "a"), 14)
    assert configs[0] == {"number": 0, "changes": "{}"}
    assert [config["number"] for config in configs] == list(range(14))
    for config in configs[1:]:
        changes = json.loads(config["changes"])
        assert set(changes) == {axis.path for axis in SPACE.axes}
        override(CONFIG, changes)
    assert len({config["changes"] for config in configs}) == 14


def test_a_default_outside_its_axis_is_still_trial_0(tmp_path: Path) -> None:
    space = space_of(loss__contrast={"kind": "float", "low": 0.5, "high": 1.0})
    params, outside = default_params(space, CONFIG)
    assert (params, outside) == ({"loss.contrast": 0.5}, ["loss.contrast"])
    assert searcher(tmp_path / "a", space).suggest("t")["changes"] == "{}"


def test_lists_come_back_as_lists() -> None:
    params, outside = default_params(SPACE, CONFIG)
    assert outside == []
    assert changes_of(SPACE, params)["maps.scales"] == list(CONFIG.maps.scales)


def test_the_seed_decides_also_across_restarts(tmp_path: Path) -> None:
    """A study driven in one go and one restarted after every trial draw the same, past TPE's random start."""
    whole = drive(searcher(tmp_path / "a"), 16)
    pieces = [drive(searcher(tmp_path / "b"), 1)[0] for _ in range(16)]
    assert pieces == whole
    other = study_searcher(StudyFolder(tmp_path / "c", {"what": 1}), SPACE, CONFIG, sampler_seed=4)
    assert drive(other, 16)[1:] != whole[1:]


def test_starting_again_enqueues_nothing_again(tmp_path: Path) -> None:
    for _ in range(4):
        searcher(tmp_path / "a")
    assert [trial.state for trial in trials(tmp_path / "a")] == [TrialState.WAITING]
    drive(searcher(tmp_path / "a"), 2)
    searcher(tmp_path / "a")
    assert [trial.state for trial in trials(tmp_path / "a")] == [TrialState.COMPLETE] * 2


@pytest.mark.parametrize("objective", [math.nan, math.inf, None])
def test_no_number_is_a_failure_with_a_reason(tmp_path: Path, objective: float | None) -> None:
    search = searcher(tmp_path / "a")
    search.suggest("t")
    finish(search, "t", objective)
    (trial,) = trials(tmp_path / "a")
    assert trial.state is TrialState.FAIL
    assert "objective is" in trial.user_attrs["reason"]


def test_a_missing_result_and_a_dead_process_are_failures(tmp_path: Path) -> None:
    search = searcher(tmp_path / "a")
    search.suggest("one")
    search.on_trial_complete("one", None)
    search.suggest("two")
    search.on_trial_complete("two", None, error=True)
    search.suggest("three")
    search.on_trial_complete("three", {"event": "failed", "reason": "step 3: loss term 'x' is nan"})
    search.on_trial_complete("three", None, error=True)  # told twice: the first counts
    assert [trial.state for trial in trials(tmp_path / "a")] == [TrialState.FAIL] * 3
    reasons = [trial.user_attrs["reason"] for trial in trials(tmp_path / "a")]
    assert "process died" in reasons[1]
    assert reasons == ["the objective is missing", reasons[1], "step 3: loss term 'x' is nan"]


def test_a_dead_drivers_trials_are_taken_over_first(tmp_path: Path) -> None:
    """No zombies, no second number for the same parameters, nothing that is finished again."""
    first = searcher(tmp_path / "a")
    drive(first, 3)
    left = [first.suggest(name) for name in ("x", "y")]  # and here the driver dies
    again = searcher(tmp_path / "a")
    taken = [again.suggest(name) for name in ("p", "q")]
    assert taken == left
    assert again.suggest("r")["number"] == 5
    for name in ("p", "q", "r"):
        finish(again, name, 0.5)
    assert [trial.state for trial in trials(tmp_path / "a")] == [TrialState.COMPLETE] * 6


def test_a_trial_cut_off_while_it_was_drawn_is_completed(tmp_path: Path) -> None:
    drive(searcher(tmp_path / "a"), 1)
    StudyFolder(tmp_path / "a", {"what": 1}).study.ask()  # a number, and the driver died before the parameters
    config = searcher(tmp_path / "a").suggest("t")
    assert config["number"] == 1
    assert set(json.loads(config["changes"])) == {axis.path for axis in SPACE.axes}


def test_a_trial_that_always_kills_its_driver_is_given_up(tmp_path: Path) -> None:
    searcher(tmp_path / "a").suggest("t")
    for _ in range(TAKEOVERS):
        assert searcher(tmp_path / "a").suggest("t")["number"] == 0
    assert searcher(tmp_path / "a").suggest("t")["number"] == 1
    assert trials(tmp_path / "a")[0].state is TrialState.FAIL
    assert "driver died" in trials(tmp_path / "a")[0].user_attrs["reason"]


def test_a_trial_that_gets_on_or_never_ran_is_not_given_up(tmp_path: Path) -> None:
    """Every driver is killed by its time limit, but each finishes one more epoch of the first trial; the second
    waits all the while."""
    first = searcher(tmp_path / "a")
    first.suggest("s"), first.suggest("t")
    for epoch in range(1, 2 * TAKEOVERS):
        search = searcher(tmp_path / "a")
        assert search.suggest("s")["number"] == 0
        for earlier in range(1, epoch + 1):  # epochs of earlier drivers are reported again
            search.on_trial_result("s", {"event": "epoch", "phase": "tiny", "end/epoch": earlier})
    last = searcher(tmp_path / "a")
    assert [last.suggest(name)["number"] for name in ("s", "t")] == [0, 1]


def test_a_trial_that_is_handed_over_is_never_given_up(tmp_path: Path) -> None:
    """By Ctrl-C once, by a full disk, and by Ctrl-C twice: its driver did not die of it."""
    for way in range(3 * TAKEOVERS):
        search = searcher(tmp_path / "a", halt=Halt(tmp_path / "a", lambda: False))
        assert search.suggest("t")["number"] == 0
        if way % 3 == 2:
            with pytest.raises(KeyboardInterrupt), search.handing_over():
                raise KeyboardInterrupt
            continue
        search.on_trial_complete("t", {"event": "halted", "fault": ("", "the disk is full")[way % 3]})
        assert search.suggest("u") == StudySearcher.FINISHED
        assert halt_file(tmp_path / "a").exists()  # the other trials end, too
    assert trials(tmp_path / "a")[0].state is TrialState.RUNNING


def rung(search: StudySearcher, name: str, epoch: int, score: float) -> None:
    search.on_trial_result(name, {"event": "rung", "epoch": epoch, "value": score})


def test_a_bad_trial_is_stopped_and_pruned_with_its_last_value(tmp_path: Path) -> None:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    search = searcher(tmp_path / "a", pruner=pruner)
    folder = StudyFolder(tmp_path / "a", {"what": 1})
    for name, score in (("a", 0.1), ("b", 0.5), ("c", 0.2)):
        search.suggest(name)
        rung(search, name, 1, score)
    assert [folder.stop_file(number).exists() for number in range(3)] == [False, False, True]  # never trial 0
    search.on_trial_complete("c", {"event": "stopped", "epoch": 1, "seconds": 2.0})
    stopped = trials(tmp_path / "a")[2]
    assert (stopped.state, stopped.value) == (TrialState.PRUNED, 0.2)
    assert stopped.intermediate_values == {1: 0.2}
    again = searcher(tmp_path / "a", pruner=pruner)  # the rungs' history outlives the driver
    assert again.suggest("a")["number"] == 0
    again.suggest("b")
    again.suggest("d")
    rung(again, "d", 1, 0.3)
    assert folder.stop_file(3).read_text() == "1"


def test_epochs_and_numberless_rungs_say_nothing_to_optuna(tmp_path: Path) -> None:
    search = searcher(tmp_path / "a")
    search.suggest("t")
    search.on_trial_result("t", {"event": "epoch", "phase": "tiny", "end/epoch": 1, "end/loss": math.nan})
    rung(search, "t", 1, math.nan)
    rung(search, "t", 2, 0.5)
    rung(search, "t", 2, 0.6)  # after a restart the same rung again: the first counts
    assert trials(tmp_path / "a")[0].intermediate_values == {2: 0.5}


def test_tables_and_the_best_config(tmp_path: Path) -> None:
    search = searcher(tmp_path / "a")
    configs = drive(search, 5)
    folder = StudyFolder(tmp_path / "a", {"what": 1})
    rows = folder.write_tables(CONFIG)
    lines = [json.loads(line) for line in (tmp_path / "a" / "trials.jsonl").read_text().splitlines()]
    assert [line["objective"] for line in lines] == [value(config) for config in configs]
    assert {line["state"] for line in lines} == {"complete"}
    best = max(rows, key=lambda row: row.objective or -9)
    stored = best_config(tmp_path / "a" / "best.toml")
    assert stored == override(CONFIG, best.changes)


def test_another_search_under_the_same_name_is_refused(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "a", {"config": {"loss": {"contrast": 0.1}}, "seed": 1})
    StudyFolder(tmp_path / "a", {"seed": 1, "config": {"loss": {"contrast": 0.1}}})
    with pytest.raises(InputError, match=r"config\.loss\.contrast is 0\.1 there and 0\.2 here"):
        StudyFolder(tmp_path / "a", {"config": {"loss": {"contrast": 0.2}}, "seed": 1})


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "a", {"seed": 1})
    (tmp_path / "a" / "study.json").write_text('{"seed"')
    with pytest.raises(RunError, match="damaged"):
        StudyFolder(tmp_path / "a", {"seed": 1})


def test_only_one_process_drives(tmp_path: Path) -> None:
    one, other = StudyFolder(tmp_path / "a", {}), StudyFolder(tmp_path / "a", {})
    with one.driving(), pytest.raises(InputError, match="driven by another process"), other.driving():
        pass
    with other.driving():
        pass


def epoch_end(losses: dict[str, float], **applied: Any) -> EpochEnd:
    used = {name.replace("__", "."): value for name, value in applied.items()}
    return EpochEnd(1, 2, 3, losses, 1e-3, 10.0, 1.0, used, 0.5)


def test_a_value_that_training_did_not_use_fails_the_trial() -> None:
    experiment = tiny_job().experiment.with_changes({"loss.contrast": 0.5, "train.flip": False}, "test")
    changes = {"loss.contrast": 0.5, "train.flip": False, "maps.flip": False}
    check_applied(changes, experiment, epoch_end({}, loss__contrast=0.5 + 1e-9, train__flip=False, other=3))
    with pytest.raises(NotAppliedError, match=r"loss\.contrast: 0\.5 was sampled, but the training used 0\.1"):
        check_applied(changes, experiment, epoch_end({}, loss__contrast=0.1))
    with pytest.raises(NotAppliedError, match=r"train\.flip"):
        check_applied(changes, experiment, epoch_end({}, train__flip=True))


def test_identical_losses_of_different_configs_are_noticed(tmp_path: Path) -> None:
    one = trace([[epoch_end({"contrast": 0.1, "total": 1.0})]])
    assert one == trace([[epoch_end({"contrast": 0.1, "total": 2.0})]])  # the weights change the total anyway
    assert one != trace([[epoch_end({"contrast": 0.2, "total": 1.0})]])
    search = searcher(tmp_path / "a")
    for name, seen, key in (("t0", one, "k0"), ("t1", "other", "k1"), ("t2", one, "k2"), ("t3", one, "k0")):
        search.suggest(name)
        search.on_trial_complete(name, {"event": "finished", "objective": 0.5, "trace": seen, "train_key": key})
    folder = StudyFolder(tmp_path / "a", {"what": 1})
    assert [twin(folder, number) for number in range(4)] == [None, None, 0, 2]


def test_rungs_are_a_few_images_spread_over_the_list() -> None:
    ids = [str(index) for index in range(10)]
    assert spread(ids, 4) == ("0", "2", "5", "7")
    assert spread(ids, 10) == spread(ids, 99) == tuple(ids)


def test_rungs_follow_the_epochs_and_the_checkpoints() -> None:
    def rungs(epochs: int, every: int = 1, **more: Any) -> tuple[int, ...]:
        config = override(CONFIG, {"train.epochs": epochs, "train.checkpoint_every": every})
        experiment = replace(tiny_job().experiment, config=config)
        asked = study_request(experiment, more.pop("space", SPACE), 4, Store(Path("nowhere")), **more)
        return asked.rungs

    assert rungs(1) == ()
    assert rungs(2) == (1,)
    assert rungs(6) == (2,), "a third of a short training: after one epoch little can be told"
    assert rungs(8) == (2, 6)
    assert rungs(9) == (1, 3)
    assert rungs(20) == (2, 6, 18)
    assert rungs(20, every=4) == ()
    assert rungs(20, scheduler="none") == ()
    maps = space_of(maps__flip={"kind": "categorical", "choices": [True, False]})
    assert rungs(20, space=maps) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("trials", 0), ("workers", 2), ("workers", 0), ("reduction", 1), ("concurrent", 0), ("name", "../up")],
)
def test_a_request_that_cannot_be_met_is_refused(field: str, value: Any) -> None:
    fields = {"trials": 4, "name": "study", field: value}
    with pytest.raises(InputError, match=field):
        study_request(tiny_job().experiment, SPACE, store=Store(Path("nowhere")), **fields)
