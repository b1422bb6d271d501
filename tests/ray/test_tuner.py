"""Studies on a real local cluster of two CPUs, with a method that trains in a blink."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from wsss_platform.config import DataConfig, MapsConfig, SampleConfig, TrainConfig
from wsss_platform.engine.cluster import connect
from wsss_platform.engine.events import StudyEvent, TrialEpoch, TrialFinished, TrialRung, TrialStarted, Warned
from wsss_platform.engine.lineage import SCHEDULE, Lineage
from wsss_platform.engine.population import Population
from wsss_platform.engine.runner import RayRunner
from wsss_platform.engine.tuner import StudyRequest, StudyResult, concurrency, tune
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.interrupts import Interrupted
from wsss_platform.local_runner import LocalRunner
from wsss_platform.pipeline import run
from wsss_platform.search.effects import shared_stages
from wsss_platform.search.masks.table import searched
from wsss_platform.search.space import read_space
from wsss_platform.stages import WEIGHTS
from wsss_platform.store import Store
from wsss_platform.verification import verify

from tiny_method import METHOD, TinyConfig, Trouble, best_config  # isort: skip

pytestmark = pytest.mark.ray

CONTRAST = {"kind": "float", "low": 0.01, "high": 1.0, "log": True}
TROUBLE = {"kind": "categorical", "choices": [-1, 0]}


def request(storage: Path, trials: int, axes: dict[str, Any] | None = None, **more: Any) -> StudyRequest:
    """A study on a dozen generated pictures.

    `seconds` is how long a training step lasts; without `nested` a trial trains in its own process, in a blink.
    """
    workers = more.get("workers", 1)
    config = TinyConfig(
        train=TrainConfig(epochs=more.pop("epochs", 2), batch=6, crop=48, learning_rate=1e-3),
        maps=MapsConfig(scales=(1.0,), flip=False),
        trouble=Trouble(seconds=more.pop("seconds", 0.0)),
    )
    data = DataConfig(sample=SampleConfig(train=12, val=2, size=64))
    tables = {path: {"reason": "a range to test with", **table} for path, table in (axes or {}).items()}
    space = read_space({"axes": tables or {"loss.contrast": {"reason": "to test with", **CONTRAST}}}, config, "space")
    experiment = Experiment(METHOD, config, data, seed=0, workers=workers)
    runner = None if more.pop("nested", False) else LocalRunner(threads=1)
    settings = {"scheduler": "none", "runner": runner, **more}
    return StudyRequest(experiment, space, trials, Store(storage), "study", **settings)


def cpus_free(seconds: float = 20) -> float:
    """Free CPUs, once all are or the time is up."""
    until = time.monotonic() + seconds
    while (free := ray.available_resources().get("CPU", 0.0)) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    return free


def journal(result: StudyResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.folder / "trials.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with connect("local", cpus=2):
        yield


def test_a_study_from_default_to_best_config(cluster: None, tmp_path: Path) -> None:
    events: list[StudyEvent] = []
    asked = request(tmp_path, 2, nested=True)
    result = tune(asked, events.append)
    assert [row.state for row in result.rows] == ["complete"] * 2
    assert result.rows[0].changes == {}
    assert all(0 <= row.objective <= 1 and row.key for row in result.rows if row.objective is not None)
    assert (result.objective, result.selection) == ("best of the sweep", "train truth")
    assert {event.number for event in events if isinstance(event, TrialStarted)} == {0, 1}
    assert sum(isinstance(event, TrialEpoch) for event in events) == 4
    assert sum(isinstance(event, TrialFinished) for event in events) == 2
    # trial 0 is the very experiment that `train` would run
    store = Store(tmp_path)
    outcome = run(asked.experiment, store, RayRunner())
    assert all(stage.cached for stage in outcome.stages)
    assert outcome.experiment.key == result.rows[0].key
    assert result.best is not None
    assert result.best_config is not None
    best = best_config(result.best_config)
    assert best.loss.contrast == result.best.changes.get("loss.contrast", 0.1)
    assert best.masks.background == result.best.threshold
    # the same call again runs nothing, a larger number runs only what is missing
    before = sorted((tmp_path / "stages" / "train").iterdir())
    assert tune(asked).rows == result.rows
    assert sorted((tmp_path / "stages" / "train").iterdir()) == before
    more: list[StudyEvent] = []
    longer = tune(request(tmp_path, 3), more.append)
    assert longer.rows[:2] == result.rows
    assert {event.number for event in more if isinstance(event, TrialStarted)} == {2}
    with pytest.raises(InputError, match=r"config\.train\.epochs is 2 there and 3 here"):
        tune(request(tmp_path, 4, epochs=3))
    assert cpus_free() == 2


def test_the_seed_decides_with_one_trial_at_a_time(cluster: None, tmp_path: Path) -> None:
    one = tune(request(tmp_path / "a", 3, max_concurrent=1))
    other = tune(request(tmp_path / "b", 3, max_concurrent=1))
    assert [(row.changes, row.objective, row.key) for row in one.rows] == [
        (row.changes, row.objective, row.key) for row in other.rows
    ]
    assert len({row.key for row in one.rows}) == 3


def test_seeds_hours_and_an_earlier_study(cluster: None, tmp_path: Path) -> None:
    """A trial of two seeds is two runs and one number; time ends a study that the next call goes on with."""
    two = tune(request(tmp_path, 2, seeds=2))
    assert all(row.state == "complete" and len(row.keys) == 2 and row.spread is not None for row in two.rows)
    assert two.looks == 4
    assert len(list((tmp_path / "stages" / "train").glob("*/manifest.json"))) == 4
    again = replace(request(tmp_path, 6, seeds=2), name="again", warm_start=("study",), hours=1e-9)
    again = replace(again, study_storage=f"sqlite:///{tmp_path}/studies.db")  # an earlier journal tells a database
    said: list[StudyEvent] = []
    stopped = tune(again, said.append)
    assert stopped.best is None
    assert [row.state for row in stopped.rows] == ["waiting", "told", "told"]
    assert any("hours are over" in event.message for event in said if isinstance(event, Warned))
    more = tune(replace(again, hours=1.0, trials=2))
    assert [row.state for row in more.rows] == ["complete", "told", "told", "complete"]
    assert more.rows[0].objective == two.rows[0].objective
    late: list[StudyEvent] = []
    tune(replace(request(tmp_path, 3, seeds=2), warm_start=("again",), hours=1e-9), late.append)
    assert any("--warm-start again is ignored" in event.message for event in late if isinstance(event, Warned))
    with pytest.raises(InputError, match="did you mean 'study'"):
        tune(replace(again, name="third", warm_start=("stduy",), hours=None))


def test_a_failing_trial_is_recorded_and_blocks_nothing(cluster: None, tmp_path: Path) -> None:
    result = tune(request(tmp_path, 6, {"trouble.nan_step": TROUBLE}))
    states = {(row.state, row.changes.get("trouble.nan_step", -1)) for row in result.rows}
    assert states == {("complete", -1), ("fail", 0)}
    reason = next(row.reason for row in result.rows if row.state == "fail")
    assert reason is not None
    assert "step 1: loss term 'contrast' is nan" in reason
    assert result.best is not None
    assert result.best.state == "complete"
    assert cpus_free() == 2


def test_a_trial_that_needs_every_cpu_does_not_wait_for_itself(cluster: None, tmp_path: Path) -> None:
    """The trial's own process must not hold back a part of the CPU that its last worker needs."""
    asked = request(tmp_path, 1, workers=2, max_concurrent=4, nested=True)
    assert concurrency(asked) == 1
    result = tune(asked)
    assert [row.state for row in result.rows] == ["complete"]


