"""Which axes are trials and which are searched within them, as the content keys say."""

from __future__ import annotations

from typing import Any

import pytest

from wsss_methods import get
from wsss_platform.config import DataConfig
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.levels import Levels, split
from wsss_platform.search.space_file import read_space

RATE = {"kind": "float", "low": 1e-4, "high": 1e-3}
FLIP = {"kind": "categorical", "choices": [True, False]}
CRF = {"kind": "categorical", "choices": ["none", "irn"]}
ALPHA = {"kind": "float", "low": 1.0, "high": 9.0}


def levels(method: str, settings: int = 8, **axes: dict[str, Any]) -> Levels:
    """Axes by dotted path, the dots written as two underscores."""
    found = get(method)
    data = DataConfig.model_validate({"kind": "sample", "sample": {"train": 6, "val": 2, "size": 48}})
    tables = {name.replace("__", "."): {**table, "reason": "for the test"} for name, table in axes.items()}
    config = found.config()
    return split(Experiment(found, config, data), read_space({"axes": tables}, config, "test"), settings)


def paths(found: Levels) -> tuple[list[str], list[str]]:
    return [axis.path for axis in found.outer.axes], [axis.path for axis in found.inner]


@pytest.mark.parametrize(
    ("axes", "outer", "inner"),
    [
        ({"train__learning_rate": RATE, "masks__crf": CRF}, ["train.learning_rate"], ["masks.crf"]),
        ({"maps__flip": FLIP, "masks__alpha": ALPHA}, ["maps.flip"], ["masks.alpha"]),
        ({"masks__crf": CRF, "masks__alpha": ALPHA}, [], ["masks.crf", "masks.alpha"]),
        ({"train__learning_rate": RATE, "maps__flip": FLIP}, ["train.learning_rate", "maps.flip"], []),
        (
            {"masks__crf": CRF, "masks__alpha": ALPHA, "maps__flip": {**FLIP, "when": {"masks.crf": "irn"}}},
            ["masks.crf", "maps.flip"],  # what an outer axis needs to exist is not searched within a trial
            ["masks.alpha"],
        ),
        (
            {"maps__flip": FLIP, "masks__alpha": {**ALPHA, "when": {"maps.flip": False}}},
            ["maps.flip"],
            ["masks.alpha"],
        ),
    ],
)
def test_keys_tell_the_levels(axes: dict[str, Any], outer: list[str], inner: list[str]) -> None:
    found = levels("cam", **axes)
    assert paths(found) == (outer, inner)
    assert found.settings == (8 if inner else 0)


def test_masks_that_a_training_reads_are_trials() -> None:
    """By their name they are masks; by their key they repeat the second phase."""
    found = levels("fbr", seed__masks__crf=CRF, masks__crf=CRF)
    assert paths(found) == (["seed.masks.crf"], ["masks.crf"])


def test_masks_that_another_axis_makes_a_training_read_are_trials() -> None:
    """DRS trains its second phase on the maps of the first, and on masks where the labels are refined."""
    plain = levels("cam", masks__alpha=ALPHA, affinity__kind={"kind": "categorical", "choices": ["none", "psa"]})
    assert paths(plain) == (["affinity.kind"], ["masks.alpha"])
    seeds = levels("cam", affinity__seeds__crf=CRF)
    assert paths(seeds) == (["affinity.seeds.crf"], []), "without a key that it changes, it stays what it was"


def test_no_settings_no_levels() -> None:
    found = levels("cam", 0, masks__crf=CRF, masks__alpha=ALPHA)
    assert paths(found) == (["masks.crf", "masks.alpha"], [])
    assert found.settings == 0
