"""Baseline, host, default settings and best trial, on trials that the test plays itself: no cluster."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study_requests import study_request, study_searcher
from tiny_method import METHOD, TinyConfig
from wsss_platform.config import DataConfig, MapsConfig, SampleConfig, TrainConfig
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.selection import judged_by, read_rule
from wsss_platform.report.evaluations import evaluations
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import read_score
from wsss_platform.run.trial_events import Reporting, StudyEvent
from wsss_platform.scores.confusion import mean_iou, mean_iou_of_parts
from wsss_platform.scores.score import Score
from wsss_platform.search.documents import StudyComparison
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.comparison import COMPARISON, compare_rows, rows_of
from wsss_platform.tune.request import StudyRequest
from wsss_platform.tune.study import StudyFolder
from wsss_platform.tune.trial import _scored, pooled

AXES = {"maps.normalise": {"kind": "categorical", "choices": ["max", "minmax"], "reason": "something to test"}}
ALPHA = {"masks.rule": {"kind": "categorical", "choices": ["constant", "power"], "reason": "something to test"}}


def study(storage: Path, selection: str, axes: dict[str, Any] = AXES, **more: Any) -> StudyRequest:
    config = TinyConfig(
        train=TrainConfig(epochs=1, batch=6, crop=48, learning_rate=1e-3), maps=MapsConfig(scales=(1.0,), flip=False)
    )
    experiment = Experiment(METHOD, config, DataConfig(sample=SampleConfig(train=16, val=4, size=64)))
    rule = read_rule(selection, experiment.data)
    return study_request(
        judged_by(rule, experiment),
        read_space({"axes": axes}, config, "space"),
        3,
        Store(storage),
        scheduler="none",
        runner=LocalRunner(threads=1),
        rule=rule,
        report_list=rule.reported(experiment.data),
        **more,
    )


def play(asked: StudyRequest, trials: int = 3) -> StudyFolder:
    """Run the trials as the cluster would."""
    folder = StudyFolder(asked.store.study_folder(asked.name), asked.identity())
    search = study_searcher(folder, asked.space, asked.experiment.config, sampler_seed=0)
    assert asked.runner is not None
    for index in range(trials):
        changes = json.loads(search.suggest(f"t{index}")["changes"])
        experiment = asked.experiment.with_changes(changes, "trial")
        runs = [
            _scored(experiment.of_seed(offset), asked.store, asked.runner, lambda event: None)
            for offset in range(asked.seeds)
        ]
        values = pooled(runs, asked.objective)
        search.on_trial_complete(f"t{index}", {"event": "finished", **values})
    return folder


def compared(asked: StudyRequest, folder: StudyFolder) -> tuple[StudyComparison, list[StudyEvent]]:
    events: list[StudyEvent] = []
    trials = folder.write_tables(asked.experiment.config)
    assert asked.runner is not None
    found = compare_rows(asked, folder, trials, asked.runner, events.append)
    assert StudyComparison.model_validate_json((folder.folder / COMPARISON).read_text()) == found
    return found, events


def test_one_half_chooses_and_the_other_is_reported(tmp_path: Path) -> None:
    asked = study(tmp_path, "half")
    asked = replace(asked, baseline=weak(asked), host=weak(asked, epochs=2))
    folder = play(asked)
    found, events = compared(asked, folder)
    rule = found.report
    assert (rule.chosen_on, rule.reported_on) == ("train:half-1", "train:half-2")
    assert (rule.images, rule.overlap, rule.against) == (8, False, "baseline")
    assert [row.row for row in found.rows] == ["baseline", "host", "default settings", "best trial"]
    assert rule.evaluations == {one.split: one.total for one in evaluations(asked.store)}, "each score in the storage"
    assert rule.evaluations["train:half-2"] == 4
    assert isinstance(events[0], Reporting)
    first = found.rows[0]
    assert first.difference is None
    for row in found.rows[1:]:
        assert row.miou is not None
        assert first.miou is not None
        assert row.low is not None
        assert row.high is not None
        assert row.difference == pytest.approx(row.miou - first.miou)
        assert row.low <= row.difference <= row.high
        assert row.seconds > 0
    assert "evaluations = 3" in (folder.folder / "best.toml").read_text()
    assert 'selection = "half of train ground truth"' in (folder.folder / "best.toml").read_text()
    assert compared(asked, folder)[0] == found, "a second call finds all of it in the store"


def test_the_threshold_is_the_best_of_the_half_that_chose(tmp_path: Path) -> None:
    asked = study(tmp_path, "half")
    found, _ = compared(asked, play(asked, trials=1))
    row = next(row for row in found.rows if row.row == "default settings")
    chose, reported = (scored(asked, split) for split in ("train:half-1", "train:half-2"))
    made = float(mean_iou(chose.table))
    assert row.threshold == (None if made > chose.curve.max() else float(chose.thresholds[chose.best]))
    assert row.threshold is not None
    place = list(reported.thresholds).index(np.float32(row.threshold))
    assert row.miou == pytest.approx(100 * reported.curve[place])


def scored(asked: StudyRequest, split: str) -> Score:
    data = asked.experiment.data.model_copy(update={"score_list": split})
    return read_score(replace(asked.experiment, data=data), asked.store, "test")


def weak(asked: StudyRequest, epochs: int = 1) -> Experiment:
    """Another experiment on the same split: what stands in the place of baseline and host."""
    return asked.experiment.with_changes({"train.learning_rate": 1e-6, "train.epochs": epochs}, "test")


def test_the_split_that_chose_may_be_reported_and_is_called_optimistic(tmp_path: Path) -> None:
    asked = study(tmp_path, "train")
    folder = play(asked)
    found, _ = compared(asked, folder)
    assert found.report.overlap
    assert found.report.against == "default settings"
    assert found.report.evaluations == {one.split: one.total for one in evaluations(asked.store)}
    assert found.report.evaluations["train"] >= 2
    best = folder.best()
    assert best is not None
    row = found.rows[-1]
    assert (row.row, row.trial) == ("best trial", best.number)
    assert row.miou == pytest.approx(100 * best.value)


def test_the_oracle_sees_every_trial_where_it_is_asked_for(tmp_path: Path) -> None:
    asked = study(tmp_path, "held-out:1", oracle=True)
    found, _ = compared(asked, play(asked))
    oracle = found.rows[-1]
    assert oracle.row == "oracle"
    assert oracle.difference is None
    assert oracle.miou is not None
    assert all(row.miou is not None and oracle.miou >= row.miou - 1e-9 for row in found.rows[:-1])
    assert found.report.reported_on == "train:rest-1"
    assert found.report.evaluations == {one.split: one.total for one in evaluations(asked.store)}
    assert found.report.evaluations["train:rest-1"] >= 2, "those of each config that was tried"


def test_two_random_seeds_are_one_row(tmp_path: Path) -> None:
    asked = study(tmp_path, "half", seeds=2)
    found, _ = compared(asked, play(asked, trials=1))
    assert found.report.seeds == 2
    row = found.rows[0]
    each = [scored(replace(asked, experiment=asked.experiment.of_seed(offset)), "train:half-2") for offset in (0, 1)]
    assert row.threshold is not None
    place = list(each[0].thresholds).index(np.float32(row.threshold))
    assert row.miou == pytest.approx(50 * sum(float(score.curve[place]) for score in each))


def test_without_trial_0_the_best_stands_alone(tmp_path: Path) -> None:
    asked = study(tmp_path, "half")
    folder = play(asked)
    trials = folder.write_tables(asked.experiment.config)
    failed = (replace(trials[0], state="fail"), *trials[1:])
    assert [row.name for row in rows_of(asked, folder, failed)] == ["best trial"]
    cam = replace(asked, baseline=asked.experiment)  # as a study of plain CAM has it
    assert next((row.name, row.trial) for row in rows_of(cam, folder, trials)) == ("baseline", 0)
    best = folder.best()
    assert best is not None
    rows = rows_of(cam, folder, failed)
    assert [(row.name, row.trial) for row in rows] == [("baseline", None), ("best trial", best.number)]
    assert rows[0].experiment == asked.experiment


class Lacking:
    """A score without its first image."""

    def __init__(self, score: Score) -> None:
        self._score, self.ids, self.parts = score, score.ids[1:], score.parts[1:]

    def parts_over(self, threshold: int) -> Any:
        return self._score.parts_over(threshold)[1:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._score, name)


@pytest.mark.parametrize("worse", [0, 1])
def test_an_image_that_fails_with_one_random_seed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worse: int
) -> None:
    asked = study(tmp_path, "half", seeds=2, max_failures=1)
    folder = play(asked, trials=1)

    def read(experiment: Experiment, store: Store, whose: str) -> Any:
        score = read_score(experiment, store, whose)
        return Lacking(score) if experiment.seed == worse else score

    monkeypatch.setattr("wsss_platform.tune.comparison.read_score", read)
    found, _ = compared(asked, folder)
    assert found.report.images == 7
    whole = [scored(replace(asked, experiment=asked.experiment.of_seed(offset)), "train:half-2") for offset in (0, 1)]
    place = list(whole[0].thresholds).index(np.float32(found.rows[0].threshold))
    each = [float(mean_iou_of_parts(score.parts_over(place)[1:].sum(0)[None].astype(float))[0]) for score in whole]
    assert found.rows[0].miou == pytest.approx(50 * sum(each))


def test_without_the_training_of_a_score_its_seconds_are_unknown(tmp_path: Path) -> None:
    asked = study(tmp_path, "half", oracle=True)
    folder = play(asked, trials=1)
    first, _ = compared(asked, folder)
    assert all(row.seconds for row in first.rows)
    stage = asked.experiment.stage("train")
    shutil.rmtree(asked.store.folder(stage.kind, stage.key))
    again, _ = compared(asked, folder)
    assert {row.row: row.seconds for row in again.rows} == dict.fromkeys(("default settings", "best trial", "oracle"))
    assert [row.miou for row in again.rows] == [row.miou for row in first.rows]


def test_a_study_says_in_its_identity_who_chose(tmp_path: Path) -> None:
    asked = study(tmp_path, "held-out:2")
    assert asked.identity()["selection"] == "held-out:2 ground truth"


def test_a_study_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    asked = study(tmp_path, "train")
    folder = asked.store.study_folder(asked.name)
    old = json.loads(json.dumps(asked.identity())) | {"selection": "train truth"}
    StudyFolder(folder, old)
    StudyFolder(folder, asked.identity())
    with pytest.raises(InputError, match="selection is"):
        StudyFolder(folder, asked.identity() | {"selection": "val ground truth"})