def test_more_than_the_cluster_has_is_refused_at_once(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one trial needs room for 3 workers"):
        tune(request(tmp_path, 2, workers=3))
    with pytest.raises(InputError, match="1 GPUs each"):
        tune(request(tmp_path, 2, gpus_per_worker=1.0))
    with pytest.raises(InputError, match="needs room for 1 workers with 4 CPUs"):
        tune(request(tmp_path, 2, cpus_per_worker=4))
    assert not (tmp_path / "studies").exists()


def test_only_what_the_axes_change_is_repeated(cluster: None, tmp_path: Path) -> None:
    """A space of maps and masks trains once, before the trials, and is judged by the masks."""
    axes = {"masks.rule": {"kind": "categorical", "choices": ["constant", "power"]}}
    asked = request(tmp_path, 3, axes)
    assert asked.objective == "masks"
    assert [stage.kind for stage in shared_stages(asked.experiment, asked.space)] == ["train", "maps"]
    result = tune(asked)
    assert [row.objective for row in result.rows] == [row.fixed for row in result.rows]
    assert len(list((tmp_path / "stages" / "train").glob("*/manifest.json"))) == 1
    assert len(list((tmp_path / "stages" / "maps").glob("*/manifest.json"))) == 1


def test_a_study_of_several_objectives(cluster: None, tmp_path: Path) -> None:
    """Accuracy against cost on the real way: a front, its configs, a resume, a report, a page."""
    from wsss_platform.engine.study_page import write_page
    from wsss_platform.engine.study_storage import open_study

    axes = {"train.epochs": {"kind": "int", "low": 1, "high": 3}, "loss.contrast": CONTRAST}
    names = ("accuracy", "seconds", "memory")
    events: list[StudyEvent] = []
    asked = request(tmp_path, 3, axes, objectives=names, scheduler="asha", report_list="train")
    result = tune(asked, events.append)
    assert [row.state for row in result.rows] == ["complete"] * 3
    assert all(row.values and set(row.values) == set(names) and min(row.values.values()) > 0 for row in result.rows)
    assert any("no trial is stopped early" in event.message for event in events if isinstance(event, Warned))
    assert result.best is not None
    assert result.best in result.front
    assert result.best.objective == max(row.objective or 0 for row in result.rows)
    assert result.told is not None
    assert result.told["selected"]["trial"] == result.best.number
    for row in result.front:
        stored = best_config(result.folder / f"front-{row.number:04d}.toml")
        assert stored.train.epochs == row.changes.get("train.epochs", 2)
    # a cached trial costs what it did: the same space again finds everything in the store
    again = tune(replace(asked, name="again", trials=1))
    assert again.rows[0].values is not None
    assert result.rows[0].values is not None
    assert again.rows[0].values == result.rows[0].values
    # and the same call goes on
    longer = tune(replace(asked, trials=4))
    assert [row.values for row in longer.rows[:3]] == [row.values for row in result.rows]
    assert result.folder / "front.png" in write_page(open_study(result.folder), result.folder)


def test_masks_are_searched_within_a_trial(cluster: None, tmp_path: Path) -> None:
    """One outer and one inner axis: two trainings, and their settings in one table."""
    axes = {"loss.contrast": CONTRAST, "masks.alpha": {"kind": "float", "low": 1.0, "high": 9.0}}
    axes["masks.rule"] = {"kind": "categorical", "choices": ["constant", "power", "two_alpha"]}
    asked = request(tmp_path, 2, axes, inner=3, report_list="train")
    result = tune(asked)
    assert [row.state for row in result.rows] == ["complete"] * 2
    assert [len(one["settings"]) for one in searched(result.folder)] == [3, 3]
    found = [json.loads(path.read_text()) for path in (result.folder / "inner").glob("*/search.json")]
    assert sorted(max(one["searched"].values()) for one in found) == sorted(row.objective for row in result.rows)
    for row in result.rows:
        assert row.objective == row.fixed
        assert "loss.contrast" in row.changes or row.number == 0
        assert any(path.startswith("masks.") for path in row.changes), "the winner is named"
    assert result.looks == 2 * 3 + 2
    assert len(list((tmp_path / "stages" / "train").glob("*/manifest.json"))) == 2
    assert len(list((tmp_path / "stages" / "masks").glob("*/manifest.json"))) <= 3, "settings leave no masks"
    assert result.best is not None
    assert result.best_config is not None
    best = best_config(result.best_config)
    outcome = run(replace(asked.experiment, config=best), Store(tmp_path), LocalRunner(threads=1))
    assert outcome.score is not None
    assert outcome.score["mean_iou"] == result.best.objective
    assert result.told is not None
    fixed = run(asked.experiment, Store(tmp_path), LocalRunner(threads=1)).score
    assert fixed is not None
    assert result.told["fixed"]["mean_iou"] == fixed["mean_iou"], "fixed is the default config, nothing chosen"
    assert result.told["selected"]["mean_iou"] == result.best.objective
    assert tune(asked).rows == result.rows
    with pytest.raises(InputError, match="inner is 3 there and 5 here"):
        tune(replace(asked, inner=5))


def test_masks_alone_are_one_trial_that_goes_on(cluster: None, tmp_path: Path) -> None:
    axes = {
        "masks.rule": {"kind": "categorical", "choices": ["constant", "two_alpha"]},
        "masks.low_alpha": {"kind": "float", "low": 1.0, "high": 9.0},
    }
    first = tune(request(tmp_path, 1, axes, inner=4))
    assert [row.number for row in first.rows] == [0]
    assert tune(request(tmp_path, 1, axes, inner=4)).rows == first.rows
    more = tune(request(tmp_path, 1, axes, inner=6))
    assert more.rows[:1] == first.rows
    assert len(more.rows) == 2
    (one,) = searched(more.folder)
    assert len(one["settings"]) == 6
    data = request(tmp_path, 1, axes).experiment
    images = len(data.dataset.split(data.data.score_list).ids)
    assert {item["images"] for item in one["settings"].values()} == {images}, "each was counted once"
    assert more.looks == 6 + 2
    for kind in ("train", "maps"):
        assert len(list((tmp_path / "stages" / kind).glob("*/manifest.json"))) == 1


@pytest.mark.drill
def test_a_population_ends_as_the_user_asks_and_goes_on(cluster: None, tmp_path: Path) -> None:
    """Asked after the first judgement: those that wait for one do not wait for ever."""
    more = {"epochs": 3, "population": Population(members=3, interval=1), "scheduler": "pbt", "seed": 1}
    said: list[StudyEvent] = []
    with pytest.raises(Interrupted, match="0 of 3 trials are finished"):
        tune(request(tmp_path, 3, **more), said.append, lambda: any(isinstance(one, TrialRung) for one in said))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "stages" / "train").glob("*/manifest.json")}
    assert 0 < len(before) < 3 * 3
    result = tune(request(tmp_path, 3, **more))
    assert [row.state for row in result.rows] == ["complete"] * 3
    assert [set(row.rungs) for row in result.rows] == [{1, 2}] * 3
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items() if path.is_file())
    assert cpus_free() == 2


