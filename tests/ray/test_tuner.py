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
from wsss_platform.engine.trial import changed
from wsss_platform.engine.tuner import StudyRequest, StudyResult, concurrency, shared_stages, tune
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.inner.table import read_rows
from wsss_platform.interrupts import Interrupted
from wsss_platform.local_runner import LocalRunner
from wsss_platform.pipeline import run
from wsss_platform.space import read_space
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
    experiment = changed(request(tmp_path, 3, axes, **more).experiment, result.rows[number].changes, "again")
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
