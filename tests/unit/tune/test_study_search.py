"""What proposes, for how long, and over how many seeds: no cluster, the test plays Tune."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from study_requests import study_searcher
from tiny_method import TinyConfig
from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.search.space import SearchSpace
from wsss_platform.search.space_file import read_space
from wsss_platform.tune.identity import BEST, MASKS
from wsss_platform.tune.search_algorithm import SAMPLERS, check_sampler, make_sampler
from wsss_platform.tune.searcher import default_params
from wsss_platform.tune.study import StudyFolder
from wsss_platform.tune.trial import pooled

CONFIG = TinyConfig()
IDENTITY: dict[str, Any] = {
    "method": ["tiny", 1],
    "truth": "t",
    "objective": BEST,
    "selection": "train ground truth",
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
    search = study_searcher(folder, space, CONFIG, **more)
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
    again = study_searcher(StudyFolder(tmp_path / "a", {}), CONDITIONAL, CONFIG)
    changes = json.loads(again.suggest("t")["changes"])
    assert set(changes) == {axis.path for axis in CONDITIONAL.axes if axis.exists(changes)}


def test_an_axis_names_what_it_needs() -> None:
    needs = {axis.path: CONDITIONAL.needs(axis) for axis in CONDITIONAL.axes}
    assert needs["masks.alpha"] == {"masks.rule": "power"}
    assert needs["masks.crf_iterations"] == {"masks.crf": "irn", "masks.rule": "power"}
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
    over = study_searcher(folder, SPACE, CONFIG, hours=1e-9)
    assert over.suggest("t") == Searcher.FINISHED
    assert over.out_of_time
    assert [trial.state for trial in folder.study.get_trials()] == [TrialState.WAITING]
    again = study_searcher(StudyFolder(tmp_path / "a", {}), SPACE, CONFIG, hours=1)
    assert again.suggest("t")["number"] == 0
    assert not again.out_of_time


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
