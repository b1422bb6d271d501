"""The settings that a trial tries on its stored maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from wsss_methods import get
from wsss_platform.config import DataConfig, override
from wsss_platform.masks.rules import threshold_of_alpha
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.levels import Levels, split
from wsss_platform.search.masks.settings import Setting, settings_of
from wsss_platform.search.space_file import read_space

AXES: dict[str, dict[str, Any]] = {
    "maps.flip": {"kind": "categorical", "choices": [True, False]},
    "masks.rule": {"kind": "categorical", "choices": ["constant", "power"]},
    "masks.alpha": {"kind": "float", "low": 1.0, "high": 9.0},
    "masks.crf": {"kind": "categorical", "choices": ["none", "irn", "psa"]},
    "masks.crf_iterations": {
        "kind": "categorical",
        "choices": [1, 5, 10],
        "when": {"masks.crf": "irn", "maps.flip": True},
    },
    "masks.crf_bilateral_colour": {"kind": "float", "low": 3.0, "high": 9.0},
}


def made(settings: int, seed: int = 0, **changes: Any) -> tuple[Experiment, Levels]:
    """An experiment and its levels; of changes the dots are written as two underscores."""
    method = get("cam")
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": 6, "val": 2, "size": 48}})
    base = Experiment(method, method.config(), data)
    space = read_space(
        {"axes": {path: {**axis, "reason": "for the test"} for path, axis in AXES.items()}}, base.config, "test"
    )
    config = override(base.config, {path.replace("__", "."): value for path, value in changes.items()})
    return replace(base, config=config), split(base, space, settings, seed)


def shown(found: tuple[Setting, ...]) -> list[tuple[str, dict[str, Any]]]:
    return [(one.name, dict(one.changes)) for one in found]


def test_as_configured_comes_first_then_what_is_published_then_draws() -> None:
    found = settings_of(*made(12))
    assert [one.reference for one in found] == [True] + [False] * 11
    assert shown(found)[0] == ("as configured", {})
    assert [one.name for one in found[1:3]] == ["irn", "psa"]
    assert all(one.name.startswith("draw ") for one in found[3:])
    assert len({one.key for one in found}) == 12


def test_the_seed_decides_and_more_settings_only_add() -> None:
    few, many = settings_of(*made(6)), settings_of(*made(20))
    assert shown(many)[:6] == shown(few)
    assert shown(settings_of(*made(20))) == shown(many)
    assert shown(settings_of(*made(20, seed=1))) != shown(many)
    outer = settings_of(*made(20, train__learning_rate=1e-4))
    assert shown(outer) == shown(many), "every trial tries the same"


def test_a_setting_changes_nothing_that_it_does_not_use() -> None:
    experiment, levels = made(40)
    for one in settings_of(experiment, levels):
        fields = {path.removeprefix("masks.") for path in one.changes}
        assert one.masks == override(experiment.config, one.changes).masks
        if one.masks.crf == "none":
            assert not any(name.startswith("crf_") for name in fields)
        elif not one.reference:
            assert one.masks.crf_backend == "lattice"
        if one.masks.rule == "constant":
            assert "alpha" not in fields


def test_what_the_sweep_solves_is_one_setting() -> None:
    """Without CRF a constant and an exponent are the same for every value, so no draw is spent on them."""
    found = settings_of(*made(40))
    assert [one.masks.rule for one in found if one.swept] == ["constant", "power"]


def test_an_axis_that_does_not_exist_here_is_not_drawn() -> None:
    experiment, levels = made(40)
    iterated = [one for one in settings_of(experiment, levels) if "masks.crf_iterations" in one.changes]
    assert iterated
    assert {one.masks.crf for one in iterated} == {"irn"}
    other, levels = made(40, maps__flip=False)
    assert not any("masks.crf_iterations" in one.changes for one in settings_of(other, levels))


def test_a_space_that_is_exhausted_ends() -> None:
    experiment, levels = made(40)
    (rule,) = (axis for axis in levels.inner if axis.path == "masks.rule")
    found = settings_of(experiment, replace(levels, inner=(rule,)))
    assert [dict(one.changes) for one in found] == [{}, {"masks.rule": "power"}]


def test_the_solved_parameter_is_the_threshold() -> None:
    experiment, levels = made(40)
    constant, power = (one for one in settings_of(experiment, levels) if one.swept)
    assert constant.solved(0.285, "masks") == {"masks.background": 0.285}
    solved = power.solved(0.285, "masks")
    assert solved is not None
    assert np.float32(threshold_of_alpha(solved["masks.alpha"])) == np.float32(0.285)
    assert power.solved(0.0, "masks") is None
    assert power.solved(0.005, "masks") is None, "its exponent would be above 128"
    crf = settings_of(experiment, levels)[2]
    assert crf.solved(0.285, "masks") is None
