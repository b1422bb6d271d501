"""Where stages run: in this process, or on Ray, which is started only when a stage has to run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from wsss_platform.errors import InputError
from wsss_platform.plan.jobs import Runner

log = logging.getLogger(__name__)


@contextmanager
def runner(
    *, local: bool, workers: int, gpus_per_worker: float | None, producers: int | None = None
) -> Iterator[Runner]:
    """A runner for as long as it is open.

    Args:
        local: this process, without Ray.
        workers: training processes.
        gpus_per_worker: None for what the cluster has.
        producers: processes for maps, masks and counts; None for as many as the cluster has room for.

    Raises:
        InputError: more workers than the cluster can place.
    """
    if local:
        from wsss_platform.run.local_runner import LocalRunner

        if workers > 1:
            raise InputError(f"--local runs one process; expected --workers 1, got {workers}")
        yield LocalRunner()
        return
    from wsss_platform.engine.cluster import connect
    from wsss_platform.engine.runner import RayRunner

    log.info("starting Ray")
    with connect() as cluster:
        gpus = default_gpus(gpus_per_worker, cluster.gpus)
        check_resources(workers, gpus, cluster.cpus, cluster.gpus)
        cpus = cluster.cpus_for(workers)
        yield RayRunner(workers=workers, gpus_per_worker=gpus, cpus_per_worker=cpus, actors=producers)


def default_gpus(gpus_per_worker: float | None, available: float) -> float:
    """One GPU per worker when the cluster has any, else none."""
    if gpus_per_worker is not None:
        return gpus_per_worker
    return 1.0 if available else 0.0


def check_resources(workers: int, gpus_per_worker: float, cpus: float, gpus: float) -> None:
    """Refuse at once what would wait for ever."""
    if workers > cpus:
        raise InputError(f"--workers {workers}: the cluster has {cpus:g} CPUs, one is needed per worker")
    if workers * gpus_per_worker > gpus:
        raise InputError(f"--workers {workers} x --gpus-per-worker {gpus_per_worker:g}: the cluster has {gpus:g} GPUs")
