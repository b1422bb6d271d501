"""A phase on Ray Train: DDP workers, committed checkpoints, restart after a lost worker or driver."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wsss_platform.engine.errors import last_line
from wsss_platform.errors import InputError, RunError
from wsss_platform.method.module import TrainingModule
from wsss_platform.plan.jobs import METRICS, WEIGHTS, EpochEnd, TrainJob
from wsss_platform.store.disk import UNWRITABLE
from wsss_platform.train.checkpoint import STATE, epoch_of, export_weights
from wsss_platform.train.loop import train_phase
from wsss_platform.train.record import append_epoch, read_epochs, restart_record

RAY_FOLDER = "ray"
"""In a training folder: Ray Train's own records and checkpoints; removed when the training is finished."""
STOP = "stop"
"""In that folder: asks the workers to end."""
POLL = 0.2
"""Seconds between two readings of the record of epochs."""


@dataclass(frozen=True)
class WorkerResources:
    """Of each training worker."""

    cpus: int = 1
    """Also torch's threads."""
    gpus: float = 0.0
    """0 trains on the CPU."""

    @property
    def loaders(self) -> int:
        """Processes that read images ahead: none beside a single CPU; a GPU waits for more."""
        return min(8 if self.gpus else 2, self.cpus - 1)


def train_on_ray(
    job: TrainJob,
    folder: Path,
    workers: int,
    resources: WorkerResources,
    on_epoch: Callable[[EpochEnd], None],
    max_failures: int = 3,
) -> None:
    """Train a phase on the connected cluster; leaves WEIGHTS and METRICS in `folder`.

    The Ray Train run is named after the job's key and lives in `folder`, which every node must see: called
    again after a crash of this process it continues from the last committed checkpoint. `on_epoch` is called
    in this thread, for each epoch once and in order, epochs of an earlier attempt included.

    Args:
        job: what to train.
        folder: of this training only.
        workers: processes; must be `job.experiment.workers`, which is part of the key.
        resources: of each worker.
        on_epoch: gets each epoch as it ends; an exception of it ends the training and is raised here.
        max_failures: workers may be lost this often.

    Raises:
        InputError, RunError: as raised by the loop on a worker; such a training is not repeated.
        RunError: workers were lost more than `max_failures` times, or another exception ended one.
    """
    if workers != job.experiment.workers:
        raise InputError(
            f"workers: the experiment says {job.experiment.workers}, the runner {workers}", field="workers"
        )
    folder = folder.resolve()
    trainer = TorchTrainer(
        _worker(job, folder, resources),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {}),
        ),
        run_config=RunConfig(
            name=f"train-{job.key}",  # without method or phase: a plain CAM phase goes on under another one's name
            storage_path=str(folder / RAY_FOLDER),
            failure_config=FailureConfig(max_failures=max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            callbacks=[_StopAtOurErrors()],  # type: ignore[list-item]  # annotated for Train V1
        ),
    )
    _fit(trainer, folder, on_epoch)
    shutil.rmtree(folder / RAY_FOLDER)


def _worker(job: TrainJob, folder: Path, resources: WorkerResources) -> Callable[[], None]:
    """The training function of a worker, with all it needs in its closure."""

    def train() -> None:
        torch.set_num_threads(resources.cpus)
        context = ray.train.get_context()
        rank, world = context.get_world_rank(), context.get_world_size()
        every = job.experiment.train_config(job.phase).checkpoint_every
        device = get_device()
        committed = ray.train.get_checkpoint()
        start = Path(committed.path) if committed else None  # in `folder`, a file system that all nodes share
        if rank == 0:
            last = epoch_of(start) if start else None
            restart_record(folder / METRICS, last)
            if start and last and last.epoch == last.epochs:  # the kill came after the last checkpoint
                export_weights(start, folder / WEIGHTS, job)
        for end, save in train_phase(
            job,
            rank=rank,
            world=world,
            device=device,
            wrap=_wrapper(world, device),
            checkpoint=start,
            loaders=resources.loaders,
            before_step=lambda: _check_stop(folder),
        ):
            finished = end.epoch == end.epochs
            if finished or end.epoch % every == 0:
                with tempfile.TemporaryDirectory() as temporary:
                    save(Path(temporary))
                    if finished and rank == 0:
                        export_weights(Path(temporary), folder / WEIGHTS, job)
                    checkpoint = Checkpoint.from_directory(temporary)
                    name = _checkpoint_name(end.epoch)
                    ray.train.report({"epoch": end.epoch}, checkpoint, checkpoint_dir_name=name)
            if rank == 0:
                append_epoch(folder / METRICS, end)

    return train


