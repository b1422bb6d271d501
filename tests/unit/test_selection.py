"""Which truth may choose, and the objective that sees none."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsss_methods
from wsss_platform import label_free
from wsss_platform.config import DataConfig, MapsConfig, SampleConfig, override
from wsss_platform.data.part import TruthPart
from wsss_platform.data.sample import SampleTruth
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.label_free import Proxies, measure, variants
from wsss_platform.local_runner import LocalRunner
from wsss_platform.protocol import check_selection, strongest
from wsss_platform.selection import judged_by, read_rule
from wsss_platform.store import Store

SAME, OTHER = DataConfig(), DataConfig(score_list="val")


@pytest.mark.parametrize(
    ("text", "data", "stamp", "searched", "reported"),
    [
        (None, SAME, "train truth", "train", "train"),
        (None, OTHER, "val truth", "val", "val"),
        ("train", OTHER, "train truth", "train", "val"),
        ("val", OTHER, "val truth", "val", "val"),
        ("none", SAME, "none", "train:spread-64", "train"),
        ("none", OTHER, "none", "val:spread-64", "val"),
        ("held-out:3", SAME, "held-out:3 truth", "train:held-out-3", "train:rest-3"),
        ("held-out:3", OTHER, "held-out:3 truth", "train:held-out-3", "val"),
    ],
)
def test_what_is_searched_and_what_is_told(
    text: str | None, data: DataConfig, stamp: str, searched: str, reported: str
) -> None:
    rule = read_rule(text, data)
    assert (rule.stamp, rule.searched(data), rule.reported(data)) == (stamp, searched, reported)
    assert check_selection(rule.stamp) == stamp


def test_wrong_rules_are_told() -> None:
    with pytest.raises(InputError, match="did you mean 'val'"):
        read_rule("vale", SAME)
    for text in ("held-out", "held-out:0", "held-out:-1"):
        with pytest.raises(InputError, match=r"expected held-out:K"):
            read_rule(text, SAME)
    with pytest.raises(InputError, match="name another one with --score-list"):
        read_rule("val", SAME).searched(SAME)
    with pytest.raises(InputError, match="did you mean 'val truth'"):
        check_selection("vals truth")


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


def test_mirror_changes_no_key_while_it_is_off() -> None:
    assert "mirror" in MapsConfig.added
    assert tiny().key == tiny(**{"maps.mirror": False}).key != tiny(**{"maps.mirror": True, "maps.flip": False}).key
    with pytest.raises(InputError, match="mirror needs flip = false"):
        tiny(**{"maps.mirror": True})


@pytest.mark.parametrize("name", wsss_methods.names())
def test_no_method_trains_again_for_the_proxies(name: str) -> None:
    method = wsss_methods.get(name)
    experiment = Experiment(method, method.config(), DataConfig(sample=SampleConfig(train=6, val=2, size=64)))
    made = variants(experiment)
    assert {item.stage("train").key for item in made.values()} == {experiment.stage("train").key}
    assert made["plain"].key != made["mirrored"].key != made["scaled"].key


def test_the_objective_reads_no_truth_and_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> np.ndarray:
        raise AssertionError("pixel truth was read")

    monkeypatch.setattr(SampleTruth, "layers", forbidden)
    monkeypatch.setattr(TruthPart, "mask", forbidden)
    experiment = judged_by(read_rule("none", SAME), tiny())
    store = Store(tmp_path)
    found = measure(experiment, store, LocalRunner(threads=1))
    assert all(0 <= value <= 1 for value in (found.flip, found.scale, found.crf or 0, found.labels))
    assert found.value == pytest.approx(np.mean([found.flip, found.scale, found.crf, found.labels]))
    events: list[Any] = []
    assert measure(experiment, store, LocalRunner(threads=1), events.append) == found
    assert all(event.cached for event in events)
    assert not (tmp_path / "stages" / "score").exists()


def test_masks_that_do_not_depend_on_the_view_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same masks everywhere each agreement is exactly 1, with one that was broken it is not."""
    experiment = judged_by(read_rule("none", SAME), tiny())
    store = Store(tmp_path)
    before = measure(experiment, store, LocalRunner(threads=1))
    split = experiment.dataset.split(experiment.data.score_list)
    drawn = {}
    for name in split.ids:
        image = split.read(name).image
        mask = np.zeros(image.shape[:2], np.uint8)
        half = mask.shape[1] // 2
        mask[:, :half] = 1 + int(np.flatnonzero(split.labels(name))[0])
        drawn[name] = mask
    monkeypatch.setattr(label_free, "read_mask", lambda path: drawn[path.stem])
    same = measure(experiment, store, LocalRunner(threads=1))
    shown = {int(mask.max()) for mask in drawn.values()}
    named = np.any([split.labels(name) for name in split.ids], axis=0)
    expected = (1 + len(shown)) / (1 + named.sum())  # classes that are named and nowhere count 0
    assert same.flip == same.scale == same.crf == pytest.approx(expected)
    assert before != same
    mirrored = variants(experiment)["mirrored"].stage("masks").key

    def broken(path: Path) -> np.ndarray:
        return drawn[path.stem][:, ::-1] if mirrored in str(path) else drawn[path.stem]

    monkeypatch.setattr(label_free, "read_mask", broken)
    worse = measure(experiment, store, LocalRunner(threads=1))
    assert worse.flip < 0.1
    assert (worse.scale, worse.crf) == (same.scale, same.crf)


def test_the_saliency_rule_has_no_crf() -> None:
    experiment = replace(tiny(), config=override(tiny().config, {"masks.rule": "saliency"}))
    assert set(variants(experiment)) == {"plain", "mirrored", "scaled", "masks"}
    assert Proxies(0.2, 0.4, None, 0.9).value == pytest.approx(0.5)


def test_of_several_choices_the_one_that_saw_most_is_said() -> None:
    assert strongest("none", "held-out:3 truth") == "held-out:3 truth"
    assert strongest("held-out:30 truth", "held-out:4 truth") == "held-out:30 truth"
    assert strongest("train truth", "held-out:3 truth", "none") == "train truth"
    assert strongest("val truth", "train truth", "unknown") == "val truth"


@pytest.mark.parametrize(("rule", "base", "refused"), [("none", "val truth", True), ("val", "train truth", False)])
def test_a_search_does_not_launder_what_it_starts_from(rule: str, base: str, refused: bool) -> None:
    from wsss_platform.cli.tune import check_base

    asked = read_rule(rule, DataConfig(train_list="train", score_list="val"))
    with pytest.raises(InputError, match=f"was chosen with '{base}'") if refused else contextlib.nullcontext():
        check_base(asked, base)
