"""Which ground truth may choose."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from pydantic import ValidationError

import wsss_methods
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import Protocol, check_selection, protocol, strongest
from wsss_platform.plan.selection import judged_by, read_rule

SAME, OTHER = DataConfig(), DataConfig(score_list="val")


@pytest.mark.parametrize(
    ("text", "data", "stamp", "searched", "reported"),
    [
        (None, SAME, "half of train ground truth", "train:half-1", "train:half-2"),
        ("half", OTHER, "half of val ground truth", "val:half-1", "val:half-2"),
        ("train", SAME, "train ground truth", "train", "train"),
        ("train", OTHER, "train ground truth", "train", "val"),
        ("val", OTHER, "val ground truth", "val", "val"),
        ("held-out:3", SAME, "held-out:3 ground truth", "train:held-out-3", "train:rest-3"),
        ("held-out:3", OTHER, "held-out:3 ground truth", "train:held-out-3", "val"),
    ],
)
def test_what_is_searched_and_what_is_told(
    text: str | None, data: DataConfig, stamp: str, searched: str, reported: str
) -> None:
    rule = read_rule(text, data)
    assert (rule.stamp, rule.searched(data), rule.reported(data)) == (stamp, searched, reported)
    assert check_selection(rule.stamp) == stamp
    assert rule.asked(reported, data) == data.score_list


def test_wrong_rules_are_told() -> None:
    with pytest.raises(InputError, match="did you mean 'val'"):
        read_rule("vale", SAME)
    for text in ("held-out", "held-out:0", "held-out:-1"):
        with pytest.raises(InputError, match=r"expected held-out:K"):
            read_rule(text, SAME)
    with pytest.raises(InputError, match=r"'none': no search without ground truth; held-out:K .* such as held-out:3"):
        read_rule("none", SAME)
    with pytest.raises(InputError, match="name another one with --score-split"):
        read_rule("val", SAME).searched(SAME)
    with pytest.raises(InputError, match="did you mean 'val ground truth'"):
        check_selection("vals ground truth")


def tiny(**changes: Any) -> Experiment:
    method = wsss_methods.get("cam")
    small = {"train.epochs": 1, "train.batch": 4, "train.crop": 48, "backbone.weights": "none", "maps.scales": [1.0]}
    config = override(method.config(), {**small, **changes})
    return Experiment(method, config, DataConfig(sample=SampleConfig(train=6, val=2, size=64)))


def test_the_key_of_a_training_list_is_not_touched() -> None:
    """Judging on a part repeats no training."""
    experiment = tiny()
    judged = judged_by(read_rule("held-out:1", experiment.data), experiment)
    assert judged.data.score_list == "train:held-out-1"
    assert judged.stage("train").key == experiment.stage("train").key
    assert judged.key != experiment.key


def test_of_several_choices_the_one_that_saw_most_is_said() -> None:
    assert strongest("none", "held-out:3 ground truth") == "held-out:3 ground truth"
    assert strongest("held-out:30 ground truth", "held-out:4 ground truth") == "held-out:30 ground truth"
    assert strongest("train ground truth", "held-out:3 ground truth", "none") == "train ground truth"
    assert strongest("half of train ground truth", "train ground truth") == "train ground truth"
    assert strongest("half of val ground truth", "train ground truth") == "half of val ground truth"
    assert strongest("val ground truth", "train ground truth", "unknown") == "val ground truth"


@pytest.mark.parametrize(
    ("rule", "base", "refused"), [("held-out:3", "val ground truth", True), ("val", "train ground truth", False)]
)
def test_a_search_does_not_launder_what_it_starts_from(rule: str, base: str, refused: bool) -> None:
    from wsss_platform.api._tune import check_base

    asked = read_rule(rule, DataConfig(train_list="train", score_list="val"))
    with pytest.raises(InputError, match=f"was chosen with '{base}'") if refused else contextlib.nullcontext():
        check_base(asked.stamp, base)


@pytest.mark.parametrize("kind", ["train", "val", "held-out:3"])
def test_protocols_of_earlier_versions_are_read(kind: str) -> None:
    now = protocol(Experiment(wsss_methods.get("cam"), wsss_methods.get("cam").config(), SAME))
    old = now.model_dump() | {"selection": f"{kind} truth"}
    old |= {f"{which}_pictures": old.pop(f"{which}_images") for which in ("train", "score")}
    read = Protocol.model_validate(old)
    assert read == now.model_copy(update={"selection": f"{kind} ground truth"})
    with pytest.raises(ValidationError, match="score_images"):
        Protocol.model_validate({name: value for name, value in old.items() if name != "score_pictures"})
