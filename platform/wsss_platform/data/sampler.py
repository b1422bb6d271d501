"""Which images each worker sees at each step: a function of (seed, epoch, step, rank) and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError

Key = tuple[int, int]
"""(epoch, image index): what `TrainViews` is asked for."""


class EpochSampler:
    """A batch sampler for one rank. A step's `batch` images are split into `world` equal, contiguous
    shares in rank order, so that the shares put together are the one-process batch.

    The last incomplete batch is filled from the start of the same epoch's order: every rank has the same
    number of steps and every image is seen in every epoch.

        sampler.at(epoch, step)   # where to continue (0, 0 at first)
        for views in DataLoader(train_views, batch_sampler=sampler, collate_fn=collate): ...
    """

    def __init__(self, length: int, batch: int, seed: int, rank: int = 0, world: int = 1) -> None:
        """
        Args:
            length: images in the split, at least 1.
            batch: images per optimiser step over all ranks.
            seed: of the run, not negative.
            rank: this worker, 0..world-1.
            world: number of workers.

        Raises:
            InputError: the batch cannot be split evenly, or the split is empty.
        """
        if length < 1:
            raise InputError("the training split is empty", field="data.train_list")
        if batch < 1 or batch % world:
            raise InputError(
                f"train.batch: {batch} images cannot be split evenly over {world} workers", field="train.batch"
            )
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self.length, self.batch, self.seed, self.rank, self.world = length, batch, seed, rank, world
        self._epoch, self._step = 0, 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch, the same on every rank."""
        return -(-self.length // self.batch)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Image indices of one epoch over all ranks, int64 [steps_per_epoch * batch]."""
        shuffled = np.random.default_rng((self.seed, epoch)).permutation(self.length)
        return np.resize(shuffled, self.steps_per_epoch * self.batch).astype(np.int64)

    def at(self, epoch: int, step: int = 0) -> EpochSampler:
        """Make the next iteration start at `step` (0..steps_per_epoch) of `epoch`; returns itself."""
        if epoch < 0 or not 0 <= step <= self.steps_per_epoch:
            raise ValueError(f"epoch {epoch}, step {step} of {self.steps_per_epoch}")
        self._epoch, self._step = epoch, step
        return self

    def __len__(self) -> int:
        """Steps that the next iteration gives."""
        return self.steps_per_epoch - self._step

    def __iter__(self) -> Iterator[list[Key]]:
        """The remaining steps of the epoch that `at` chose, each as this rank's keys."""
        epoch, order, share = self._epoch, self.order(self._epoch), self.batch // self.world
        for step in range(self._step, self.steps_per_epoch):
            start = step * self.batch + self.rank * share
            yield [(epoch, int(index)) for index in order[start : start + share]]
