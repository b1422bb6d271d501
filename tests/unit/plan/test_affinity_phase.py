"""The affinity phase behind a method: its stages and keys, what a change repeats, and runs on the built-in sample."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wsss_methods
from wsss_platform.api.plans import plan_document
from wsss_platform.config import DataConfig, MethodConfig, SampleConfig, override, to_toml
from wsss_platform.data.palette import mask_file, read_mask
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import MapReader
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol
from wsss_platform.report.tables.leaderboard import protocol_words
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import Event, StageProgress, run
from wsss_platform.search.effects import axes_by_stage
from wsss_platform.search.space_file import load_space
from wsss_platform.store.artefacts import Store

SMALL = DataConfig(sample=SampleConfig(train=4, val=2, size=56))
SHORT = {"epochs": 1, "batch": 2, "crop": 48, "resize_range": [1.0, 1.0]}
KINDS = pytest.mark.parametrize("kind", ["psa", "irn"])


def experiment(method: str = "cam", data: DataConfig = SMALL, **changes: Any) -> Experiment:
    """With dots in field names written as two underscores."""
    chosen = wsss_methods.get(method)
    base = {"backbone.weights": "none", "maps.scales": [1.0], **{f"train.{name}": SHORT[name] for name in SHORT}}
    base |= {f"affinity.train.{name}": value for name, value in SHORT.items()} | {"affinity.train.epochs": 2}
    base |= {"maps.activation": "none", "maps.normalise": "minmax"} if method == "cam" else {}
    # maps of an untrained network, of which something must stay open
    base |= {f"affinity.seeds.{name}": value for name, value in (("confident_foreground", 0.9), ("crf", "none"))}
    given = {path.replace("__", "."): value for path, value in changes.items()}
    return Experiment(chosen, override(chosen.config(), {**base, **given}), data)


def keys(given: Experiment) -> dict[str, str]:
    return {f"{stage.name} {stage.list_name}": stage.key for stage in given.stages}


def changed(one: Experiment, other: Experiment) -> set[str]:
    first, second = keys(one), keys(other)
    assert first.keys() == second.keys()
    return {name.split()[0] for name in first if first[name] != second[name]}


def test_without_it_there_is_no_such_stage() -> None:
    given = experiment()
    assert [stage.name for stage in given.stages] == ["train:cam", "maps:cam", "masks:cam", "score:cam"]
    assert protocol(given).affinity == "none"


@KINDS
@pytest.mark.parametrize("method", ["cam", "drs", "fbr"])
def test_it_comes_after_the_last_phase_and_leaves_what_is_before(method: str, kind: str) -> None:
    plain, more = experiment(method), experiment(method, affinity__kind=kind)
    last = plain.phases[-1].name
    before = [stage.name for stage in plain.stages][:-3]
    assert [stage.name for stage in more.stages] == [
        *before,
        f"maps:{last}",
        f"masks:{last}",
        "train:affinity",
        "maps:affinity",
        "masks:affinity",
        "score:affinity",
    ]
    assert more.stage("train", last).key == plain.stage("train", last).key
    assert more.stage("maps", last).key == plain.stage("maps", last).key
    assert more.stage("maps").inputs["maps"] == more.stage("maps", last)
    assert more.masks_config(more.phases[-1]) == plain.masks_config(plain.phases[-1])
    assert more.stages[-1].key != plain.stages[-1].key


def test_another_scored_list_has_its_own_maps_to_refine() -> None:
    given = experiment(data=SMALL.model_copy(update={"score_list": "val"}), affinity__kind="irn")
    assert [(stage.name, stage.list_name) for stage in given.stages] == [
        ("train:cam", "train"),
        ("maps:cam", "train"),
        ("masks:cam", "train"),
        ("train:affinity", "train"),
        ("maps:cam", "val"),
        ("maps:affinity", "val"),
        ("masks:affinity", "val"),
        ("score:affinity", "val"),
    ]


def test_each_change_repeats_what_it_must_and_no_more() -> None:
    base = experiment(affinity__kind="irn")
    walked = {"maps:affinity", "masks:affinity", "score:affinity"}
    for path, value in (("radius", 4), ("beta", 8.0), ("log2_steps", 6), ("alpha", 6.0)):
        assert changed(base, experiment(affinity__kind="irn", **{f"affinity__walk__{path}": value})) == walked
    assert changed(base, experiment(affinity__kind="irn", masks__background=0.4)) == walked - {"maps:affinity"}
    trained = {"train:affinity", *walked}
    for path, value in (("train_radius", 4), ("train__epochs", 3), ("irn_loss__negative", 1.0)):
        assert changed(base, experiment(affinity__kind="irn", **{f"affinity__{path}": value})) == trained
    assert changed(base, experiment(affinity__kind="irn", affinity__displacement_factor=10.0)) == trained
    assert changed(base, experiment(affinity__kind="irn", affinity__psa_loss__negative=1.0)) == set()
    seeds = experiment(affinity__kind="irn", affinity__seeds__confident_foreground=0.4)
    assert changed(base, seeds) == trained | {"masks:cam"}
    assert changed(base, experiment(affinity__kind="psa")) == trained


def test_the_protocol_names_it() -> None:
    irn, psa = protocol(experiment(affinity__kind="irn")), protocol(experiment(affinity__kind="psa"))
    assert irn.affinity == "irn, radius 5, beta 10, 2^8 steps"
    assert psa.affinity == "psa, radius 5, beta 10, 2^8 steps, background (1 - max)^16"
    assert "affinity irn, radius 5" in protocol_words(irn)
    assert "affinity" not in protocol_words(protocol(experiment()))
    assert len({item.group() for item in (irn, psa, protocol(experiment()))}) == 3


def test_a_plan_lists_its_stages(tmp_path: Path) -> None:
    given = experiment(affinity__kind="irn")
    plan = plan_document("run", given, Store(tmp_path), given.stages[-1])
    listed = {stage.stage: stage.amount for stage in plan.stages}
    assert listed["train:affinity"] == "2 epochs of 4 images"
    assert listed["maps:affinity"] == "4 images"
    assert all(stage.run for stage in plan.stages)


def test_wrong_settings_name_the_right_one() -> None:
    with pytest.raises(InputError, match="did you mean 'affinity.walk.beta'"):
        experiment(affinity__walk__betta=3)
    with pytest.raises(InputError, match="affinity.kind"):
        experiment(affinity__kind="irm")
    given = experiment(affinity__kind="irn")
    phases = (replace(given.method.phases(given.config)[0], name="affinity"),)
    with pytest.raises(InputError, match="a phase 'affinity' of its own"):
        _ = replace(given, method=replace(given.method, phases=lambda config: phases)).phases


def test_the_search_space_repeats_the_walk_alone(pytestconfig: pytest.Config) -> None:
    path = pytestconfig.rootpath / "search_spaces" / "affinity.toml"
    for method in wsss_methods.names():
        found = wsss_methods.get(method)
        given = Experiment(found, override(found.config(), {"affinity.kind": "irn"}), SMALL)
        space = load_space(path, given.config)
        changing = axes_by_stage(given, space)
        touched = [stage.name for stage in given.stages if changing[stage.key]]
        assert touched == ["maps:affinity", "masks:affinity", "score:affinity"]
        assert {"affinity.walk.beta", "affinity.walk.log2_steps", "affinity.walk.radius"} <= {
            axis.path for axis in space.axes
        }


def test_it_travels_to_other_processes() -> None:
    given = experiment(affinity__kind="psa")
    phase = pickle.loads(pickle.dumps(given)).phases[-1]
    assert phase == given.phases[-1]
    assert phase.module is given.phases[-1].module


def test_a_study_of_its_training_stops_no_trial_early(tmp_path: Path) -> None:
    """A rung is scored on maps, and those that it would refine are made after its training."""
    from study_requests import study_request
    from wsss_platform.search.space_file import read_space

    axis = {"kind": "float", "low": 1e-4, "high": 1e-2, "reason": "around the default"}
    for kind, path, some in (("irn", "affinity.train.learning_rate", False), ("none", "train.learning_rate", True)):
        given = experiment(affinity__kind=kind, affinity__train__epochs=9, train__epochs=9)
        space = read_space({"axes": {path: axis}}, given.config, "here")
        assert bool(study_request(given, space, 2, Store(tmp_path)).rungs) == some


def test_a_config_with_it_goes_through_toml(tmp_path: Path) -> None:
    from wsss_platform.config import read_toml, validated

    config = override(MethodConfig(), {"affinity.kind": "psa", "affinity.walk.beta": 8.0})
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert validated(MethodConfig, read_toml(tmp_path / "config.toml"), "file") == config


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Shared, so that the classifier is trained once."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@KINDS
def test_the_pipeline_trains_walks_and_scores(kind: str, store: Store) -> None:
    given = experiment(affinity__kind=kind)
    outcome = run(given, store, LocalRunner(1))
    assert outcome.score is not None
    assert 0 < outcome.score["mean_iou"] < 1
    trained = store.open("train", given.stage("train").key).folder
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]["losses"]) == {*given.loss_weights(given.phases[-1]), "total"}
    seeds = store.open("masks", given.stage("masks", "cam").key).folder
    maps, walked = (MapReader(store.open("maps", given.stage("maps", name).key).folder) for name in ("cam", "affinity"))
    assert walked.ids == maps.ids
    labels = np.concatenate([read_mask(mask_file(seeds, id)).ravel() for id in maps.ids])
    assert {255} < set(labels.tolist())
    for id in maps.ids:
        np.testing.assert_array_equal(walked[id].classes, maps[id].classes)
        assert walked[id].scores.shape == maps[id].scores.shape
        assert not np.array_equal(walked[id].scores, maps[id].scores) or not maps[id].scores.any()
    assert any(item.scores.any() for item in walked)
    again = run(given, store, LocalRunner(1))
    assert all(end.cached for end in again.stages)


def test_interrupted_in_its_training_and_in_its_maps_it_leaves_the_same_bytes(store: Store, tmp_path: Path) -> None:
    given = experiment(affinity__kind="irn")
    run(given, store, LocalRunner(1))
    other = Store(tmp_path)

    def interrupt(event: Event, wanted: str) -> None:
        if isinstance(event, StageProgress) and event.stage.name == wanted and event.done >= 1:
            raise KeyboardInterrupt

    for name in ("train:affinity", "maps:affinity"):
        with pytest.raises(KeyboardInterrupt):
            run(given, other, LocalRunner(1), partial(interrupt, wanted=name))
    run(given, other, LocalRunner(1))
    for kind, name in (("train", "weights.pt"), ("maps", "maps-000000.parquet")):
        key = given.stage(kind, "affinity").key  # type: ignore[arg-type]
        one, two = (place.open(kind, key).folder / name for place in (store, other))
        assert one.read_bytes() == two.read_bytes(), kind
