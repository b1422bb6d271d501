"""Fixed, selected and oracle, on trials that the test plays itself: no cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study_requests import study_request, study_searcher
from tiny_method import METHOD, TinyConfig
from wsss_platform.config import DataConfig, MapsConfig, SampleConfig, TrainConfig
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.selection import judged_by, read_rule
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.trial_events import Reporting, StudyEvent
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.report import REPORT, report
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
        values = pooled([_scored(experiment, asked.store, asked.runner, lambda event: None)], asked.objective)
        search.on_trial_complete(f"t{index}", {"event": "finished", **values})
    return folder


def tell(asked: StudyRequest, folder: StudyFolder) -> tuple[dict[str, Any], list[StudyEvent]]:
    events: list[StudyEvent] = []
    told = dict(report(asked, folder, folder.write_tables(asked.experiment.config), events.append))
    assert json.loads((folder.folder / REPORT).read_text()) == json.loads(json.dumps(told))
    return told, events


def test_held_out_truth_chooses_and_the_rest_tells(tmp_path: Path) -> None:
    asked = study(tmp_path, "held-out:1")
    folder = play(asked)
    told, events = tell(asked, folder)
    assert told["report_list"] == "train:rest-1"
    assert told["looks"] == {"train:held-out-1": 3, "train:rest-1": told["oracle_over"] + 1}
    assert not told["biased"]
    assert told["images"] + len(asked.experiment.dataset.split("train:held-out-1").ids) == 16
    low, high = told["selected"]["interval"]
    assert low <= told["selected"]["mean_iou"] <= high
    assert told["oracle"]["mean_iou"] >= max(told["selected"]["mean_iou"], told["fixed"]["mean_iou"])
    gap = told["selected"]["mean_iou"] - told["fixed"]["mean_iou"]
    assert told["difference"]["value"] == pytest.approx(gap)
    assert isinstance(events[0], Reporting)
    assert "evaluations = 3" in (folder.folder / "best.toml").read_text()
    assert 'selection = "held-out:1 ground truth"' in (folder.folder / "best.toml").read_text()


def test_the_list_that_chose_is_called_biased_and_every_trial_is_in_the_oracle(tmp_path: Path) -> None:
    asked = study(tmp_path, "train")
    folder = play(asked)
    told, _ = tell(asked, folder)
    assert told["biased"]
    assert told["oracle_over"] == 3
    assert told["looks"] == {"train": 3}
    best = folder.best()
    assert best is not None
    assert told["selected"]["mean_iou"] == pytest.approx(best.value)  # the sweep's best is the mask at its threshold
    assert told["oracle"]["mean_iou"] == pytest.approx(best.value)
    masks = read_fixed(asked)
    assert told["fixed"]["mean_iou"] == pytest.approx(masks)


def read_fixed(asked: StudyRequest) -> float:
    from wsss_platform.run.pipeline import run

    assert asked.runner is not None
    score = run(asked.experiment, asked.store, asked.runner).score
    assert score is not None
    return float(score["mean_iou"])


def test_oracle_scores_every_trial_when_asked(tmp_path: Path) -> None:
    asked = study(tmp_path, "held-out:1", oracle=True)
    told, _ = tell(asked, play(asked))
    assert told["oracle_over"] == 3


def test_a_study_says_in_its_identity_who_chose(tmp_path: Path) -> None:
    asked = study(tmp_path, "held-out:2")
    assert asked.identity()["selection"] == "held-out:2 ground truth"
