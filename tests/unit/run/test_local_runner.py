import dataclasses
from pathlib import Path

import pytest

from tiny_method import Trouble, tiny_job
from wsss_platform.config import TrainConfig
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.jobs import METRICS, WEIGHTS, Chunk, ChunkReport, EpochEnd
from wsss_platform.run.local_runner import CHECKPOINTS, LocalRunner
from wsss_platform.train.checkpoint import load_weights
from wsss_platform.train.record import read_epochs


def test_an_interrupted_training_goes_on_and_leaves_the_same_bytes(tmp_path: Path) -> None:
    job = tiny_job(train=TrainConfig(epochs=5, batch=4, crop=48, checkpoint_every=2))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    LocalRunner().train(job, whole, lambda end: None)

    def stop(end: EpochEnd) -> None:
        if end.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalRunner().train(job, parts, stop)
    assert [path.name for path in (parts / CHECKPOINTS).iterdir()] == ["epoch-000002"]
    (parts / CHECKPOINTS / ".abandoned.tmp").mkdir()
    seen: list[EpochEnd] = []
    LocalRunner().train(job, parts, seen.append)
    assert [end.epoch for end in seen] == [1, 2, 3, 4, 5]
    assert (parts / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    recorded = read_epochs(parts / METRICS)
    assert [end.losses for end in recorded] == [end.losses for end in read_epochs(whole / METRICS)]
    assert sorted(path.name for path in parts.iterdir()) == sorted([WEIGHTS, METRICS])
    experiment = job.experiment
    load_weights(job.phase.build(experiment.config, len(experiment.dataset.classes)), parts / WEIGHTS)


def test_a_failed_training_raises_and_leaves_no_weights(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="step 2: loss term 'contrast' is nan"):
        LocalRunner().train(tiny_job(trouble=Trouble(nan_step=1)), tmp_path, lambda end: None)
    assert not (tmp_path / WEIGHTS).exists()


def test_one_process_refuses_an_experiment_of_two_workers(tmp_path: Path) -> None:
    job = tiny_job()
    job = dataclasses.replace(job, experiment=dataclasses.replace(job.experiment, workers=2))
    with pytest.raises(InputError, match="1 worker, got 2"):
        LocalRunner().train(job, tmp_path, lambda end: None)


def test_chunks_are_reported_once_per_work() -> None:
    chunks = [Chunk(index, (f"p{index}",)) for index in range(3)]
    reports: list[tuple[int, int]] = []

    def work(chunk: Chunk) -> ChunkReport:
        return ChunkReport(chunk.index, len(chunk.ids))

    LocalRunner().chunks([work, work], chunks, lambda place, report: reports.append((place, report.index)))
    assert sorted(reports) == [(place, index) for place in (0, 1) for index in range(3)]
