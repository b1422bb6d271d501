"""`wsss.tune`: a study from Python on a real Ray, its trials, figures and records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import wsss_platform.api as wsss
from wsss_platform.errors import InputError

pytestmark = pytest.mark.ray

QUICK = {"train.epochs": 1, "train.crop": 48, "train.batch": 4, "maps.scales": [1.0], "backbone.weights": "none"}
SPACE = """
[axes."loss.classification"]
kind = "float"
low = 0.5
high = 2.0
reason = "something to search"
"""


def test_a_study_from_python(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.toml").write_text(SPACE)
    data = wsss.sample(train=8, val=4, size=48)
    given = {"space": tmp_path / "space.toml", "storage": tmp_path / "storage", "wandb": "disabled", "progress": False}
    study = wsss.tune("cam", data, QUICK, trials=2, **given)
    assert capfd.readouterr().out == ""
    assert [trial.number for trial in study.trials] == [0, 1]
    assert [row.row for row in study.comparison] == ["baseline", "best trial"], "plain CAM is its own baseline"
    assert study.baseline is not None
    assert (study.baseline.trial, study.baseline.difference) == (0, None)
    assert (study.folder / "comparison.png").is_file()
    assert study.best is not None
    assert study.best.miou == max(trial.miou for trial in study.trials if trial.miou is not None)
    assert 0 <= study.best.miou <= 100
    assert set(study.trials[1].settings) == {"loss.classification"}
    assert study.page.is_file()
    assert study.best_config is not None
    assert isinstance(study.figure("history"), Figure)
    with pytest.raises(InputError, match="did you mean 'history'"):
        study.figure("histroy")
    document = study.document().to_json()
    assert document["schema"] == "wsss-platform/study"
    lines = (study.folder / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [row["number"] for row in document["trials"]]
    record = json.loads((tmp_path / "storage" / "runs" / f"{study.name}-0000" / "run.json").read_text())
    assert (record["status"], record["study"]) == ("finished", study.name)

    more = wsss.tune("cam", data, QUICK, trials=3, **given)  # the same study goes on
    assert more.name == study.name
    assert more.trials[:2] == study.trials
    assert len(more.trials) == 3
    best = wsss.train("cam", data, more.best_config, storage=tmp_path / "storage", wandb="disabled", progress=False)
    assert best.protocol.selection == "half of train ground truth"
