"""A training whose settings change on its way: its keys, what may change, and that state really goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import wsss_methods
from tiny_method import TinyConfig, tiny_sample
from wsss_platform.config import DataConfig, MethodConfig, SampleConfig, TrainConfig, override, read_toml, to_toml
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.local_runner import LocalRunner
from wsss_platform.pipeline import run
from wsss_platform.schedule import Segment, check_search, fixed_because, in_force, segments
from wsss_platform.stages import CHECKPOINT, METRICS, WEIGHTS, Parent, TrainJob
from wsss_platform.store import Store
from wsss_platform.train.checkpoint import STATE, read_torch
from wsss_platform.train.loop import train_phase
from wsss_platform.train.record import read_epochs

CONTRAST = "loss.contrast"


def scheduled(*parts: tuple[int, dict[str, Any]], epochs: int = 4, **train: Any) -> Experiment:
    """The tiny method with segments (until, values)."""
    experiment = tiny_sample()
    changes = {f"train.{name}": value for name, value in {"epochs": epochs, **train}.items()}
    if parts:
        changes["schedule"] = [{"until": until, "values": values} for until, values in parts]
    return replace(experiment, config=override(experiment.config, changes))


def keys(experiment: Experiment) -> list[str]:
    return [stage.key for stage in experiment.stages if stage.kind == "train"]


def trained(experiment: Experiment, storage: Path) -> tuple[Store, Path]:
    """The folder of the last training of an experiment."""
    store, last = Store(storage), experiment.stage("train")
    run(experiment, store, LocalRunner(threads=1), until=last)
    return store, store.folder("train", last.key)


def test_stages_are_named_and_chained() -> None:
    experiment = scheduled((2, {CONTRAST: 0.2}), (3, {CONTRAST: 0.3}), (4, {}))
    first, second, last = (stage for stage in experiment.stages if stage.kind == "train")
    assert [stage.name for stage in (first, second, last)] == ["train:tiny@2", "train:tiny@3", "train:tiny"]
    assert "parent" not in first.inputs
    assert (second.inputs["parent"], last.inputs["parent"]) == (first, second)
    assert experiment.stage("train") is last
    assert experiment.stage("maps").inputs["weights"] is last
    assert [experiment.epochs(stage) for stage in (first, second, last)] == [2, 1, 1]
    assert [experiment.of(stage).loss_weights(stage.phase)["contrast"] for stage in (first, second, last)] == [
        0.2,
        0.3,
        0.1,
    ]


def test_a_key_is_the_lineage() -> None:
    """Equal beginnings are shared, whatever comes later; a difference anywhere before changes all that follows."""
    one = keys(scheduled((2, {CONTRAST: 0.2}), (3, {CONTRAST: 0.3}), (4, {CONTRAST: 0.3})))
    other = keys(scheduled((2, {CONTRAST: 0.2}), (3, {CONTRAST: 0.4}), (4, {CONTRAST: 0.3})))
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]
    shorter = keys(scheduled((2, {CONTRAST: 0.2}), (3, {CONTRAST: 0.3})))
    assert shorter == one[:2]
    assert len({*one, *other, *keys(scheduled()), *keys(scheduled((4, {})))}) == 7
    # the sections in force count, not who says them
    base = scheduled((2, {}), (4, {CONTRAST: 0.3}))
    said = replace(base, config=override(base.config, {CONTRAST: 0.3}))
    assert keys(said)[0] == keys(scheduled((2, {CONTRAST: 0.3}), (4, {CONTRAST: 0.3})))[0]


def test_configs_without_a_schedule_keep_their_keys() -> None:
    plain = scheduled()
    assert keys(plain) == keys(replace(plain, config=override(plain.config, {"schedule": None})))
    assert keys(plain) == keys(replace(plain, config=override(plain.config, {"schedule": []})))
    assert "until" not in to_toml(plain.config)


def test_a_schedule_survives_toml(tmp_path: Path) -> None:
    config = scheduled((2, {CONTRAST: 0.2}), (4, {CONTRAST: 1.0, "train.flip": False})).config
    (tmp_path / "best.toml").write_text(to_toml(config))
    again = TinyConfig.model_validate(read_toml(tmp_path / "best.toml"))
    assert again == config


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([(0, {})], "schedule.0.until: Input should be greater than or equal to 1"),
        ([(2, {}), (2, {})], r"schedule\[1\].until: expected more than 2, where the segment before ends"),
        ([(2, {}), (5, {})], r"at most train.epochs = 4, got 5"),
        ([(4, {"loss.contarst": 1.0})], "did you mean 'loss.contrast'"),
        ([(4, {"masks.background": 0.2})], r"masks.background must stay as it is during a training: the training of"),
        ([(4, {"train.epochs": 8})], "train.epochs must stay as it is during a training: it sets the length"),
        (
            [(2, {}), (4, {"loss.contrast": "much"})],
            "schedule until epoch 4: loss.contrast: Input should be a valid number",
        ),
    ],
)
def test_illegal_schedules_are_told(parts: list[tuple[int, dict[str, Any]]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _ = scheduled(*parts).stages


def test_a_schedule_of_weights_from_a_file_is_refused() -> None:
    experiment = scheduled((4, {}))
    taken = replace(experiment, config=override(experiment.config, {"released": ["tiny=there.pt"]}))
    with pytest.raises(InputError, match="taken from a file; nothing is trained"):
        _ = taken.stages


def test_which_paths_may_change() -> None:
    phases = {phase.name: phase for phase in wsss_methods.get("fbr").phases(wsss_methods.get("fbr").config())}
    last = phases["fbr"]
    for path in ("loss.negative_regions", "sampling.temperature", "train.learning_rate", "train.weight_decay"):
        assert fixed_because(last, path) is None, path
    for path in (
        "seed.masks.confident_foreground",
        "maps.flip",
        "masks.crf",
        "seed.loss.classification",
        "seed.train.power",
    ):
        assert "does not read it" in str(fixed_because(last, path)), path
    for path in ("train.epochs", "train.batch", "train.crop", "train.optimiser", "train.schedule", "train.bias_factor"):
        assert "sets the length, the sizes or the state" in str(fixed_because(last, path)), path
    assert fixed_because(last, "backbone.output_stride") == "it shapes the network"


def test_only_the_last_phase_of_a_method_is_scheduled() -> None:
    method = wsss_methods.get("fbr")
    config = override(method.config(), {"schedule": [{"until": 2, "values": {"sampling.temperature": 0.3}}]})
    data = DataConfig(sample=SampleConfig(train=4, val=2, size=48))
    plain, other = Experiment(method, method.config(), data), Experiment(method, config, data)
    assert other.stage("train", "seed").key == plain.stage("train", "seed").key
    assert other.stage("train", "fbr").inputs.keys() == {"seed"}
    assert other.stage("train", "fbr").key != plain.stage("train", "fbr").key
    long = override(config, {"schedule": [{"until": 2, "values": {}}, {"until": 5, "values": {}}]})
    affinity = Experiment(method, override(long, {"affinity.kind": "psa"}), data)
    assert affinity.stage("maps", "fbr").inputs["weights"].segment == Segment(2, 5, {})


def test_a_schedule_that_changes_nothing_leaves_the_same_bytes(tmp_path: Path) -> None:
    """Weights, optimiser, banks, random generators and data order go on over the boundaries."""
    plain, parts = scheduled(), scheduled((1, {}), (3, {}), (4, {}))
    store, whole = trained(plain, tmp_path)
    _, last = trained(parts, tmp_path)
    assert (last / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    found = [end for key in keys(parts) for end in read_epochs(store.folder("train", key) / METRICS)]
    assert [end.epoch for end in found] == [1, 2, 3, 4]
    assert [end.losses for end in found] == [end.losses for end in read_epochs(whole / METRICS)]
    kept = [(store.folder("train", key) / CHECKPOINT).is_dir() for key in keys(parts)]
    assert kept == [True, True, False]
    assert store.open("train", keys(parts)[1]).manifest["inputs"] == {"parent": keys(parts)[0]}


def test_a_value_changes_only_what_comes_after_it(tmp_path: Path) -> None:
    store, _ = trained(scheduled(), tmp_path)
    parts = scheduled((2, {}), (4, {CONTRAST: 5.0, "train.learning_rate": 1e-2}))
    trained(parts, tmp_path)
    plain = read_epochs(store.folder("train", keys(scheduled())[0]) / METRICS)
    first, second = (read_epochs(store.folder("train", key) / METRICS) for key in keys(parts))
    assert [end.losses for end in first] == [end.losses for end in plain[:2]]
    assert [end.epoch for end in second] == [3, 4]
    assert second[0].losses != plain[2].losses
    assert second[0].applied[CONTRAST] == 5.0
    assert second[0].learning_rate == pytest.approx(10 * plain[2].learning_rate)


def test_optimiser_settings_are_the_segment_s_own(tmp_path: Path) -> None:
    """`load_state_dict` of an optimiser would bring the parent's along."""
    parts = scheduled((1, {}), (2, {"train.weight_decay": 0.5, "train.momentum": 0.3}), (3, {}), optimiser="sgd")
    store, _ = trained(parts, tmp_path)
    groups = [read_torch(store.folder("train", key) / CHECKPOINT / STATE)["optimiser"] for key in keys(parts)]
    assert [{group["weight_decay"] for group in each["param_groups"]} for each in groups] == [
        {0.0, 1e-4},
        {0.0, 0.5},
        {0.0, 1e-4},
    ]
    assert [{group["momentum"] for group in each["param_groups"]} for each in groups] == [{0.9}, {0.3}, {0.9}]
    assert all(each["state"] for each in groups)


