"""What the rows of a study's comparison cost beside its trials, by fixed speeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study_requests import study_request
from wsss_methods import get
from wsss_platform.api.plans import study_plan
from wsss_platform.config import DataConfig
from wsss_platform.plan.baseline import baseline_of, host_of
from wsss_platform.plan.experiment import Experiment, Stage
from wsss_platform.plan.selection import judged_by, read_rule
from wsss_platform.plan.speed import like
from wsss_platform.search.costs import Cost, Speeds, best_costs, cost_document, cost_words, further_costs, hours
from wsss_platform.search.documents import StudyPlan
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store

SECONDS = {"train": 100.0, "maps": 10.0, "masks": 20.0, "score": 5.0}
RATE = {"train.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-3, "reason": "for the test"}}
CRF = {"masks.crf": {"kind": "categorical", "choices": ["none", "irn"], "reason": "for the test"}}


class Fixed(Speeds):
    """Every stage of a kind takes as long."""

    def of(self, experiment: Experiment, stage: Stage) -> tuple[float | None, int]:
        return SECONDS[stage.kind], 1


def experiment(method: str = "cam", split: str = "train:half-1", **config: Any) -> Experiment:
    data = DataConfig.model_validate({"sample": {"train": 10, "val": 4, "size": 48}, "score_list": split})
    found = get(method)
    return Experiment(found, found.config.model_validate({"backbone": {"weights": "none"}, **config}), data)


def on(one: Experiment, split: str) -> Experiment:
    return replace(one, data=one.data.model_copy(update={"score_list": split}))


def listed(costs: Any) -> list[tuple[str, str, str]]:
    return [(cost.row, cost.stage, cost.split) for cost in costs]


def test_a_row_needs_what_is_neither_stored_nor_known(tmp_path: Path) -> None:
    store, one, known = Store(tmp_path), experiment(), set()
    speeds = Fixed(store)
    first = further_costs("baseline", one, store, known, speeds)
    kinds = ["train:cam", "maps:cam", "masks:cam", "score:cam"]
    assert [cost.stage for cost in first] == kinds
    assert {cost.row for cost in first} == {"baseline"}
    other = further_costs("baseline", on(one, "train:half-2"), store, known, speeds)
    assert [cost.stage for cost in other] == kinds[1:], "the training is known"
    assert further_costs("default settings", one, store, known, speeds) == []
    stage = one.of_seed(1).stage("train")
    with store.building("train", stage.key):
        store.commit("train", stage.key, {})
    assert [cost.stage for cost in further_costs("host", one.of_seed(1), store, known, speeds)] == kinds[1:]


def test_each_split_and_random_seed_takes_its_time(tmp_path: Path) -> None:
    store, known, costs = Store(tmp_path), set(), []
    for offset in range(2):
        for split in ("train:half-1", "train:half-2"):
            seeded = on(experiment().of_seed(offset), split)
            costs += further_costs("baseline", seeded, store, known, Fixed(store))
    assert hours(costs) == pytest.approx(2 * (100 + 20 + 20) / 3600), "masks are the slowest of each line"
    images = [cost for cost in costs if cost.kind != "train" and cost.split == "train:half-1"]
    assert len(images) == 6
    assert hours(images) == pytest.approx(2 * 20 / 3600), "a stage that comes again is another seed's"
    mixed = [replace(cost, row=row) for row, cost in zip(("baseline", "host"), [costs[1]] * 2, strict=True)]
    assert hours(mixed) == pytest.approx(2 * 10 / 3600), "rows are made one after the other"


def test_a_row_stands_before_its_stages(tmp_path: Path) -> None:
    unknown = Cost("train:cam", "train", 1, False, None, 0, row="best trial")
    document = cost_document([unknown, Cost("maps:cam", "maps", 1, False, 3.0, 1)])
    assert document.not_measured == ("best trial: train:cam",)
    assert [(cost.row, cost.stage) for cost in document.stages] == [("best trial", "train:cam"), ("", "maps:cam")]
    assert "without best trial: train:cam, of which" in cost_words(document)


@pytest.mark.parametrize(
    ("method", "config", "expected"),
    [
        ("cam", {}, ["maps:cam", "masks:cam", "score:cam"]),
        ("drs", {}, ["maps:refine", "masks:refine", "score:refine"]),
        ("cam", {"affinity": {"kind": "irn"}}, ["maps:cam", "maps:affinity", "masks:affinity", "score:affinity"]),
        ("fbr", {}, ["maps:fbr", "masks:fbr", "score:fbr"]),
    ],
    ids=["cam", "drs", "affinity", "fbr"],
)
def test_the_best_trial_makes_all_its_maps_of_the_reported_split(
    tmp_path: Path, method: str, config: dict[str, Any], expected: list[str]
) -> None:
    shown = experiment(method, "train:half-2", **config)
    space = read_space({"axes": RATE}, shown.config, "test")
    costs = best_costs("best trial", shown, space, "train:half-1", Fixed(Store(tmp_path)))
    assert listed(costs) == [("best trial", stage, "train:half-2") for stage in expected]
    again = best_costs("best trial", shown, space, "train:half-2", Fixed(Store(tmp_path)))
    assert [cost.kind for cost in again] == ["masks", "score"], "its trial has made the maps"
    masks = read_space({"axes": CRF}, shown.config, "test")
    if "affinity" not in config:
        costs = best_costs("best trial", shown, masks, "train:half-1", Fixed(Store(tmp_path)))
        assert [cost.kind for cost in costs] == ["masks", "score"], "the default's maps are its maps"
        assert costs[0].crf


def planned(store: Store, method: str = "cam", **more: Any) -> StudyPlan:
    whole = experiment(method, "train")
    rule = read_rule("half", whole.data)
    one = judged_by(rule, whole)
    asked = study_request(
        one, read_space({"axes": RATE}, one.config, "test"), 3, store, rule=rule, report_list="train:half-2", **more
    )
    return study_plan(replace(asked, baseline=baseline_of(one, get("cam")), host=host_of(one)))


def of_best(plan: StudyPlan) -> list[tuple[str, int]]:
    return [(cost.stage, cost.times) for cost in plan.cost.stages if cost.row == "best trial"]


def test_a_dry_run_counts_the_best_trial_of_each_random_seed(tmp_path: Path) -> None:
    store, once = Store(tmp_path), [("maps:cam", 1), ("masks:cam", 1), ("score:cam", 1)]
    assert of_best(planned(store)) == once
    assert of_best(planned(store, seeds=2)) == 2 * once
    for stage in experiment("cam", "train:half-2").stages:
        with store.building(stage.kind, stage.key):
            store.commit(stage.kind, stage.key, {})
    assert of_best(planned(store, seeds=2)) == 2 * once, "what the default config has made is not the best trial's"


def test_a_study_with_its_comparison_costs_nothing(tmp_path: Path) -> None:
    from stored_runs import row
    from wsss_platform.run.trial_rows import write_rows

    store = Store(tmp_path)
    for split in ("train:half-1", "train:half-2"):
        for stage in experiment("cam", split).stages:
            if not store.finished(stage.kind, stage.key):
                with store.building(stage.kind, stage.key):
                    store.commit(stage.kind, stage.key, {})
    folder = store.study_folder("study")
    folder.mkdir(parents=True)
    write_rows(folder, [row(number) for number in range(3)])
    assert of_best(planned(store)), "it has not been compared"
    (folder / "comparison.json").write_text("{}")
    assert planned(store).cost.stages == ()


def test_speeds_of_a_plain_cam_phase_are_those_of_plain_cam(tmp_path: Path) -> None:
    store, fbr, cam = Store(tmp_path), experiment("fbr", "train"), experiment("cam", "train")
    maps = fbr.stage("maps", "seed")
    said = {"stage": maps.name, "method": "fbr", "seconds": 30.0, "images": 10, "like": like(fbr, maps)}
    with store.building(maps.kind, maps.key):
        store.commit(maps.kind, maps.key, said | {"identity": fbr.identity(maps.phase)})
    same = replace(cam, config=cam.config.model_copy(update={"maps": fbr.maps_config(maps.phase)}))
    assert Speeds(store).of(same, same.stage("maps")) == (pytest.approx(30.0), 1)
    assert Speeds(store).of(fbr, maps) == (pytest.approx(30.0), 1)
    file = store.folder(maps.kind, maps.key) / "manifest.json"
    old = json.loads(file.read_text())
    del old["identity"]
    file.write_text(json.dumps(old))
    assert Speeds(store).of(fbr, maps) == (pytest.approx(30.0), 1), "a manifest of an earlier version"
