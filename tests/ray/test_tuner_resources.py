"""Shares of a cluster: more trials than there is room for, parts of GPUs, and no GPU held by work on CPUs.

The GPUs are claimed (num_gpus of a machine without any): Ray hands out their numbers, and nobody finds CUDA there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray

from another_process import LONGEST_WAIT
from tiny_study import request
from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.engine.runner import RayRunner
from wsss_platform.errors import InputError
from wsss_platform.plan.jobs import METRICS, Chunk, ChunkReport, EpochEnd, TrainJob
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.trial_events import StudyEvent, TrialFinished, TrialStarted
from wsss_platform.train.record import read_epochs
from wsss_platform.tune import tuner
from wsss_platform.tune.tuner import concurrency, tune


def node(cpus: float, gpus: float = 0.0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        ([node(2)], {}, 2),
        ([node(2, 1)], {"gpus_per_worker": 0.5}, 2),
        ([node(16, 1)], {"gpus_per_worker": 0.1}, 10),
        ([node(16, 1)], {"gpus_per_worker": 0.3}, 3),
        ([node(16, 3)], {"gpus_per_worker": 0.6}, 3),  # 0.6 of each; the rests of 0.4 are no 0.6
        ([node(16, 3)], {"gpus_per_worker": 1.0, "workers": 2}, 1),
        ([node(16, 3), node(16, 1)], {"gpus_per_worker": 1.0, "workers": 2}, 2),
        ([node(16, 8)], {"gpus_per_worker": 2.0, "workers": 2}, 2),
        ([node(16, 3), node(16, 1)], {"gpus_per_worker": 2.0}, 1),  # no worker on parts of two nodes
        ([node(3, 8)], {"gpus_per_worker": 1.0, "cpus_per_worker": 2}, 1),
        ([node(3), node(3)], {"workers": 2, "cpus_per_worker": 2}, 1),
        ([node(8), node(8, alive=False)], {"workers": 3}, 2),
        ([node(8)], {"concurrent": 3}, 3),
    ],
)
def test_trials_at_once(
    nodes: list[dict[str, Any]], asked: dict[str, Any], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "_nodes", lambda: nodes)
    assert concurrency(request(tmp_path, 9, **asked)) == expected


@pytest.mark.parametrize(
    ("nodes", "asked"),
    [
        ([node(16, 3)], {"gpus_per_worker": 1.0, "workers": 4}),
        ([node(16, 1), node(16, 1)], {"gpus_per_worker": 2.0}),
        ([node(16)], {"gpus_per_worker": 0.5}),
    ],
)
def test_a_trial_that_never_fits_is_refused(
    nodes: list[dict[str, Any]], asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "_nodes", lambda: nodes)
    with pytest.raises(InputError, match="one trial needs room for"):
        concurrency(request(tmp_path, 9, **asked))


def test_workers_of_one_training_do_not_share_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NCCL"):
        request(tmp_path, 9, workers=2, gpus_per_worker=0.5)


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Two CPUs and one claimed GPU; without the dashboard, which only Ray Train asks."""
    ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Look:
    """Writes down what its process was given; the last one waits until the GPU is back."""

    folder: Path
    place: int
    uses_gpu: bool = False

    def __call__(self, chunk: Chunk) -> ChunkReport:
        given = ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
        (self.folder / f"{self.place}-{chunk.index}").write_text(str(given))
        until = time.monotonic() + LONGEST_WAIT
        while self.place == 2 and chunk.index == 3 and ray.available_resources().get("GPU", 0.0) < 1:
            if time.monotonic() > until:
                raise InputError("the GPU was held while only CPUs worked")
            time.sleep(0.05)
        return ChunkReport(chunk.index, len(chunk.ids))


def test_work_on_cpus_holds_no_gpu(small: None, tmp_path: Path) -> None:
    line = [Look(tmp_path, 0, uses_gpu=True), Look(tmp_path, 1), Look(tmp_path, 2)]
    chunks = [Chunk(index, (f"a{index}",)) for index in range(4)]
    seen: list[int] = []
    RayRunner(gpus_per_worker=0.5).chunks(line, chunks, lambda place, one: seen.append(place))
    assert sorted(seen) == [0] * 4 + [1] * 4 + [2] * 4
    given = {place: {float(path.read_text()) for path in tmp_path.glob(f"{place}-*")} for place in range(3)}
    assert given == {0: {0.5}, 1: {0.0}, 2: {0.0}}


class OnShare(RayRunner):
    """Trains in a process of its own that holds a CPU and the share of a GPU. (Ray Train would need NCCL for it.)"""

    def train(self, job: TrainJob, folder: Path, on_epoch: Callable[[EpochEnd], None]) -> None:
        call = ray.remote(num_cpus=1, num_gpus=self.resources.gpus, scheduling_strategy="SPREAD")(_train)
        ray.get(call.remote(job, folder))
        for end in read_epochs(folder / METRICS):
            on_epoch(end)


def _train(job: TrainJob, folder: Path) -> None:
    LocalRunner(threads=1).train(job, folder, lambda end: None)


@pytest.mark.drill
def test_more_trials_than_the_cluster_has_room_for_end(small: None, tmp_path: Path) -> None:
    """Three trials of two chunks each, two at once, on one GPU in halves: maps hold a part of it and a CPU while the
    masks of others wait for a CPU. Nobody waits for ever."""
    events: list[StudyEvent] = []
    asked = request(tmp_path, 3, gpus_per_worker=0.5, epochs=1)
    data = DataConfig(sample=SampleConfig(train=36, val=2, size=48))
    asked = replace(asked, experiment=replace(asked.experiment, data=data), runner=OnShare(1, 0.5))
    assert concurrency(asked) == 2
    result = tune(asked, events.append)
    assert [row.state for row in result.rows] == ["complete"] * 3, [row.reason for row in result.rows]
    running = most = 0
    for event in events:
        running += isinstance(event, TrialStarted) - isinstance(event, TrialFinished)
        most = max(most, running)
    assert most == 2
    until = time.monotonic() + LONGEST_WAIT
    while (free := ray.available_resources()) != ray.cluster_resources() and time.monotonic() < until:
        time.sleep(0.2)
    assert (free.get("CPU"), free.get("GPU")) == (2, 1), "nothing is held when all trials have ended"