def test_a_population_copies_state_and_repeats_nothing(cluster: None, tmp_path: Path) -> None:
    """Three members, three segments, on Ray's scheduler; two of them at once."""
    rate = {"kind": "float", "low": 1e-5, "high": 1e-1, "log": True}
    axes = {"train.learning_rate": rate, "loss.contrast": CONTRAST}
    more = {"epochs": 3, "population": Population(members=3, interval=1), "scheduler": "pbt", "seed": 1}
    said: list[StudyEvent] = []
    result = tune(request(tmp_path, 3, axes, **more), said.append)
    assert [row.state for row in result.rows] == ["complete"] * 3
    assert [set(row.rungs) for row in result.rows] == [{1, 2}] * 3
    assert result.looks == 3 * 2 + 3
    assert sum(isinstance(event, TrialRung) for event in said) == 6
    paths = [result.folder / "members" / f"{number:04d}" / SCHEDULE for number in range(3)]
    lineages = [Lineage.from_json(path.read_text()) for path in paths]
    assert all([grown.until for grown in lineage.grown] == [1, 2, 3] for lineage in lineages)
    assert {grown.member for grown in lineages[0].grown} == {0}  # the default, never overwritten
    copied = [number for number, lineage in enumerate(lineages) if {part.member for part in lineage.grown} != {number}]
    assert copied, [lineage.to_json() for lineage in lineages]
    for number in copied:  # it begins as another one's segments, with their scores, and goes on with values of its own
        before, after = lineages[number].grown[-2:]
        assert number == after.member
        if before.member != number:
            assert before.values != after.values
            assert before.score is not None
            assert before.score >= max(row.rungs[2] for row in result.rows)
    # the weights are those of the lineage, trained again elsewhere from nothing
    number = copied[0]
    experiment = request(tmp_path, 3, axes, **more).experiment.with_changes(result.rows[number].changes, "again")
    last, other = experiment.stage("train"), Store(tmp_path / "elsewhere")
    run(experiment, other, LocalRunner(threads=1), until=last)
    found, again = (
        torch.load(store.folder("train", last.key) / WEIGHTS, weights_only=True)["model"]
        for store in (Store(tmp_path), other)
    )
    torch.testing.assert_close(found, again, rtol=0, atol=0)
    assert int(found["steps"]) == 3 * 2
    # only the members' last segments stay, and a study begun anew on this storage trains nothing
    trained = sorted(path.name for path in (tmp_path / "stages" / "train").iterdir() if path.is_dir())
    assert len(trained) == 3
    assert not verify(Store(tmp_path))
    shutil.rmtree(result.folder)
    assert [replace(row, seconds=None) for row in tune(request(tmp_path, 3, axes, **more)).rows] == [
        replace(row, seconds=None) for row in result.rows
    ]
    assert trained == sorted(path.name for path in (tmp_path / "stages" / "train").iterdir() if path.is_dir())
    assert cpus_free() == 2
