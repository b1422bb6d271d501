"""A member of a population: how it is judged, and what it does about what goes wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tiny_method import tiny_sample
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.data.part import PartedDataset
from wsss_platform.data.sample import SampleDataset
from wsss_platform.engine import member as members
from wsss_platform.engine.halting import Halt
from wsss_platform.engine.lineage import Lineage
from wsss_platform.engine.member import MemberPlan, _grow, judging, of_schedule, train_member
from wsss_platform.engine.population import Population
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.local_runner import LocalRunner
from wsss_platform.retention import LARGE
from wsss_platform.sharing import Withholding
from wsss_platform.store import Store


def tiny(epochs: int = 4) -> Experiment:
    experiment = tiny_sample()
    return replace(experiment, config=override(experiment.config, {"train.epochs": epochs}))


def test_a_judgement_sees_few_pictures_also_of_a_held_out_list() -> None:
    experiment = replace(
        tiny(), data=DataConfig(score_list="train:held-out-2", sample=SampleConfig(train=12, val=2, size=64))
    )
    quick = judging(of_schedule(experiment, [{"until": 1, "values": {}}]), 3)
    assert quick.data.score_list == "train:held-out-2:spread-3"
    seen = quick.dataset.split(quick.data.score_list).ids
    assert len(seen) == 3
    assert set(seen) <= set(experiment.dataset.split("train:held-out-2").ids)
    truth = PartedDataset(SampleDataset(experiment.data.sample)).truth(quick.data.score_list)
    truth.mask(seen[0])
    other = next(id for id in experiment.dataset.split("train").ids if id not in seen)
    with pytest.raises(InputError, match="is all that may be seen here"):
        truth.mask(other)


def test_a_member_that_fails_waits_to_become_a_copy(tmp_path: Path) -> None:
    experiment = tiny_sample()
    broken = override(experiment.config, {"train.epochs": 3, "trouble.nan_step": 0})
    plan = MemberPlan(
        replace(experiment, config=broken),
        tmp_path,
        tmp_path / "study",
        LocalRunner(threads=1),
        Population(),
        4,
        retries=1,
    )
    failed, numbers = _grow(plan, Lineage(), 1, {"loss.contrast": 0.2}, 1)
    assert failed.failed is not None
    assert "step 1: loss term 'contrast' is nan" in failed.failed
    assert (failed.epoch, failed.grown, numbers) == (1, (), {})
    again, _ = _grow(plan, failed, 1, {"loss.contrast": 0.2}, 2)
    assert again == replace(failed, epoch=2)
    wrong, _ = _grow(plan, Lineage(), 1, {"masks.background": 0.2}, 1)
    assert "must stay as it is during a training" in str(wrong.failed)


def test_a_full_disk_is_no_member_s_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = MemberPlan(tiny(), tmp_path, tmp_path / "study", LocalRunner(threads=1), Population(), 4, retries=1)

    def full(*_: Any) -> float:
        raise RuntimeError(f"a worker said: {os.strerror(errno.ENOSPC)}")

    said: list[dict[str, Any]] = []
    monkeypatch.setattr(members, "_judged", full)
    monkeypatch.setattr(members.tune, "report", said.append)
    monkeypatch.setattr(members.tune, "get_checkpoint", lambda: None)
    train_member({"member": {"number": 1, "values": '{"loss.contrast": 0.2}'}}, plan)
    assert [one["event"] for one in said] == ["segment", "halted"]
    assert "a disk was full or read-only" in said[1]["fault"]
    (plan.study / "stop").mkdir(parents=True)
    halt = Halt(plan.study, lambda: False)
    halt.ask("a disk was full")
    train_member({"member": {"number": 2, "values": "{}"}}, plan)  # one that starts afterwards
    assert said[2:] == [{"event": "halted", "fault": ""}]


def test_a_segment_that_killed_its_process_for_good_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = MemberPlan(tiny(), tmp_path, tmp_path / "study", LocalRunner(threads=1), Population(), 4, retries=1)
    plan.study.mkdir()
    grown: list[int] = []
    said: list[dict[str, Any]] = []

    def grow(plan: MemberPlan, lineage: Lineage, *rest: Any) -> tuple[Lineage, dict[str, Any]]:
        grown.append(lineage.epoch)
        return (lineage, {}) if lineage.failed else (lineage.with_next(members.Grown(rest[-1], rest[1], 1, 0.5)), {})

    monkeypatch.setattr(members, "_grow", grow)
    monkeypatch.setattr(members.tune, "report", lambda report, checkpoint=None: said.append(report))
    monkeypatch.setattr(members.tune, "get_checkpoint", lambda: None)
    config = {"member": {"number": 1, "values": '{"loss.contrast": 0.2}'}}
    train_member(config, plan)
    assert said[-1]["event"] == "finished"
    segments = [json.loads(one["schedule"]) for one in said if one["event"] == "segment"]
    members.note_death(plan.study, 1, segments[0])
    said.clear()
    train_member(config, plan)
    assert (said[-1]["event"], said[-1]["reason"]) == ("failed", members.DIED)
    members.note_death(plan.study, 1, [{"until": 9, "values": {}}])  # of another lineage
    said.clear()
    train_member(config, plan)
    assert said[-1]["event"] == "finished"


class Elsewhere:
    """A mirror in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Path] = {}
        self.brought: list[str] = []

    def bring(self, store: Store, kind: str, key: str) -> bool:
        if (kind, key) not in self.kept:
            return False
        self.brought.append(kind)
        with store.building(kind, key) as folder:
            assert folder is not None
            shutil.copytree(self.kept[kind, key], folder, dirs_exist_ok=True)
            manifest = json.loads((folder / "manifest.json").read_text())
            (folder / "manifest.json").unlink()
            store.commit(kind, key, manifest)
        return True

    def send(self, store: Store, kind: str, key: str) -> bool:
        self.kept[kind, key] = store.folder(kind, key)
        return True


def test_a_mirror_gets_judgements_and_the_last_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members.tune, "report", lambda report: None)
    mirror, rate = Elsewhere(), {"loss.contrast": 0.2}
    plan = MemberPlan(
        tiny(2),
        tmp_path / "a",
        tmp_path / "study",
        LocalRunner(threads=1),
        Population(),
        4,
        0,
        Withholding(mirror, LARGE),
    )
    first, _ = _grow(plan, Lineage(), 1, rate, 1)
    last, numbers = _grow(plan, first, 1, rate, 2)
    assert last.failed is None
    trained = of_schedule(plan.experiment, last.schedule()).stage("train").key
    assert sorted(kind for kind, _ in mirror.kept) == ["score", "score", "train"]
    assert ("train", trained) in mirror.kept
    elsewhere = replace(plan, storage=tmp_path / "b")
    again, _ = _grow(elsewhere, Lineage(), 1, rate, 1)
    assert again == first
    assert _grow(elsewhere, again, 1, rate, 2) == (last, numbers)
    assert mirror.brought == ["score", "train", "score"]