def test_an_interrupted_segment_goes_on(tmp_path: Path) -> None:
    parts = scheduled((1, {}), (4, {CONTRAST: 0.7}))
    _, whole = trained(parts, tmp_path / "whole")
    seen: list[int] = []

    class Killed(LocalRunner):
        def train(self, job: TrainJob, folder: Path, on_epoch: Any) -> None:
            def stop(end: Any) -> None:
                seen.append(end.epoch)
                if end.epoch == 3 and len(seen) == 3:
                    raise KeyboardInterrupt
                on_epoch(end)

            super().train(job, folder, stop)

    store, last = Store(tmp_path / "parts"), parts.stage("train")
    with pytest.raises(KeyboardInterrupt):
        run(parts, store, Killed(threads=1), until=last)
    run(parts, store, Killed(threads=1), until=last)
    assert seen == [1, 2, 3, 2, 3, 4]
    assert (store.folder("train", last.key) / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def test_only_the_parent_s_checkpoint_is_taken(tmp_path: Path) -> None:
    parts = scheduled((2, {}), (4, {}))
    store, _ = trained(parts, tmp_path)
    first, last = (stage for stage in parts.stages if stage.kind == "train")
    folder = store.folder("train", first.key) / CHECKPOINT
    job = TrainJob(parts.of(last), last.phase, last.key, {}, last.segment, Parent("0" * 64, folder))
    with pytest.raises(InputError, match="checkpoint of another training"):
        next(train_phase(job))
    # a network of another shape is named, not a traceback of torch
    state = read_torch(folder / STATE)
    state["model"]["head.weight"] = torch.zeros(7, 8, 1, 1)
    torch.save(state, folder / STATE)
    with pytest.raises(InputError, match="changes the shape of the network"):
        next(train_phase(replace(job, parent=Parent(first.key, folder))))


def test_in_force_without_a_segment_is_the_config() -> None:
    config = MethodConfig(train=TrainConfig(epochs=3))
    assert in_force(config, None) is config
    assert segments(config, tiny_sample().phases[0]) == ()


def test_a_search_does_not_fight_its_base_schedule() -> None:
    config = scheduled((4, {CONTRAST: 0.3})).config
    check_search(config, ["train.learning_rate"], population=False)
    with pytest.raises(InputError, match=r"sets loss\.contrast in the middle"):
        check_search(config, [CONTRAST], population=False)
    with pytest.raises(InputError, match="its own schedule"):
        check_search(config, [], population=True)
    check_search(TinyConfig(), [CONTRAST], population=True)
