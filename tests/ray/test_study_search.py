"""What proposes, for how long, from which earlier studies, and over how many seeds: no cluster, the test plays Tune."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from wsss_platform.config import override
from wsss_platform.engine.samplers import SAMPLERS, check_sampler, make_sampler
from wsss_platform.engine.searcher import StudySearcher, default_params
from wsss_platform.engine.study import BEST, LABEL_FREE, MASKS, StudyFolder
from wsss_platform.engine.trial import pooled
from wsss_platform.engine.warm_start import told_by, untold
from wsss_platform.errors import InputError
from wsss_platform.search.space import SearchSpace, read_space

from tiny_method import TinyConfig  # isort: skip

CONFIG = TinyConfig()
IDENTITY: dict[str, Any] = {
    "method": ["tiny", 1],
    "truth": "t",
    "objective": BEST,
    "selection": "train truth",
    "config": CONFIG.model_dump(mode="json"),
}


def space_of(**tables: dict[str, Any]) -> SearchSpace:
    data = {name.replace("__", "."): {"reason": "a range to test with", **table} for name, table in tables.items()}
    return read_space({"axes": data}, CONFIG, "space.toml")


SPACE = space_of(
    loss__contrast={"kind": "float", "low": 0.01, "high": 1.0, "log": True},
    train__epochs={"kind": "int", "low": 2, "high": 8},
)
CONDITIONAL = space_of(
    masks__rule={"kind": "categorical", "choices": ["constant", "power", "two_threshold"]},
    masks__alpha={"kind": "float", "low": 2.0, "high": 16.0, "when": {"masks.rule": "power"}},
    masks__crf={"kind": "categorical", "choices": ["none", "irn"]},
    masks__crf_iterations={"kind": "int", "low": 1, "high": 10, "when": {"masks.crf": "irn", "masks.rule": "power"}},
)


def drive(folder: StudyFolder, space: SearchSpace, count: int, **more: Any) -> list[dict[str, Any]]:
    search = StudySearcher(folder, space, CONFIG, seed=3, **more)
    found = []
    for index in range(count):
        given = search.suggest(f"t{index}")
        found.append(json.loads(given["changes"]))
        contrast = found[-1].get("loss.contrast", 0.1)
        value = -((math.log10(contrast) + 1.5) ** 2)
        search.on_trial_complete(f"t{index}", {"event": "finished", "objective": value, "key": "k"})
    return found


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_each_sampler_is_legal_decided_by_the_seed_and_goes_on_after_a_restart(tmp_path: Path, sampler: str) -> None:
    package = SAMPLERS[sampler]
    if package and importlib.util.find_spec(package) is None:
        with pytest.raises(InputError, match=f"needs the package '{package}'"):
            check_sampler(sampler)
        pytest.skip(f"{package} is not installed, and that was said")
    whole = drive(StudyFolder(tmp_path / "a", {}), SPACE, 14, sampler=sampler)
    pieces = [drive(StudyFolder(tmp_path / "b", {}), SPACE, 1, sampler=sampler)[0] for _ in range(14)]
    assert pieces == whole
    assert whole[0] == {}
    for changes in whole[1:]:
        override(CONFIG, changes)
    assert len({json.dumps(changes) for changes in whole}) > 10


def test_samplers_differ_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    one = drive(StudyFolder(tmp_path / "a", {}), SPACE, 14)
    other = drive(StudyFolder(tmp_path / "b", {}), SPACE, 14, sampler="random")
    assert one[1:] != other[1:]
    with pytest.raises(InputError, match="did you mean 'random'"):
        check_sampler("randm")
    assert type(make_sampler("random", 0, 0)) is not type(make_sampler("tpe", 0, 0))


def test_axes_exist_only_beside_their_values(tmp_path: Path) -> None:
    assert CONDITIONAL.conditional
    drawn = drive(StudyFolder(tmp_path / "a", {}), CONDITIONAL, 40)
    seen = set()
    for changes in drawn[1:]:
        wanted = {axis.path for axis in CONDITIONAL.axes if axis.exists(changes)}
        assert set(changes) == wanted
        assert ("masks.alpha" in changes) == (changes["masks.rule"] == "power")
        both = changes["masks.rule"] == "power" and changes["masks.crf"] == "irn"
        assert ("masks.crf_iterations" in changes) == both
        override(CONFIG, changes)
        seen.add(frozenset(changes))
    assert len(seen) == 3
    assert default_params(CONDITIONAL, CONFIG)[0] == {"masks.rule": "constant", "masks.crf": "none"}
    pieces = [drive(StudyFolder(tmp_path / "b", {}), CONDITIONAL, 1)[0] for _ in range(15)]
    assert pieces == drawn[:15]


def test_a_cut_off_draw_of_a_conditional_space_is_completed(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "a", {})
    drive(folder, CONDITIONAL, 1)
    folder.study.ask()  # a number, and the driver died
    again = StudySearcher(StudyFolder(tmp_path / "a", {}), CONDITIONAL, CONFIG, seed=3)
    changes = json.loads(again.suggest("t")["changes"])
    assert set(changes) == {axis.path for axis in CONDITIONAL.axes if axis.exists(changes)}


def test_variants_bring_what_an_axis_needs() -> None:
    variants = CONDITIONAL.variants()
    assert {"masks.rule": "power", "masks.alpha": 2.0} in variants
    assert {"masks.crf": "irn", "masks.rule": "power", "masks.crf_iterations": 10} in variants
    assert not SPACE.conditional


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"masks.rul": "power"}, "did you mean 'masks.rule'"),
        ({"masks.rule": "pwer"}, "masks.rule never is 'pwer'"),
        ({"loss.contrast": 0.1}, "is a real number"),
        ({"train.epochs": 9}, "train.epochs never is 9"),
        ({"train.epochs": True}, "never is True"),
        ({"masks.alpha": 8.0}, "axis above it"),
    ],
)
def test_wrong_conditions_are_told(when: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        space_of(
            masks__rule={"kind": "categorical", "choices": ["constant", "power"]},
            loss__contrast={"kind": "float", "low": 0.01, "high": 1.0},
            train__epochs={"kind": "int", "low": 2, "high": 8},
            masks__alpha={"kind": "float", "low": 2.0, "high": 16.0, "when": when},
        )


def test_no_trial_starts_when_the_time_is_up(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "a", {})
    over = StudySearcher(folder, SPACE, CONFIG, seed=3, seconds=0)
    assert over.suggest("t") == Searcher.FINISHED
    assert over.out_of_time
    assert [trial.state for trial in folder.study.get_trials()] == [TrialState.WAITING]
    again = StudySearcher(StudyFolder(tmp_path / "a", {}), SPACE, CONFIG, seed=3, seconds=60)
    assert again.suggest("t")["number"] == 0
    assert not again.out_of_time


def test_an_earlier_study_tells_its_trials(tmp_path: Path) -> None:
    earlier = StudyFolder(tmp_path / "old", IDENTITY)
    drive(earlier, SPACE, 20)
    narrow = space_of(
        loss__contrast={"kind": "float", "low": 0.01, "high": 1.0, "log": True},
        train__epochs={"kind": "int", "low": 2, "high": 5},
    )
    told = told_by(earlier.study, earlier.folder, IDENTITY, narrow, CONFIG)
    assert len(told.trials) + told.left_out == 20
    assert told.left_out > 0
    new = StudyFolder(tmp_path / "new", IDENTITY)
    drawn = drive(new, narrow, 2, warm=told.trials)
    assert drawn[0] == {}  # trial 0 is the default all the same
    assert len(new.finished()) == 2
    rows = new.write_tables(CONFIG)
    assert [row.state for row in rows] == ["complete", *["told"] * len(told.trials), "complete"]
    assert rows[1].reason is not None
    assert rows[1].reason.startswith("old trial")
    assert rows[1].changes
    assert new.looks() == 2  # those of the earlier study are its own
    best = new.best()
    assert best is not None
    assert best.number in (0, len(rows) - 1)  # what was told has no score here
    cold = drive(StudyFolder(tmp_path / "cold", IDENTITY), narrow, 2)
    assert cold[1] != drawn[1]  # past its random start, TPE goes where the earlier study was good
    again = StudySearcher(StudyFolder(tmp_path / "new", IDENTITY), narrow, CONFIG, seed=3, warm=told.trials)
    assert again.suggest("x")["number"] == len(rows)  # told once
    passed_on = told_by(new.study, new.folder, IDENTITY, narrow, CONFIG)  # its own alone; the default lies outside
    assert [trial.user_attrs["told from"] for trial in passed_on.trials] == [f"new trial {len(rows) - 1}"]
    assert passed_on.left_out == 1


def test_an_axis_that_is_new_stands_at_the_earlier_default(tmp_path: Path) -> None:
    earlier = StudyFolder(tmp_path / "old", IDENTITY)
    drive(earlier, space_of(loss__contrast={"kind": "float", "low": 0.01, "high": 1.0, "log": True}), 3)
    (first, *_) = told_by(earlier.study, earlier.folder, IDENTITY, CONDITIONAL_AND_LOSS, CONFIG).trials
    assert first.params == {"loss.contrast": 0.1, "masks.rule": "constant"}
    other = override(CONFIG, {"train.crop": 64})  # a fixed field differs: none of its numbers is one of ours
    assert told_by(earlier.study, earlier.folder, IDENTITY, CONDITIONAL_AND_LOSS, other).left_out == 3


CONDITIONAL_AND_LOSS = space_of(
    loss__contrast={"kind": "float", "low": 0.01, "high": 1.0, "log": True},
    masks__rule={"kind": "categorical", "choices": ["constant", "power"]},
    masks__alpha={"kind": "float", "low": 2.0, "high": 16.0, "when": {"masks.rule": "power"}},
)


@pytest.mark.parametrize("part", ["method", "truth", "objective", "selection"])
def test_numbers_of_another_kind_are_not_told(tmp_path: Path, part: str) -> None:
    earlier = StudyFolder(tmp_path / "old", IDENTITY)
    with pytest.raises(InputError, match=f"--warm-start old: its {part} is"):
        told_by(earlier.study, earlier.folder, {**IDENTITY, part: "another"}, SPACE, CONFIG)


def run_of(curve: list[float | None], masks: float | None, key: str) -> dict[str, Any]:
    numbers = [value for value in curve if value is not None]
    best = max(numbers) if numbers else None
    place = curve.index(best) if best is not None else 0
    sweep = {
        "thresholds": [0.1, 0.2, 0.3],
        "mean_iou": curve,
        "best_mean_iou": best,
        "best_threshold": place / 10 + 0.1,
    }
    return {"key": key, "score": {"mean_iou": masks, "sweep": sweep}}


def test_seeds_share_one_threshold() -> None:
    """Each seed's own best would be 0.5 and 0.6; one threshold for both reaches 0.45."""
    runs = [run_of([0.5, 0.4, 0.1], 0.3, "a"), run_of([0.2, 0.5, 0.6], 0.5, "b")]
    found = pooled(runs, BEST)
    assert (found["objective"], found["threshold"]) == (pytest.approx(0.45), 0.2)
    assert found["each"] == [0.4, 0.5]
    assert found["spread"] == pytest.approx(0.1 / math.sqrt(2))
    assert found["keys"] == ["a", "b"]
    masks = pooled(runs, MASKS)
    assert masks["objective"] == masks["fixed"] == pytest.approx(0.4)
    assert pooled(runs[:1], BEST) == {"objective": 0.5, "fixed": 0.3, "threshold": 0.1, "key": "a"}
    assert math.isnan(pooled([run_of([None] * 3, None, "a"), runs[0]], BEST)["objective"])


def test_label_free_seeds_are_averaged() -> None:
    runs = [
        {"objective": 0.4, "proxies": {"flip": 0.2, "crf": None}},
        {"objective": 0.6, "proxies": {"flip": 0.4, "crf": None}},
    ]
    found = pooled(runs, LABEL_FREE)
    assert found["objective"] == pytest.approx(0.5)
    assert found["proxies"] == {"flip": pytest.approx(0.3), "crf": None}


def test_who_was_not_told_is_known(tmp_path: Path) -> None:
    """`--warm-start` of a study that goes on is no news when it was told at the beginning, and is when it was not."""
    earlier = StudyFolder(tmp_path / "old", IDENTITY)
    drive(earlier, SPACE, 3)
    told = told_by(earlier.study, earlier.folder, IDENTITY, SPACE, CONFIG)
    new = StudyFolder(tmp_path / "new", IDENTITY)
    drive(new, SPACE, 1, warm=told.trials)
    known = new.study.get_trials(deepcopy=False)
    assert untold(["old"], known) == []
    assert untold(["older", "old"], known) == ["older"]
    assert untold([], known) == []
