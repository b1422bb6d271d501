"""`score RUN --rule`: rules solved on the stored counts of two lists, against masks made with what it found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wsss_methods.cam import METHOD
from wsss_platform.cli import run_command
from wsss_platform.config import DataConfig, MasksConfig, SampleConfig, override
from wsss_platform.maps.storage import MapReader, StoredMap, full_size, grid_size, maps_file, write_maps
from wsss_platform.masks.rules import labels, threshold_of_alpha
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.run.records import start_record, write_record
from wsss_platform.scores.confusion import confusion, mean_iou
from wsss_platform.store.artefacts import Store

LISTS = {"train": 9, "val": 7}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run "one" scored on both lists of the sample: maps made of the ground truth, blurred and noisy."""
    store = Store(tmp_path_factory.mktemp("storage"))
    for score_list in LISTS:
        experiment = experiment_of(score_list)
        truth, split = experiment.dataset.truth(score_list), experiment.dataset.split(score_list)
        maps = []
        for number, name in enumerate(truth.ids):
            mask, classes = truth.mask(name), np.flatnonzero(split.labels(name)).astype(np.uint8)
            noise = np.random.default_rng(number).random((len(classes), *mask.shape))
            shares = [cv2.GaussianBlur((mask == c + 1).astype(np.float32), (0, 0), 5) for c in classes]
            scores = 0.7 * np.array(shares).reshape(len(classes), *mask.shape) + 0.2 * noise
            rows, columns = grid_size(*mask.shape)
            grid = [np.rint(255 * cv2.resize(score, (columns, rows))) for score in scores]
            maps.append(StoredMap(name, classes, np.array(grid).astype(np.uint8), *mask.shape))
        for kind in ("train", "maps"):
            key = experiment.stage(kind).key  # type: ignore[arg-type]
            with store.building(kind, key) as folder:
                if folder is not None:
                    if kind == "maps":
                        write_maps(maps_file(folder, 0), maps)
                    store.commit(kind, key, {})
        run(experiment, store, LocalRunner())
    experiment = experiment_of("train")
    write_record(store, start_record(experiment, "one", protocol(experiment), command=["test"]))
    return store.root


def experiment_of(score_list: str) -> Experiment:
    sample = SampleConfig(size=64, train=LISTS["train"], val=LISTS["val"])
    config = override(METHOD.config(), {"masks.background": 0.3, "masks.rule": "power"})
    return Experiment(METHOD, config, DataConfig(sample=sample, score_list=score_list))


def command(storage: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = run_command(["score", "one", "--storage", str(storage), "--local", "--json", *arguments])
    assert code == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(storage: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_command(["score", "one", "--storage", str(storage), "--local", *arguments]) == 2
    return capsys.readouterr().err.replace("\n", " ")


def direct(storage: Path, score_list: str, config: MasksConfig) -> float:
    """Mean IoU of masks made with a config from the stored maps, one by one."""
    experiment = experiment_of(score_list)
    maps = MapReader(Store(storage).open("maps", experiment.stage("maps").key).folder)
    truth, split = experiment.dataset.truth(score_list), experiment.dataset.split(score_list)
    total = 0
    for item in maps:
        shown = split.saliency(item.id)
        mask = labels(full_size(item), item.classes, config, shown)
        total = total + confusion(truth.mask(item.id), mask, len(truth.classes))
    return float(mean_iou(np.asarray(total)))


def test_constant_and_power_are_one_sweep(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constant = command(storage, capsys, "--rule", "constant")
    power = command(storage, capsys, "--rule", "power")
    assert constant["oracle"]
    assert constant["protocol"]["selection"] == "train ground truth"
    assert "swept: constant" in constant["protocol"]["background"]
    assert "oracle" in constant["protocol"]["background"]
    assert power["subsets"] == constant["subsets"]
    alpha, threshold = power["setting"]["alpha"], power["setting"]["threshold"]
    assert threshold_of_alpha(alpha) == np.float32(threshold)
    own = constant["subsets"][0]["rule"]
    assert own["low"] <= own["mean_iou"] <= own["high"]
    assert own["mean_iou"] == pytest.approx(max(constant["curve"]["mean_iou"]))
    for config in (MasksConfig(background=threshold), MasksConfig(rule="power", alpha=alpha)):
        assert direct(storage, "train", config) == pytest.approx(own["mean_iou"], abs=1e-12)
    # every point of the curve, at its alpha
    for index in (3, 60, -1):
        config = MasksConfig(rule="power", alpha=min(power["curve"]["alpha"][index], 128))
        if power["curve"]["alpha"][index] <= 128:
            assert direct(storage, "train", config) == pytest.approx(power["curve"]["mean_iou"][index], abs=1e-12)


def test_fitted_on_another_list(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oracle = command(storage, capsys, "--rule", "per-class", "--score-split", "val")
    honest = command(storage, capsys, "--rule", "per-class", "--score-split", "val", "--fitted-on", "train")
    constant = command(storage, capsys, "--rule", "constant", "--score-split", "val")
    assert (oracle["oracle"], honest["oracle"]) == (True, False)
    assert (oracle["fitted_on"], honest["fitted_on"]) == ("val", "train")
    assert (oracle["protocol"]["selection"], honest["protocol"]["selection"]) == (
        "val ground truth",
        "train ground truth",
    )
    assert "oracle" not in honest["protocol"]["background"]
    assert "fitted on train" in honest["protocol"]["background"]
    values = [found["subsets"][0]["rule"]["mean_iou"] for found in (oracle, honest, constant)]
    assert values[0] >= max(values)
    assert set(honest["setting"]) == set(experiment_of("val").dataset.classes)


def test_saliency(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = command(storage, capsys, "--rule", "saliency")
    assert [each["kind"] for each in found["protocol"]["supervision"]] == ["image-labels", "saliency"]
    value = found["subsets"][0]["rule"]["mean_iou"]
    assert value == pytest.approx(np.max(found["curve"]["mean_iou"]))
    assert direct(storage, "train", MasksConfig(rule="saliency", **found["setting"])) == pytest.approx(value, abs=1e-12)
    kept = sorted((storage / "stages" / "saliency-sweep").glob("*/manifest.json"))
    assert command(storage, capsys, "--rule", "saliency") == found
    assert sorted((storage / "stages" / "saliency-sweep").glob("*/manifest.json")) == kept
    on_val = command(storage, capsys, "--rule", "saliency", "--score-split", "val", "--fitted-on", "train")
    assert on_val["setting"] == found["setting"]
    config = MasksConfig(rule="saliency", **found["setting"])
    wanted = direct(storage, "val", config)
    assert on_val["subsets"][0]["rule"]["mean_iou"] == pytest.approx(wanted, abs=1e-12)


def test_subsets(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = experiment_of("train").dataset.classes[0]
    wanted = ["--subset", "all", "--subset", f"class={name}", "--subset", "image=0..1e9"]
    whole, one_class, sizes = command(storage, capsys, *wanted)["subsets"]
    assert whole["rule"] == sizes["rule"]
    assert 0 < one_class["images"] < whole["images"] == sizes["images"] == LISTS["train"]


def test_refusals(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'saliency'" in refused(storage, capsys, "--rule", "salience")
    assert "expected all, class=NAME" in refused(storage, capsys, "--subset", "small")
    assert "did you mean 'train'" in refused(storage, capsys, "--rule", "constant", "--fitted-on", "trian")
    assert "has no score yet" in refused(storage, capsys, "--rule", "constant", "--set", "masks.background=0.4")
    assert "--against" in refused(storage, capsys, "--rule", "constant", "--against", "one")
