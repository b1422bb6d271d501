"""What one training may ask of a cluster."""

from __future__ import annotations

from wsss_platform.errors import InputError


def check_gpu_share(workers: int, gpus_per_worker: float) -> None:
    """Refuse shares of GPUs with which a training cannot work.

    Raises:
        InputError: several workers on parts of a GPU, or more than one GPU that are no whole number.
    """
    if gpus_per_worker > 1 and gpus_per_worker != int(gpus_per_worker):
        raise InputError(
            f"GPUs per worker: {gpus_per_worker:g}; above 1 expected a whole number", field="--gpus-per-worker"
        )
    if workers > 1 and 0 < gpus_per_worker < 1:
        raise InputError(
            f"GPUs per worker: {gpus_per_worker:g} with {workers} workers; expected 1 or more, because NCCL "
            "refuses two workers of one training on the same GPU (a share of a GPU is for trials of one worker)",
            field="--gpus-per-worker",
        )
