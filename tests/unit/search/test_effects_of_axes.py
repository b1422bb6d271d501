"""What axes change, as the content keys of stages tell."""

from __future__ import annotations

from typing import Any

from wsss_methods import get
from wsss_platform.config import DataConfig
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.effects import axes_by_stage, changes_masks, repeats_training, shared_stages
from wsss_platform.search.space import SearchSpace
from wsss_platform.search.space_file import read_space

RATE = {"kind": "float", "low": 1e-4, "high": 1e-3}
FLIP = {"kind": "categorical", "choices": [True, False]}
FUSE = {"kind": "categorical", "choices": ["max", "mean"]}
CRF = {"kind": "categorical", "choices": ["none", "irn"]}
ALPHA = {"kind": "float", "low": 1.0, "high": 9.0}


def asked(method: str, **axes: dict[str, Any]) -> tuple[Experiment, SearchSpace]:
    """Axes by dotted path, the dots written as two underscores."""
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": 6, "val": 2, "size": 48}})
    one = Experiment(get(method), get(method).config(), data)
    tables = {name.replace("__", "."): {**table, "reason": "for the test"} for name, table in axes.items()}
    return one, read_space({"axes": tables}, one.config, "test")


def test_each_stage_names_the_axes_that_change_it() -> None:
    one, space = asked("cam", train__learning_rate=RATE, maps__flip=FLIP, masks__alpha=ALPHA)
    found = axes_by_stage(one, space)
    assert [[axis.path.split(".")[0] for axis in found[stage.key]] for stage in one.stages] == [
        ["train"],
        ["train", "maps"],
        ["train", "maps", "masks"],
        ["train", "maps", "masks"],
    ]
    assert shared_stages(one, space) == ()
    assert (repeats_training(one, space), changes_masks(one, space)) == (True, True)


def test_what_no_axis_changes_is_shared() -> None:
    one, space = asked("cam", masks__alpha=ALPHA, masks__crf=CRF)
    assert [stage.name for stage in shared_stages(one, space)] == ["train:cam", "maps:cam"]
    assert (repeats_training(one, space), changes_masks(one, space)) == (False, True)
    one, space = asked("cam", maps__flip=FLIP)
    assert (repeats_training(one, space), changes_masks(one, space)) == (False, False)


def test_maps_and_masks_that_a_training_reads_repeat_it() -> None:
    """Whatever their section is called."""
    one, space = asked("fbr", seed__masks__crf=CRF)
    assert [stage.name for stage in shared_stages(one, space)] == ["train:seed", "maps:seed"]
    assert (repeats_training(one, space), changes_masks(one, space)) == (True, False)
    one, space = asked("drs", maps__fuse=FUSE)
    assert [stage.name for stage in shared_stages(one, space)] == ["train:classify"]
    assert repeats_training(one, space)


def test_an_axis_that_exists_only_sometimes_is_probed_where_it_does() -> None:
    one, space = asked("cam", maps__flip=FLIP, masks__alpha={**ALPHA, "when": {"maps.flip": False}})
    assert [len(axes) for axes in axes_by_stage(one, space).values()] == [0, 2, 2, 2]
