"""Several objectives: the front, what a trial costs, and every place that knew one number. No cluster."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from study_requests import study_request, study_searcher
from tiny_method import TinyConfig, best_config, tiny_job, tiny_sample
from wsss_platform.api.study_pages import write_page
from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.report.study_page import PAGE
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.search.space import SearchSpace
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.figures import importance
from wsss_platform.tune.objectives import check_measured, read_objectives
from wsss_platform.tune.request import StudyRequest
from wsss_platform.tune.search_algorithm import SAMPLERS, check_sampler
from wsss_platform.tune.study import StudyFolder, table
from wsss_platform.tune.trial_costs import measured, memory, seconds

CONFIG = TinyConfig()
BOTH = ("accuracy", "seconds")
IDENTITY: dict[str, Any] = {"objectives": list(BOTH), "objective": "masks", "config": CONFIG.model_dump(mode="json")}


def space_of(**axes: dict[str, Any]) -> SearchSpace:
    tables = {name.replace("__", "."): {"reason": "a range to test with", **axis} for name, axis in axes.items()}
    return read_space({"axes": tables}, CONFIG, "space.toml")


SPACE = space_of(
    loss__contrast={"kind": "float", "low": 0.01, "high": 1.0, "log": True},
    train__epochs={"kind": "int", "low": 2, "high": 8},
)


def front(values: Mapping[int, Sequence[float]]) -> set[int]:
    """What no other one beats, by the definition: accuracy first, then costs."""

    def beaten(accuracy: float, *costs: float) -> bool:
        return any(
            other[0] >= accuracy
            and all(mine >= theirs for mine, theirs in zip(costs, other[1:], strict=True))
            and tuple(other) != (accuracy, *costs)
            for other in values.values()
        )

    return {number for number, mine in values.items() if not beaten(*mine)}


@pytest.mark.parametrize("names", [BOTH, ("accuracy", "seconds", "memory")])
def test_the_front_is_what_nothing_beats(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Few different values, so that many points are equal or as good in one of them."""
    study = StudyFolder(tmp_path / "s", {**IDENTITY, "objectives": list(names)}).study
    drawn = np.random.default_rng(0).integers(0, 25, (60, len(names))).astype(float).tolist()
    study.add_trials([optuna.trial.create_trial(values=line) for line in [*drawn, *drawn[:20]]])
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    study.ask()
    rows = table(study)
    found = {row.number for row in rows if row.front}
    assert found == front(dict(enumerate([*drawn, *drawn[:20]])))
    assert 1 < len(found) < 60
    assert [row.front for row in rows[80:]] == [False, False]


def test_equals_do_not_beat_each_other(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path / "s", IDENTITY).study
    study.add_trials([optuna.trial.create_trial(values=[0.5, cost]) for cost in (3.0, 4.0, 3.0)])
    assert [row.front for row in table(study)] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy,second", "did you mean 'seconds'"),
        ("seconds", "lacks accuracy"),
        ("accuracy,seconds,seconds", "names one twice"),
        ("", "unknown objective"),
    ],
)
def test_wrong_objectives_are_told(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_objectives(text)


def test_their_order_does_not_matter() -> None:
    assert read_objectives("memory, seconds,accuracy") == ("accuracy", "seconds", "memory")


def test_memory_of_what_does_not_train_is_refused() -> None:
    masks = space_of(masks__rule={"kind": "categorical", "choices": ["constant", "power"]})
    with pytest.raises(InputError, match="no axis of this space changes"):
        check_measured(("accuracy", "memory"), tiny_job().experiment, masks)
    check_measured(("accuracy", "memory"), tiny_job().experiment, SPACE)
    check_measured(BOTH, tiny_job().experiment, masks)


def request(**more: Any) -> StudyRequest:
    return study_request(tiny_job().experiment, SPACE, 4, Store(Path("nowhere")), **more)


def test_a_request_of_several_stops_nobody_and_keeps_its_identity_apart() -> None:
    assert request().rungs
    asked = request(objectives="seconds,accuracy")
    assert asked.objectives == BOTH
    assert asked.rungs == ()
    assert (asked.identity()["objectives"], request().identity()["objectives"]) == (list(BOTH), ["accuracy"])
    with pytest.raises(InputError, match="searches for one objective"):
        request(objectives=",".join(BOTH), sampler="cmaes")


def values_of(changes: dict[str, Any]) -> tuple[float, float]:
    """More epochs are better and dearer; the loss weight is best in the middle."""
    contrast, epochs = changes.get("loss.contrast", 0.1), changes.get("train.epochs", 4)
    return float(epochs / 10 - abs(np.log10(contrast) + 1) / 4), float(epochs * 3)


def drive(folder: StudyFolder, count: int, space: SearchSpace = SPACE, **more: Any) -> list[dict[str, Any]]:
    search = study_searcher(folder, space, CONFIG, **{"objectives": BOTH, **more})
    found = []
    for index in range(count):
        found.append(json.loads(search.suggest(f"t{index}")["changes"]))
        accuracy, cost = values_of(found[-1])
        result = {"event": "finished", "objective": accuracy, "cost_seconds": cost, "fixed": 0.1, "key": "k"}
        search.on_trial_complete(f"t{index}", result)
    return found


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"cmaes"}))
def test_each_sampler_is_decided_by_the_seed_and_goes_on_after_a_restart(tmp_path: Path, sampler: str) -> None:
    package = SAMPLERS[sampler]
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert check_sampler(sampler, 2) == sampler
    count = {"gp": 13, "nsgaii": 26}.get(sampler, 16)  # past the random start
    whole = drive(StudyFolder(tmp_path / "a", IDENTITY), count, sampler=sampler)
    pieces = [drive(StudyFolder(tmp_path / "b", IDENTITY), 1, sampler=sampler)[0] for _ in range(count)]
    assert pieces == whole
    assert whole[0] == {}
    for changes in whole[1:]:
        override(CONFIG, changes)


