"""`RayRunner`: the `stages.Runner` on a Ray cluster. Works on the driver and inside a Tune trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wsss_platform.engine.cluster import total_resources
from wsss_platform.engine.producer import run_chunks
from wsss_platform.engine.trainer import WorkerResources, train_on_ray
from wsss_platform.plan.jobs import Chunk, ChunkReport, ChunkWork, EpochEnd, TrainJob
from wsss_platform.plan.resources import check_gpu_share


class RayRunner:
    """Training in `workers` processes, chunks in `actors` processes. Ray must be connected (`cluster.connect`)."""

    def __init__(
        self,
        workers: int = 1,
        gpus_per_worker: float = 0.0,
        cpus_per_worker: int = 1,
        actors: int | None = None,
        max_failures: int = 3,
    ) -> None:
        """
        Args:
            workers: training processes; `Experiment.workers` of the jobs must be the same number.
            gpus_per_worker: also of each chunk actor whose work `uses_gpu` (an attribute of the work).
            cpus_per_worker: also torch's threads, and all but one of them as loader processes; a chunk
                actor has one CPU.
            actors: chunk processes at most; default as many as the cluster's CPUs (or GPUs) allow.
            max_failures: how often a training may lose workers before it is given up.

        Raises:
            InputError: a share of a GPU with which these workers cannot train.
        """
        check_gpu_share(workers, gpus_per_worker)
        self.workers, self.actors, self.max_failures = workers, actors, max_failures
        self.resources = WorkerResources(cpus_per_worker, gpus_per_worker)

    def train(self, job: TrainJob, folder: Path, on_epoch: Callable[[EpochEnd], None]) -> None:
        """See `stages.Runner.train`."""
        train_on_ray(job, folder, self.workers, self.resources, on_epoch, self.max_failures)

    def chunks(
        self, line: Sequence[ChunkWork], chunks: Sequence[Chunk], on_chunk: Callable[[int, ChunkReport], None]
    ) -> None:
        """See `stages.Runner.chunks`. Works that use a GPU and works that do not run beside each other."""
        shares = [self.resources.gpus if getattr(work, "uses_gpu", False) else 0.0 for work in line]
        total = total_resources()
        actors = self.actors or max(1, int(total.get("GPU", 0) / (max(shares, default=0) or 1) + 1e-9))
        processes = self.actors or max(1, int(total.get("CPU", 1)))
        run_chunks(line, chunks, on_chunk, processes=processes, actors=actors, gpus=shares)
