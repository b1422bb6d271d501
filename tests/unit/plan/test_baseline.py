"""What a study is compared with: plain CAM that shares its training with a method's seeds, and the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import wsss_methods
from wsss_platform.config import DataConfig, SampleConfig, look_up, override
from wsss_platform.plan.baseline import baseline_of, host_of
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.search.costs import Speeds
from wsss_platform.store.artefacts import Store

CAM = wsss_methods.get("cam")
TINY = {"batch": 4, "crop": 48, "epochs": 1}


def of(name: str, **changes: Any) -> Experiment:
    method = wsss_methods.get(name)
    config = override(method.config(), {"backbone.weights": "none", **changes})
    return Experiment(method, config, DataConfig(sample=SampleConfig(train=6, val=2, size=64)))


def known(experiment: Experiment) -> Experiment:
    found = baseline_of(experiment, CAM)
    assert found is not None
    return found


def test_the_seeds_of_fbr_are_the_baseline_s_training() -> None:
    fbr = of("fbr", **{"seed.train.epochs": 3, "seed.maps.scales": [2.0], "train.epochs": 2})
    baseline = known(fbr)
    assert baseline.method.name == "cam"
    assert baseline.stage("train").key == fbr.stage("train", "seed").key
    assert baseline.stage("maps").key == fbr.stage("maps", "seed").key
    cheaper = of("fbr", **{"seed.train.epochs": 2})
    assert known(cheaper).stage("train").key != baseline.stage("train").key


def test_seeds_from_a_file_are_the_baseline_s_weights(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"x")
    fbr = of("fbr", released=(f"seed={file}",))
    baseline = known(fbr)
    assert baseline.config.released_file("cam") == str(file)
    assert baseline.stage("train").key == fbr.stage("train", "seed").key
    assert baseline.stage("maps").key == fbr.stage("maps", "seed").key
    assert known(of("fbr", released=(f"fbr={file}",))).config.released == (), "it is another network's"


def test_what_trained_the_seeds_of_fbr_is_taken_for_the_baseline(tmp_path: Any) -> None:
    small = {f"seed.train.{name}": value for name, value in TINY.items()} | {"seed.maps.scales": [1.0]}
    small |= {f"train.{name}": value for name, value in TINY.items()} | {"seed.masks.crf": "none"}
    fbr, store = of("fbr", **small), Store(tmp_path)
    run(fbr, store, LocalRunner(threads=1), until=fbr.stage("train", "seed"))
    done = run(known(fbr), store, LocalRunner(threads=1))
    assert [end.cached for end in done.stages if end.stage.kind == "train"] == [True]
    assert done.score is not None
    longer = known(of("fbr", **small | {"seed.train.epochs": 2}))
    seconds, earlier = Speeds(store).of(longer, longer.stage("train"))
    assert earlier == 1, "its speed is known, too"
    assert seconds is not None


@pytest.mark.parametrize("name", ["drs", "rcm_mam", "fbr_s", "fbr_cam"])
def test_other_methods_have_the_settings_of_their_first_training(name: str) -> None:
    experiment = of(name, **{"train.epochs": 7, "maps.flip": False})
    baseline = known(experiment)
    assert look_up(baseline.config, "train") == look_up(experiment.config, "train")
    assert baseline.maps_config(baseline.phases[0]).gate == "labels"
    again = of(name, **{"train.epochs": 7, "maps.flip": False, "masks.background": 0.5})
    assert known(again).stage("train").key == baseline.stage("train").key, "later studies share it"


def test_a_method_without_labels_is_compared_to_cam_that_predicts_them() -> None:
    baseline = known(of("rtc"))
    assert baseline.maps_config(baseline.phases[0]).gate == "predicted"


def test_cam_is_its_own_baseline() -> None:
    cam = of("cam", **{"masks.background": 0.6})
    assert baseline_of(cam, CAM) is cam


@pytest.mark.parametrize(("name", "host"), [("fbr", "AMN"), ("fbr_s", "PPC on EPS"), ("rcm_mam", "MainNet alone")])
def test_the_host_is_the_method_without_its_own_terms(name: str, host: str) -> None:
    experiment = of(name)
    found = host_of(experiment)
    assert found is not None
    assert found.method.host_name == host
    changed = {path: look_up(found.config, path) for path in found.method.host}
    assert set(changed.values()) == {0.0}
    assert host_of(found) is None, "the host has none"


@pytest.mark.parametrize("name", ["cam", "drs", "rtc"])
def test_a_method_without_host_has_none(name: str) -> None:
    assert host_of(of(name)) is None
