"""Two workers with half of the batch each train plain CAM and DRS's classifier as one worker with all of it does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from short_training import short_job, train, train_beside
from two_workers import leave
from wsss_platform.plan.jobs import TrainJob
from wsss_platform.train.checkpoint import STATE, read_torch

pytestmark = pytest.mark.slow

LEARNING = {"train.optimiser": "sgd", "train.learning_rate": 1e-2}
METHODS = ("cam", "drs")


def job(name: str) -> TrainJob:
    """Of its first phase."""
    last = short_job(name, LEARNING)
    first = next(stage for stage in last.experiment.stages if stage.kind == "train")
    return TrainJob(last.experiment, first.phase, first.key)


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for name in METHODS:
        losses = train_beside(rank, job(name), Path(folder) / name)
        torch.save(losses, f"{folder}/{name}-{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cam-workers")
    torch.multiprocessing.spawn(_worker, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_a_training_of_two_workers_is_that_of_one(name: str, shared: Path, tmp_path: Path) -> None:
    alone = train(job(name), tmp_path)
    assert alone[0] != alone[2]
    for rank in range(2):
        for mine, theirs in zip(torch.load(shared / f"{name}-{rank}.pt", weights_only=True), alone, strict=True):
            assert mine == pytest.approx(theirs, rel=2e-3, abs=1e-5)
    together, wanted = (read_torch(folder / "3" / STATE)["model"] for folder in (shared / name, tmp_path))
    torch.testing.assert_close(together, wanted, rtol=1e-3, atol=1e-4)
