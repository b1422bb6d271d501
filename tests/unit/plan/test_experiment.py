"""What the keys of stages depend on, and what the protocol says of supervision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import wsss_methods
from wsss_platform.config import (
    DataConfig,
    MapsConfig,
    MasksConfig,
    MethodConfig,
    SampleConfig,
    TrainConfig,
    fingerprint,
    override,
)
from wsss_platform.config.supervision import supervision_words
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sample.tree import write_tree
from wsss_platform.errors import InputError
from wsss_platform.method import Phase
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol

SMALL = SampleConfig(train=4, val=2, size=48)


def experiment(method: str = "drs", data: DataConfig | None = None, **changes: Any) -> Experiment:
    """With dots in field names written as two underscores."""
    chosen = wsss_methods.get(method)
    config = override(chosen.config(), {path.replace("__", "."): value for path, value in changes.items()})
    return Experiment(chosen, config, data or DataConfig(sample=SMALL))


def keys(given: Experiment) -> dict[str, str]:
    return {stage.name: stage.key for stage in given.stages}


def changed(one: Experiment, other: Experiment) -> set[str]:
    first, second = keys(one), keys(other)
    return {name for name in first.keys() & second.keys() if first[name] != second[name]}


def test_every_field_counts() -> None:
    for section, fields in (
        (TrainConfig, [{"bias_factor": 2.0}, {"decay_biases": True}, {"optimiser": "sgd", "nesterov": True}]),
        (MapsConfig, [{"sizes": (64,)}, {"fuse": "max", "normalise_views": True}]),
        (MasksConfig, [{"saliency_floor": 0.3}, {"saliency_cut": 60}, {"conflict_level": 0.8}]),
        (DataConfig, [{"saliency": "maps"}]),
    ):
        prints = [fingerprint(section.model_validate(item)) for item in ({}, *fields)]
        assert len(set(prints)) == len(prints)
    nested = MethodConfig(train=TrainConfig(bias_factor=2.0))
    assert fingerprint(nested) != fingerprint(MethodConfig())
    assert fingerprint([1, {"a": nested}]) != fingerprint([1, {"a": MethodConfig()}])
    given = TrainConfig.model_validate({"optimiser": "sgd"})
    assert fingerprint(given) != fingerprint(given.model_copy(update={"nesterov": True}))


def test_each_change_repeats_what_it_must_and_no_more() -> None:
    base = experiment()
    classifier = {"train:classify", "maps:classify"}
    refinement = {"train:refine", "maps:refine", "masks:refine", "score:refine"}
    assert set(keys(base)) == classifier | refinement
    assert changed(base, experiment(suppression__delta=0.4)) == classifier | refinement
    assert changed(base, experiment(maps__fuse="mean")) == {"maps:classify"} | refinement
    assert changed(base, experiment(refine__train__epochs=3)) == refinement
    assert changed(base, experiment(refine__maps__sizes=[64])) == refinement - {"train:refine"}
    assert changed(base, experiment(masks__background=0.4)) == {"masks:refine", "score:refine"}
    assert changed(base, experiment(refine__enabled=False)) == set()
    assert {*keys(experiment(refine__enabled=False))} == classifier | {"masks:classify", "score:classify"}


def test_the_label_rule_alone_is_saliency_supervision() -> None:
    plain, ruled = experiment(), experiment(masks__rule="saliency")
    assert changed(plain, ruled) == {"masks:refine", "score:refine"}
    assert supervision_words(protocol(plain).supervision) == "labels"
    assert supervision_words(protocol(ruled).supervision) == "labels + saliency"
    assert protocol(ruled).supervision[1].hash == ruled.saliency_fingerprint("train")[:12]
    assert protocol(ruled).background == "saliency > 50, floor 0.2, conflict 0.9"
    assert protocol(plain).background == "constant 0.3"
    assert protocol(plain).scales == "256 x 256, 320 x 320, 384 x 384"
    assert protocol(experiment("cam")).scales == "0.5, 1, 1.5 + flip"


def _with_extra(given: Experiment) -> Experiment:
    from dataclasses import replace

    phases = tuple(replace(phase, extras=("saliency",)) for phase in given.phases)
    return replace(given, method=replace(given.method, phases=lambda config: phases))


def test_a_phase_that_trains_on_saliency_is_saliency_supervision() -> None:
    plain = experiment("cam")
    extra = _with_extra(plain)
    assert changed(plain, extra) == set(keys(plain))
    assert supervision_words(protocol(extra).supervision) == "labels + saliency"
    assert supervision_words(protocol(plain).supervision) == "labels"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    write_tree(SampleDataset(SMALL), root)
    return root


def test_keys_follow_the_saliency_files_where_they_are_used(tree: Path) -> None:
    from wsss_platform.plan.experiment import _FINGERPRINTS

    data = DataConfig(kind="voc12", root=str(tree), saliency="Saliency")
    without = DataConfig(kind="voc12", root=str(tree))
    plain, ruled = experiment(data=data), experiment(data=data, masks__rule="saliency")
    extra = _with_extra(experiment("cam", data=data))
    before = keys(plain), keys(ruled), keys(extra)
    assert keys(experiment(data=without)) == before[0]
    file = tree / "Saliency" / "train_00001.png"
    Image.eval(Image.open(file), lambda value: 255 - value).save(file)
    _FINGERPRINTS.clear()
    again = [
        experiment(data=data),
        experiment(data=data, masks__rule="saliency"),
        _with_extra(experiment("cam", data=data)),
    ]
    after = [keys(item) for item in again]
    assert after[0] == before[0]
    assert {name for name in before[1] if after[1][name] != before[1][name]} == {"masks:refine", "score:refine"}
    assert {name for name in before[2] if after[2][name] != before[2][name]} == set(before[2])


def test_saliency_that_is_not_there_is_said_before_anything_runs(tree: Path) -> None:
    data = DataConfig(kind="voc12", root=str(tree))
    with pytest.raises(InputError, match=r"data\.saliency"):
        keys(experiment(data=data, masks__rule="saliency"))


def test_an_extra_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'saliency'"):
        Phase("one", lambda config, classes: None, ("train", "loss"), extras=("salience",))  # type: ignore[arg-type, return-value]


RECORDED = {
    "cam": "e21525488f44",
    "fbr": "7490515ad4eb",
}
"""Method -> hash of the keys of its default plan on a small sample. Who changes one on purpose raises a revision, or
says in CHANGELOG that stores must be made anew, and records the new one."""


@pytest.mark.parametrize("method", RECORDED)
def test_keys_do_not_change_by_accident(method: str) -> None:
    assert fingerprint(keys(experiment(method)))[:12] == RECORDED[method]
