"""Studies on a real local cluster of two CPUs, with a method that trains in a blink."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tiny_method import best_config
from tiny_study import CONTRAST, cpus_free, request
from wsss_platform.engine.cluster import connect
from wsss_platform.engine.runner import RayRunner
from wsss_platform.errors import InputError
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.run.trial_events import StudyEvent, TrialEpoch, TrialFinished, TrialStarted, Warned
from wsss_platform.search.effects import shared_stages
from wsss_platform.search.masks.table import searched
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.tuner import StudyResult, concurrency, tune

pytestmark = pytest.mark.ray

TROUBLE = {"kind": "categorical", "choices": [-1, 0]}


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
    assert (result.objective, result.selection) == ("best of the sweep", "train ground truth")
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
    one = tune(request(tmp_path / "a", 3, concurrent=1))
    other = tune(request(tmp_path / "b", 3, concurrent=1))
    assert [(row.changes, row.objective, row.key) for row in one.rows] == [
        (row.changes, row.objective, row.key) for row in other.rows
    ]
    assert len({row.key for row in one.rows}) == 3


def test_seeds_and_hours(cluster: None, tmp_path: Path) -> None:
    """A trial of two seeds is two runs and one number; time ends a study that the next call goes on with."""
    two = tune(request(tmp_path, 2, seeds=2))
    assert all(row.state == "complete" and len(row.keys) == 2 and row.spread is not None for row in two.rows)
    assert two.evaluations == 4
    assert len(list((tmp_path / "stages" / "train").glob("*/manifest.json"))) == 4
    database = f"sqlite:///{tmp_path}/studies.db"
    again = request(tmp_path, 6, seeds=2, name="again", hours=1e-9, study_storage=database)
    said: list[StudyEvent] = []
    stopped = tune(again, said.append)
    assert stopped.best is None
    assert [row.state for row in stopped.rows] == ["waiting"]
    assert any("hours are over" in event.message for event in said if isinstance(event, Warned))
    more = tune(again.with_options(hours=1.0, trials=2))
    assert [row.state for row in more.rows] == ["complete", "complete"]
    assert more.rows[0].objective == two.rows[0].objective


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
    asked = request(tmp_path, 1, workers=2, concurrent=4, nested=True)
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
    from wsss_platform.api.study_pages import write_page

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
    assert result.comparison is not None
    assert [row.row for row in result.comparison.rows] == ["default settings", "best trial"]
    assert result.comparison.rows[-1].trial == result.best.number
    assert result.comparison.report.overlap, "the split that chose is reported"
    for row in result.front:
        stored = best_config(result.folder / f"front-{row.number:04d}.toml")
        assert stored.train.epochs == row.changes.get("train.epochs", 2)
    # a cached trial costs what it did: the same space again finds everything in the store
    again = tune(asked.with_options(name="again", trials=1))
    assert again.rows[0].values is not None
    assert result.rows[0].values is not None
    assert again.rows[0].values == result.rows[0].values
    # and the same call goes on
    longer = tune(asked.with_options(trials=4))
    assert [row.values for row in longer.rows[:3]] == [row.values for row in result.rows]
    assert result.folder / "front.png" in write_page(result.folder)


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
    assert result.evaluations == 2 * 3 + 2
    assert len(list((tmp_path / "stages" / "train").glob("*/manifest.json"))) == 2
    assert len(list((tmp_path / "stages" / "masks").glob("*/manifest.json"))) <= 3, "settings leave no masks"
    assert result.best is not None
    assert result.best_config is not None
    best = best_config(result.best_config)
    outcome = run(replace(asked.experiment, config=best), Store(tmp_path), LocalRunner(threads=1))
    assert outcome.score is not None
    assert outcome.score["mean_iou"] == result.best.objective
    assert result.comparison is not None
    fixed = run(asked.experiment, Store(tmp_path), LocalRunner(threads=1)).score
    assert fixed is not None
    default, selected = result.comparison.rows
    reached = max(fixed["mean_iou"], fixed["sweep"]["best_mean_iou"])
    assert default.miou == pytest.approx(100 * reached), "the default config, by the rule of all rows"
    assert selected.miou is not None
    assert selected.miou >= 100 * result.best.objective - 1e-9
    assert tune(asked).rows == result.rows
    with pytest.raises(InputError, match="inner is 3 there and 5 here"):
        tune(asked.with_options(inner=5))


def test_masks_alone_are_one_trial_that_goes_on(cluster: None, tmp_path: Path) -> None:
    axes = {
        "masks.rule": {"kind": "categorical", "choices": ["constant", "two_alpha"]},
        "masks.low_alpha": {"kind": "float", "low": 1.0, "high": 9.0},
    }
    first = tune(request(tmp_path, 4, axes, inner=None))
    assert [row.number for row in first.rows] == [0]
    assert tune(request(tmp_path, 4, axes, inner=None)).rows == first.rows
    more = tune(request(tmp_path, 6, axes, inner=None))
    assert more.rows[:1] == first.rows
    assert len(more.rows) == 2
    (one,) = searched(more.folder)
    assert len(one["settings"]) == 6
    data = request(tmp_path, 1, axes).experiment
    images = len(data.dataset.split(data.data.score_list).ids)
    assert {item["images"] for item in one["settings"].values()} == {images}, "each was counted once"
    assert more.evaluations == 6 + 2
    for kind in ("train", "maps"):
        assert len(list((tmp_path / "stages" / kind).glob("*/manifest.json"))) == 1
