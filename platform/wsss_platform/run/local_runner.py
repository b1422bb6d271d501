"""`LocalRunner`: everything in this process, one thing after the other. No Ray."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from wsss_platform.errors import InputError
from wsss_platform.plan.jobs import METRICS, WEIGHTS, Chunk, ChunkReport, ChunkWork, EpochEnd, TrainJob
from wsss_platform.train.checkpoint import epoch_of, export_weights
from wsss_platform.train.loop import Save, train_phase
from wsss_platform.train.record import append_epoch, read_epochs, restart_record

CHECKPOINTS = "checkpoints"
"""In a training folder: `epoch-NNNNNN/`, the last one only; removed when the training is finished."""


class LocalRunner:
    """A `stages.Runner` of one worker. It leaves the same bytes as Ray with one worker and as many threads."""

    def __init__(self, threads: int | None = None, loaders: int = 0) -> None:
        """
        Args:
            threads: of torch; None leaves its setting alone. Sums are rounded differently with another number.
            loaders: processes that read training images ahead.
        """
        self.threads, self.loaders = threads, loaders

    def train(self, job: TrainJob, folder: Path, on_epoch: Callable[[EpochEnd], None]) -> None:
        """See `stages.Runner.train`. Resumes from the last checkpoint in `folder`; epochs of an earlier
        attempt are reported first, so `on_epoch` sees each epoch once and in order."""
        if job.experiment.workers != 1:
            raise InputError(
                f"workers: one process trains with 1 worker, got {job.experiment.workers}", field="workers"
            )
        if self.threads:
            torch.set_num_threads(self.threads)
        train = job.experiment.train_config(job.phase)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        last = _last_checkpoint(folder / CHECKPOINTS)
        restart_record(folder / METRICS, epoch_of(last) if last else None)
        for end in read_epochs(folder / METRICS):
            on_epoch(end)
        for end, save in train_phase(job, device=device, checkpoint=last, loaders=self.loaders):
            if end.epoch % train.checkpoint_every == 0 or end.epoch == end.epochs:
                last = _commit(folder / CHECKPOINTS, end.epoch, save)
            append_epoch(folder / METRICS, end)
            on_epoch(end)
        assert last is not None  # there is at least one epoch, and the last one is always saved
        export_weights(last, folder / WEIGHTS, job)
        shutil.rmtree(folder / CHECKPOINTS)

    def chunks(
        self, line: Sequence[ChunkWork], chunks: Sequence[Chunk], on_chunk: Callable[[int, ChunkReport], None]
    ) -> None:
        """See `stages.Runner.chunks`: in order, in this process."""
        for chunk in chunks:
            for place, work in enumerate(line):
                on_chunk(place, work(chunk))


def _last_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob("epoch-*"), default=None)


def _commit(folder: Path, epoch: int, save: Save) -> Path:
    """Save under a temporary name, rename, and only then drop what came before."""
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    save(temporary)
    final = folder / f"epoch-{epoch:06d}"
    temporary.rename(final)
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other)
    return final