def test_nsga_ii_finds_its_generations_in_the_study(tmp_path: Path) -> None:
    """It is made anew for every trial; past the first generation children take over values of their parents."""
    drawn = drive(StudyFolder(tmp_path / "a", IDENTITY), 45, sampler="nsgaii")
    values = [changes.get("loss.contrast", 0.1) for changes in drawn]
    known = [any(abs(value / other - 1) < 1e-9 for other in values[:place]) for place, value in enumerate(values)]
    assert not any(known[:20])
    assert sum(known[20:]) > 12


def test_the_table_the_best_config_and_the_front(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s", IDENTITY)
    drive(folder, 12)
    rows = folder.write_tables(CONFIG)
    points = {row.number: values_of(dict(row.changes)) for row in rows}
    assert {row.number for row in rows if row.front} == front(points)
    assert [row.values for row in rows] == [
        dict(zip(BOTH, points[number], strict=True)) for number in range(len(points))
    ]
    lines = [json.loads(line) for line in (folder.folder / "trials.jsonl").read_text().splitlines()]
    assert [line["front"] for line in lines] == [row.front for row in rows]
    assert lines[3]["values"] == {"accuracy": points[3][0], "seconds": points[3][1]}
    best = folder.best()
    assert best is not None
    assert points[best.number][0] == max(accuracy for accuracy, _ in points.values())
    assert rows[best.number].front
    assert rows[best.number].objective == points[best.number][0]
    for name, number in [("best.toml", best.number), *((f"front-{n:04d}.toml", n) for n in front(points))]:
        assert best_config(folder.folder / name) == override(CONFIG, dict(rows[number].changes))
    on_disk = {int(path.stem.split("-")[1]) for path in folder.folder.glob("front-*.toml")}
    assert on_disk == front(points)


def test_who_is_beaten_loses_its_file(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s", IDENTITY)
    search = study_searcher(folder, SPACE, CONFIG, objectives=BOTH)
    left = []
    for name, accuracy, cost in (("a", 0.3, 9.0), ("b", 0.2, 5.0), ("c", 0.3, 5.0)):
        search.suggest(name)
        search.on_trial_complete(name, {"event": "finished", "objective": accuracy, "cost_seconds": cost})
        folder.write_tables(CONFIG)
        left.append(sorted(path.name for path in folder.folder.glob("front-*.toml")))
    assert left == [["front-0000.toml"], ["front-0000.toml", "front-0001.toml"], ["front-0002.toml"]]
    best = folder.best()
    assert best is not None
    assert best.number == 2  # as accurate as the first, and cheaper


@pytest.mark.parametrize(("cost", "said"), [(None, "the seconds is missing"), (float("nan"), "the seconds is nan")])
def test_a_cost_that_is_no_number_fails_the_trial(tmp_path: Path, cost: float | None, said: str) -> None:
    folder = StudyFolder(tmp_path / "s", IDENTITY)
    search = study_searcher(folder, SPACE, CONFIG, objectives=BOTH)
    search.suggest("t")
    search.on_trial_complete("t", {"event": "finished", "objective": 0.5, "cost_seconds": cost})
    (row,) = table(folder.study)
    assert (row.state, row.reason, row.values, row.front) == ("fail", said, None, False)
    assert folder.best() is None


def test_a_study_of_one_has_no_front(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s", {"objective": "masks"})
    drive(folder, 3, objectives=("accuracy",))
    rows = folder.write_tables(CONFIG)
    assert [(row.values, row.front) for row in rows] == [(None, None)] * 3
    assert not list(folder.folder.glob("front-*"))


def test_another_choice_of_objectives_is_another_search(tmp_path: Path) -> None:
    StudyFolder(tmp_path / "s", IDENTITY)
    with pytest.raises(InputError, match="objectives"):
        StudyFolder(tmp_path / "s", {**IDENTITY, "objectives": ["accuracy"]})


def test_the_page_shows_the_front(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s", IDENTITY)
    drive(folder, 24)
    said: list[str] = []
    written = {path.stem for path in write_page(folder.folder, on_skip=said.append)}
    assert {"front", "history", "importance", "parallel", "rank", "study"} <= written
    assert not [text for text in said if not text.startswith("contour")]
    text = (folder.folder / PAGE).read_text()
    assert "minimised beside it: seconds" in text
    assert text.count("on the front") == sum(bool(row.front) for row in table(folder.study))
    shares = importance(folder.study)
    assert set(shares) == {"loss.contrast", "train.epochs"}


def test_three_objectives_are_drawn_too(tmp_path: Path) -> None:
    names = ("accuracy", "seconds", "memory")
    folder = StudyFolder(tmp_path / "s", {**IDENTITY, "objectives": list(names)})
    search = study_searcher(folder, SPACE, CONFIG, objectives=names)
    for index in range(5):
        search.suggest("t")
        result = {"objective": index / 10, "cost_seconds": 9.0 + index, "cost_memory": 2.0 - index / 9}
        search.on_trial_complete("t", {"event": "finished", **result})
    assert folder.folder / "front.png" in write_page(folder.folder)
    assert all(row.front for row in table(folder.study))


def test_costs_are_those_of_nothing_stored(tmp_path: Path) -> None:
    """Two experiments share their training: each is charged for it in full, whoever made it."""
    store, runner = Store(tmp_path), LocalRunner(threads=1)
    first = tiny_sample()
    second = override(first.config, {"masks.rule": "power"})
    other = replace(first, config=second)
    for experiment in (first, other):
        run(experiment, store, runner)
    trained = store.open("train", first.stage("train").key).manifest["seconds"]
    assert first.stage("train").key == other.stage("train").key
    by_hand = [
        sum(store.open(stage.kind, stage.key).manifest["seconds"] for stage in experiment.stages)
        for experiment in (first, other)
    ]
    found = [seconds(experiment, store) for experiment in (first, other)]
    assert found == pytest.approx(by_hand)
    assert min(found) > trained > 0
    peak = memory(first, store)
    assert 0.05 < peak < 64
    pooled = measured([first, other], store, ("accuracy", "seconds", "memory"))
    assert pooled == {"cost_seconds": pytest.approx(sum(found) / 2), "cost_memory": peak}
    assert measured([first], store, ("accuracy",)) == {}
    # dropped maps still say what they took; what is gone without a word is named
    maps = first.stage("maps")
    store.remove("maps", maps.key, "they lost")
    assert seconds(first, store) == pytest.approx(found[0])
    store.folder("maps", maps.key).with_name(f"{maps.key}.dropped").unlink()
    with pytest.raises(InputError, match="maps:tiny .* is not in the store any more"):
        seconds(first, store)


def test_a_training_that_does_not_say_its_memory_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    experiment = tiny_sample()
    stage = experiment.stage("train")
    run(experiment, store, LocalRunner(threads=1), until=stage)
    (store.folder("train", stage.key) / "metrics.jsonl").write_text("")  # as weights from a file leave it
    with pytest.raises(InputError, match="train:tiny .* does not say its peak memory"):
        memory(experiment, store)
