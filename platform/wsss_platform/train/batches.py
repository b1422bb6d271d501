"""The batches of one worker: views of the training split, with what earlier phases made of each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from wsss_platform.data.palette import mask_file
from wsss_platform.data.reading import read_mask
from wsss_platform.data.sampler import EpochSampler, Key
from wsss_platform.data.split import Split
from wsss_platform.data.views import Reader, TrainViews, View, collate
from wsss_platform.errors import InputError
from wsss_platform.method.module import Batch
from wsss_platform.plan.jobs import TrainJob


def batches(
    job: TrainJob, *, first: int, rank: int, world: int, device: torch.device, loaders: int
) -> tuple[int, Iterator[Batch]]:
    """Steps per epoch, and this worker's batches of all epochs from `first` (0-based) to the last.

    What a batch holds is a function of (seed, epoch, step, rank, world); `loaders` changes only the speed.

    Args:
        job: whose list, views and seed.
        first: epochs done already.
        rank: of this worker.
        world: number of workers.
        device: batches for CUDA are pinned.
        loaders: loader processes; 0 reads in this process.

    Raises:
        InputError: (while iterating) an image or an earlier phase's output cannot be read.
    """
    experiment = job.experiment
    train = experiment.train_config(job.phase)
    split = experiment.dataset.split(experiment.data.train_list)
    views = TrainViews(split, train, readers(job, split), experiment.seed)
    sampler = EpochSampler(len(views), train.batch, experiment.seed, rank, world)
    loader: DataLoader[View | InputError] = DataLoader(
        _Careful(views),
        batch_sampler=_Epochs(sampler, first, train.epochs),
        collate_fn=_collate,
        num_workers=loaders,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # its own, so that making an iterator draws nothing from the global one
    )
    return sampler.steps_per_epoch, _batches(loader)


def readers(job: TrainJob, split: Split) -> dict[str, Reader]:
    """By earlier phase: what gives an image's mask or maps out of that phase's artefact; and the phase's extras."""
    made: dict[str, Reader] = {}
    for name, what in job.phase.reads.items():
        if name not in job.reads:
            raise InputError(f"phase {job.phase.name!r} reads the {what} of phase {name!r}, and none were given")
        made[name] = MaskReader(job.reads[name]) if what == "masks" else DenseMaps(job.reads[name], len(split.classes))
    if "saliency" in job.phase.extras:
        made["saliency"] = SaliencyReader(split)
    return made


@dataclass(frozen=True)
class MaskReader:
    """Masks of an artefact: image id -> uint8 [H, W]."""

    folder: Path

    def __call__(self, image: str) -> NDArray[np.uint8]:
        """InputError naming the file when it is missing or damaged."""
        return read_mask(mask_file(self.folder, image))


@dataclass(frozen=True)
class SaliencyReader:
    """Saliency of a split: image id -> float32 [1, H, W] in 0..1."""

    split: Split

    def __call__(self, image: str) -> NDArray[np.float32]:
        """InputError naming the file when it is missing or damaged."""
        return self.split.saliency(image)[None].astype(np.float32) / np.float32(255)


class DenseMaps:
    """Maps of an artefact: image id -> float32 [C, H, W], 0 for classes that are not in the image."""

    def __init__(self, folder: Path, classes: int) -> None:
        from wsss_platform.maps.storage import MapReader

        self.stored, self.classes = MapReader(folder), classes

    def __call__(self, image: str) -> NDArray[np.float32]:
        """InputError when the artefact has no maps of this image."""
        from wsss_platform.maps.storage import full_size

        item = self.stored[image]
        dense = np.zeros((self.classes, item.height, item.width), np.float32)
        dense[item.classes] = full_size(item)
        return dense


class _Epochs(Sampler[list[Key]]):
    """Epoch after epoch, so that loader processes live, and read ahead, across their boundaries."""

    def __init__(self, sampler: EpochSampler, first: int, epochs: int) -> None:
        self.sampler, self.first, self.epochs = sampler, first, epochs

    def __iter__(self) -> Iterator[list[Key]]:
        for epoch in range(self.first, self.epochs):
            yield from self.sampler.at(epoch)


class _Careful(Dataset["View | InputError"]):
    """Hands an image's InputError on as an item: a loader process would bury it in a traceback."""

    def __init__(self, views: TrainViews) -> None:
        self.views = views

    def __getitem__(self, key: Key) -> View | InputError:
        try:
            return self.views[key]
        except InputError as error:
            return error


def _collate(items: Sequence[View | InputError]) -> Batch | InputError:
    failed = [item for item in items if isinstance(item, InputError)]
    return failed[0] if failed else collate(cast("Sequence[View]", items))


def _batches(loader: DataLoader[Any]) -> Iterator[Batch]:
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch
