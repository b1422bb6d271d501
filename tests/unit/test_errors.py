"""Errors: what they say beside their message, also in another process, and where the code base fills it in."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from wsss_platform.config import DataConfig, MethodConfig, SampleConfig, override, read_toml
from wsss_platform.data.lists import read_list
from wsss_platform.data.reading import read_mask
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.errors import InputError, RunError, UnknownNameError, unknown
from wsss_platform.masks.crf.dense_crf import parameters_of
from wsss_platform.plan.resources import check_gpu_share
from wsss_platform.plan.selection import read_rule
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import check_name


def through_pickle(error: InputError) -> InputError:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("again", [through_pickle, copy.copy, copy.deepcopy])
def test_an_error_is_the_same_in_another_process(again: Callable[[InputError], InputError]) -> None:
    error = again(unknown("method", "fbrr", ["fbr", "cam"], field="METHOD"))
    assert type(error) is UnknownNameError
    assert str(error) == "unknown method 'fbrr'; did you mean 'fbr'?"
    assert (error.field, error.nearest, error.code) == ("METHOD", "fbr", "unknown-name")


def test_what_is_not_known_is_none() -> None:
    error = InputError("wrong")
    assert (str(error), error.field, error.nearest, error.code) == ("wrong", None, None, "input")
    assert unknown("list", "zzz", ["train"]).nearest is None
    assert RunError("a worker was lost").code == "run"


def test_a_file_is_a_field() -> None:
    assert InputError("wrong", field=Path("a") / "b.png").field == "a/b.png"


def test_a_longer_message_keeps_the_rest() -> None:
    error = unknown("class", "cta", ["cat"], field="2007_000032")
    longer = error.in_context(f"labels.json:3: {error}")
    assert type(longer) is UnknownNameError
    assert str(longer) == "labels.json:3: unknown class 'cta'; did you mean 'cat'?"
    assert (longer.field, longer.nearest) == ("2007_000032", "cat")
    assert error.in_context("elsewhere", field="labels.json").field == "labels.json"


AXIS = {"kind": "float", "low": 0.1, "high": 1.0, "reason": "as good as any"}


@pytest.mark.parametrize(
    ("wrong", "field", "nearest"),
    [
        (lambda: override(MethodConfig(), {"train.epoch": 3}), "train.epoch", "train.epochs"),
        (lambda: override(MethodConfig(), {"train.epochs": -1}), "train.epochs", None),
        (lambda: override(MethodConfig(), {"train": {"epoch": 3}}), "train.epoch", "train.epochs"),
        (lambda: read_toml(Path("/nowhere/mine.toml")), "/nowhere/mine.toml", None),
        (lambda: read_mask(Path("/nowhere/a.png")), "/nowhere/a.png", None),
        (lambda: read_list(Path("/nowhere/train.txt"), 20), "/nowhere/train.txt", None),
        (lambda: SampleDataset(SampleConfig()).split("trian"), "trian", "train"),
        (
            lambda: read_space({"axes": {"train.learning_rat": AXIS}}, MethodConfig(), "x.toml"),
            "train.learning_rat",
            "train.learning_rate",
        ),
        (
            lambda: read_space({"axes": {"train.learning_rate": {**AXIS, "hihg": 2}}}, MethodConfig(), ""),
            "train.learning_rate",
            "high",
        ),
        (lambda: parameters_of(MethodConfig().masks.model_copy(update={"crf": "irm"})), "masks.crf", "irn"),
        (lambda: read_rule("trian", DataConfig()), "--selection", "train"),
        (lambda: check_gpu_share(1, 1.5), "--gpus-per-worker", None),
        (lambda: check_name("a/b"), "a/b", None),
    ],
)
def test_errors_name_the_field(wrong: Callable[[], object], field: str, nearest: str | None) -> None:
    with pytest.raises(InputError) as caught:
        wrong()
    assert (caught.value.field, caught.value.nearest) == (field, nearest)