def _checkpoint_name(epoch: int) -> str:
    return f"epoch-{epoch:06d}"


def checkpoint_of(folder: Path, epoch: int) -> Path | None:
    """The checkpoint of an epoch of an unfinished training, for `export_weights`.

    It is there when `on_epoch` is called for its epoch, if `train.checkpoint_every` divides the epoch, and
    until two later ones have been committed.
    """
    found = [path.parent for path in folder.glob(f"{RAY_FOLDER}/*/{_checkpoint_name(epoch)}/{STATE}")]
    return found[0] if found else None


def _check_stop(folder: Path) -> None:
    if (folder / RAY_FOLDER / STOP).exists():
        raise RunError("stopped by the caller")


def _wrapper(world: int, device: torch.device) -> Callable[[TrainingModule], nn.Module]:
    """Buffers are not broadcast at each step: what a training module keeps over the whole batch it gathers itself."""
    if world == 1:
        return lambda module: module
    devices = [device] if device.type == "cuda" else None
    return lambda module: DistributedDataParallel(module, device_ids=devices, forward_sync_buffers=False)


class _StopAtOurErrors(UserCallback):
    """Ends the run at an InputError or RunError, or when the disk is full, which a restart would only repeat.

    Ray Train restarts workers after any exception; one of this callback ends the run (a ControllerError).
    """

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Called on Ray Train's controller."""
        ours = _ours(worker_exceptions)
        if ours is not None:
            raise ours


def _ours(worker_exceptions: Mapping[int, Exception]) -> InputError | RunError | None:
    for _, error in sorted(worker_exceptions.items()):
        raised = getattr(error, "_base_exc", error)  # Ray wraps what a worker raised together with its traceback
        if isinstance(raised, InputError | RunError):
            return raised
        if isinstance(raised, OSError) and raised.errno in UNWRITABLE:
            return RunError(str(raised))
    return None


def _fit(trainer: TorchTrainer, folder: Path, on_epoch: Callable[[EpochEnd], None]) -> None:
    """Run the trainer in a thread and follow its record in this one.

    An exception of `on_epoch` ends the training within a step and is raised once its resources are free.
    """
    stop = folder / RAY_FOLDER / STOP
    stop.unlink(missing_ok=True)
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001  # handed to the caller's thread below
            failures.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    follower = _Follower(folder / METRICS, on_epoch)
    try:
        while thread.is_alive():
            thread.join(POLL)
            follower.look()
        follower.look()
    except Exception:
        with contextlib.suppress(OSError):  # on a full disk the workers end by themselves
            stop.touch()
        thread.join()
        raise
    if failures:
        raise _plain(failures[0]) from None


def _plain(error: BaseException) -> BaseException:
    """Ray's error as ours: the message that was raised, without the controller's and the worker's tracebacks."""
    if isinstance(error, ControllerError) and isinstance(error.controller_failure, InputError | RunError):
        return error.controller_failure
    if isinstance(error, WorkerGroupError):
        return RunError("; ".join(f"worker {rank}: {last_line(e)}" for rank, e in error.worker_failures.items()))
    return RunError(f"training failed: {last_line(error)}") if isinstance(error, TrainingFailedError) else error


class _Follower:
    """Reports each epoch of a record once, in order, however often a restart repeats it."""

    def __init__(self, path: Path, on_epoch: Callable[[EpochEnd], None]) -> None:
        self.path, self.on_epoch, self.seen = path, on_epoch, 0

    def look(self) -> None:
        """Report what is new."""
        for end in read_epochs(self.path):
            if end.epoch == self.seen + 1:
                self.seen += 1
                self.on_epoch(end)
