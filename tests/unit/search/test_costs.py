"""What a plan costs: how often each stage is made, and how long by what was measured before."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stored_runs import row
from wsss_methods import get
from wsss_platform.config import DataConfig, MasksConfig
from wsss_platform.plan.experiment import Experiment, Stage
from wsss_platform.plan.jobs import METRICS, EpochEnd
from wsss_platform.plan.speed import like
from wsss_platform.run.trial_rows import write_rows
from wsss_platform.search.costs import Cost, cost_document, cost_words, hours, run_costs, study_costs, trained
from wsss_platform.search.levels import split
from wsss_platform.search.masks.table import FILE, Table
from wsss_platform.search.space import SearchSpace
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import MANIFEST, Store

LEARNING_RATE = {"kind": "float", "low": 1e-4, "high": 1e-3}
CRF = {"kind": "categorical", "choices": ["none", "irn", "psa"]}
FLIP = {"kind": "categorical", "choices": [True, False]}


def experiment(method: str = "cam", **config: Any) -> Experiment:
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": 10, "val": 4, "size": 48}})
    found = get(method)
    return Experiment(found, found.config.model_validate({"train": {"epochs": 3}, **config}), data)


def space(of: Experiment, **axes: dict[str, Any]) -> SearchSpace:
    """Axes by dotted path, the dots written as two underscores."""
    tables = {name.replace("__", "."): {**table, "reason": "for the test"} for name, table in axes.items()}
    return read_space({"axes": tables}, of.config, "test")


def put(store: Store, of: Experiment, stage: Stage, seconds: float, epochs: int = 3, **said: Any) -> None:
    """A finished artefact that took that long; of a training with its epochs, of 10 images each."""
    manifest = {"stage": stage.name, "method": of.method.name, "seconds": seconds, "like": like(of, stage), **said}
    with store.building(stage.kind, stage.key) as folder:
        assert folder is not None
        if stage.kind == "train":
            each = 0.9 * seconds / epochs  # the rest is the start of the workers
            ends = [EpochEnd(n + 1, epochs, n, {}, 0.1, 10 / each, each, {}, 1.0) for n in range(epochs)]
            (folder / METRICS).write_text("".join(json.dumps(asdict(end)) + "\n" for end in ends))
        else:
            manifest.setdefault("images", 10)
        store.commit(stage.kind, stage.key, manifest)


def put_all(store: Store, of: Experiment, **seconds: float) -> None:
    for stage in of.stages:
        if stage.kind in seconds:
            put(store, of, stage, seconds[stage.kind])


def put_counts(study: Path, keys: list[str], images: int, seconds: float) -> None:
    """What a search within a trial leaves of settings with a CRF, which took that long together."""
    folder = study / "inner" / "maps"
    folder.mkdir(parents=True)
    table = Table(["cat"])
    table.describe("maps", "train", "0" * 64)
    for key in keys:
        counts = {str(number): np.ones((3, 2), np.int64) for number in range(images)}
        table.put("maps", key, MasksConfig(crf="irn"), counts, seconds / len(keys))
    table.write(folder / FILE)


def times(costs: list[Cost]) -> dict[str, int]:
    return {cost.stage: cost.times for cost in costs}


def test_without_an_earlier_run_there_are_counts_and_no_hours(tmp_path: Path) -> None:
    one = experiment()
    costs = run_costs(one, Store(tmp_path), one.stages[-1])
    assert times(costs) == {"train:cam": 1, "maps:cam": 1, "masks:cam": 1, "score:cam": 1}
    document = cost_document(costs)
    assert (document.hours, document.crf_passes) == (None, 0)
    assert cost_words(document) == (
        "cost: 1 training, 1 map pass, 1 mask pass (none with CRF); no earlier run to measure from"
    )


def test_a_run_takes_what_stages_like_it_took(tmp_path: Path) -> None:
    store, old = Store(tmp_path), experiment(train={"epochs": 2})
    put(store, old, old.stages[0], seconds=20.0, epochs=2)  # 1 s per image and epoch, the start counted
    for stage, seconds in zip(old.stages[1:], (30.0, 50.0, 10.0), strict=True):
        put(store, old, stage, seconds)
    new = experiment()  # three epochs: everything is new
    costs = run_costs(new, store, new.stages[-1])
    assert [cost.seconds for cost in costs] == pytest.approx([30.0, 30.0, 50.0, 10.0])
    assert hours(costs) == pytest.approx((30 + 50) / 3600), "stages of images run beside each other"
    assert "about 1.3 min one after the other, from 4 earlier stages" in cost_words(cost_document(costs))


def test_only_what_is_alike_is_measured_from(tmp_path: Path) -> None:
    store, other = Store(tmp_path), experiment(backbone={"name": "resnet50"}, masks={"crf": "irn"})
    put_all(store, other, train=10.0, maps=10.0, masks=10.0, score=10.0)
    one = experiment()
    costs = {cost.kind: cost for cost in run_costs(one, store, one.stages[-1])}
    assert [costs[kind].seconds for kind in ("train", "maps", "masks")] == [None] * 3
    assert costs["score"].seconds == pytest.approx(10.0)
    document = cost_document(list(costs.values()))
    assert document.not_measured == ("train:cam", "maps:cam", "masks:cam")
    assert "without 3 stages, such as train:cam, of which there is no earlier one" in cost_words(document)


def test_a_resumed_training_is_not_taken_for_a_quick_one(tmp_path: Path) -> None:
    store, old = Store(tmp_path), experiment(train={"epochs": 2})
    put(store, old, old.stages[0], 20.0, epochs=2)
    path = store.folder("train", old.stages[0].key) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 1.0}))
    one = experiment()
    assert run_costs(one, store, one.stages[0])[0].seconds == pytest.approx(27.0), "its epochs took 18 of 20 s"


def test_what_a_finished_run_trained(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment("drs")
    first, second = (stage for stage in one.stages if stage.kind == "train")
    put(store, one, first, 30.0)
    assert trained(one, store) is None, "its second training is not there"
    put(store, one, second, 12.0)
    assert trained(one, store) == 42.0
    path = store.folder("train", second.key) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 1.0}))
    assert trained(one, store) == pytest.approx(30.0 + 0.9 * 12.0), "resumed: its epochs took longer than that"


def test_weights_from_a_file_took_no_known_time(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x")
    store, one = Store(tmp_path), experiment(released=[f"cam={tmp_path / 'weights.pt'}"])
    put(store, one, one.stages[0], 0.2, epochs=1)
    assert trained(one, store) is None


def test_a_study_repeats_what_its_axes_change(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()

    def asked(keep_best: int = 0, **axes: dict[str, Any]) -> dict[str, int]:
        return times(study_costs(one, space(one, **axes), 20, store, "s", keep_best))

    assert asked(train__learning_rate=LEARNING_RATE) == dict.fromkeys(
        ("train:cam", "maps:cam", "masks:cam", "score:cam"), 20
    )
    masks_only = asked(masks__crf=CRF)
    assert masks_only == {"train:cam": 1, "maps:cam": 1, "masks:cam": 3, "score:cam": 3}, "there are three settings"
    assert asked(3, masks__crf=CRF)["masks:cam"] == 20, "masks that were dropped are made again"
    both = asked(maps__flip=FLIP, masks__alpha={"kind": "float", "low": 1.0, "high": 9.0})
    assert both == {"train:cam": 1, "maps:cam": 2, "masks:cam": 20, "score:cam": 20}


def test_what_is_stored_and_what_is_finished_costs_nothing(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    axes = space(one, masks__alpha={"kind": "float", "low": 1.0, "high": 9.0})
    put_all(store, one, train=1.0, maps=1.0)
    assert times(study_costs(one, axes, 5, store, "s", 3)) == {"masks:cam": 5, "score:cam": 5}
    put_all(store, one, masks=1.0, score=1.0)
    assert times(study_costs(one, axes, 5, store, "s", 3)) == {"masks:cam": 4, "score:cam": 4}, "trial 0 is there"
    folder = store.study_folder("s")
    folder.mkdir(parents=True)
    rows = [row(n, state) for n, state in enumerate(("complete", "fail", "running"))]
    write_rows(folder, rows)
    assert times(study_costs(one, axes, 5, store, "s", 3)) == {"masks:cam": 3, "score:cam": 3}
    assert study_costs(one, axes, 2, store, "s", 3) == []
    assert "nothing" in cost_words(cost_document([]))


def test_a_crf_that_an_axis_may_choose_is_counted(tmp_path: Path) -> None:
    one = experiment()
    document = cost_document(study_costs(one, space(one, masks__crf=CRF), 3, Store(tmp_path), "s", 3))
    assert (document.mask_passes, document.crf_passes) == (3, 3)
    assert "at most 1 training, 1 map pass, 3 mask passes (3 with CRF)" in cost_words(document, at_most=True)


def test_hours_of_a_study_are_those_of_all_its_trials(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    put_all(store, one, train=36.0, maps=18.0, masks=9.0, score=9.0)
    costs = study_costs(one, space(one, train__learning_rate=LEARNING_RATE), 11, store, "s", 3)
    assert {cost.times for cost in costs} == {10}, "trial 0 is in the store"
    assert hours(costs) == pytest.approx(10 * (36 + 18) / 3600)


def test_of_a_searched_number_of_epochs_the_middle_counts(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    put_all(store, one, train=30.0)  # three epochs
    epochs = space(one, train__epochs={"kind": "int", "low": 2, "high": 10})
    (training,) = (cost for cost in study_costs(one, epochs, 9, store, "s", 3) if cost.kind == "train")
    assert (training.times, training.seconds) == (8, pytest.approx(60.0))


def test_weights_from_a_file_are_no_training(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x")
    one = experiment(released=[f"cam={tmp_path / 'weights.pt'}"])
    costs = run_costs(one, Store(tmp_path), one.stages[-1])
    assert times(costs) == {"maps:cam": 1, "masks:cam": 1, "score:cam": 1}
    assert "no trainings, 1 map pass" in cost_words(cost_document(costs))


def test_each_seed_trains(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    axes = space(one, train__learning_rate=LEARNING_RATE)
    assert times(study_costs(one, axes, 4, store, "s", 3, seeds=3)) == dict.fromkeys(
        ("train:cam", "maps:cam", "masks:cam", "score:cam"), 12
    )
    put_all(store, one, train=30.0, maps=9.0, masks=9.0, score=9.0)
    costs = study_costs(one, axes, 4, store, "s", 0, seeds=3)
    assert times(costs) == dict.fromkeys(("train:cam", "maps:cam", "masks:cam", "score:cam"), 11)
    assert hours(costs) == pytest.approx(11 * (30 + 9) / 3600)
    shared = study_costs(one, space(one, masks__crf=CRF), 2, Store(tmp_path / "new"), "s", 3, seeds=2)
    assert times(shared) == {"train:cam": 2, "maps:cam": 2, "masks:cam": 4, "score:cam": 4}


def test_inner_settings_are_no_trainings(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    axes = space(one, train__learning_rate=LEARNING_RATE, masks__crf=CRF)
    levels = split(one, axes, 16)
    costs = study_costs(one, axes, 5, store, "s", 3, seeds=2, levels=levels)
    assert times(costs) == {
        **dict.fromkeys(("train:cam", "maps:cam", "masks:cam", "score:cam"), 10),
        "inner settings": 160,
    }
    words = cost_words(cost_document(costs), at_most=True)
    assert "10 trainings, 10 map passes, 10 mask passes (10 with CRF)" in words
    assert "160 inner settings on stored maps (160 may have a CRF)" in words
    put_counts(store.study_folder("earlier"), ["key"], images=4, seconds=8.0)
    (inner,) = (cost for cost in study_costs(one, axes, 5, store, "s", 3, levels=levels) if cost.kind == "inner")
    assert inner.seconds == pytest.approx(20.0), "2 s an image"
    assert inner.earlier == 1
    assert hours([inner]) == pytest.approx(80 * 20 / 3600)


def test_masks_alone_are_one_trial_with_all_settings(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    axes = space(one, masks__alpha={"kind": "float", "low": 1.0, "high": 9.0}, masks__crf=CRF)
    levels = split(one, axes, 64)
    asked = times(study_costs(one, axes, 1, store, "s", 3, levels=levels))
    assert asked == {"train:cam": 1, "maps:cam": 1, "masks:cam": 1, "score:cam": 1, "inner settings": 64}
    folder = store.study_folder("s")
    put_counts(folder, [str(n) for n in range(60)], images=10, seconds=480.0)
    write_rows(folder, [row(0)])
    more = study_costs(one, axes, 1, store, "s", 3, levels=levels)
    assert times(more)["inner settings"] == 4


def test_manifests_of_earlier_versions_are_measured_from(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    other = experiment(train={"epochs": 2})
    for stage in other.stages[1:]:
        put(store, other, stage, 20.0, images=None, pictures=10)
        file = store.folder(stage.kind, stage.key) / MANIFEST
        said = json.loads(file.read_text())
        del said["images"]
        file.write_text(json.dumps(said))
    costs = {cost.kind: cost.seconds for cost in run_costs(one, store, one.stages[-1])}
    assert costs == {"train": None, "maps": 20.0, "masks": 20.0, "score": 20.0 * 10 / 10}
