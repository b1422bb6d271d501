"""What crosses from the pipeline to an engine: training jobs and chunks of images, both picklable.

No Ray here. `LocalRunner` (pipeline) and `RayRunner` (engine) implement `Runner`; both must leave the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from wsss_platform.method import Phase
from wsss_platform.plan.experiment import Experiment

WEIGHTS = "weights.pt"
"""In a finished training folder: {"model": state dict, "phase": str, "method": str}, loadable with weights_only."""
METRICS = "metrics.jsonl"
"""In a training folder: one JSON line per epoch (the fields of `EpochEnd` that are plain)."""


@dataclass(frozen=True)
class TrainJob:
    """One phase to train."""

    experiment: Experiment
    phase: Phase
    key: str
    """Content key of the stage; names the Ray Train run, so that a restart resumes it."""
    reads: Mapping[str, Path] = field(default_factory=dict)
    """Earlier phase -> folder of its masks or maps artefact."""


@dataclass(frozen=True)
class EpochEnd:
    """What a finished epoch says."""

    epoch: int
    """Finished epochs, from 1."""
    epochs: int
    step: int
    """Optimiser steps done."""
    losses: Mapping[str, float]
    """Mean of each unweighted term over the epoch and all workers, and "total" (weighted)."""
    learning_rate: float
    """Of the pretrained group, at the last step."""
    images_per_second: float
    """Over all workers."""
    seconds: float
    """Of this epoch."""
    applied: Mapping[str, Any]
    """`TrainingModule.applied()` and the loss weights in force."""
    memory: float
    """Peak of this worker (of the first one, where several train) since it began, GiB; see `train.peak_memory`."""

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """What a record or a checkpoint says. Those of earlier versions have other names for images."""
        return cls(**{name.replace("pictures", "images"): value for name, value in said.items()})


@dataclass(frozen=True)
class Chunk:
    """Images that are produced, written and retried together."""

    index: int
    ids: tuple[str, ...]
    skip: tuple[tuple[str, str], ...] = ()
    """(image id, reason) of those that are not tried: their processing killed the worker too often."""


@dataclass(frozen=True)
class ChunkReport:
    """What became of a chunk."""

    index: int
    images: int
    failures: tuple[tuple[str, str], ...] = ()
    """(image id, reason)."""


ChunkWork = Callable[[Chunk], ChunkReport]
"""Picklable; builds its network or readers on the first call and keeps them. Writes its output under
temporary names and renames, and returns at once when the chunk's output exists already."""


@runtime_checkable
class NamesImage(Protocol):
    """Work that can say, after its process died, at which image it was."""

    def working_on(self, chunk: Chunk) -> str | None:
        """The image of the chunk that was begun and not finished; None when there is none."""
        ...


class ChunkRunner(Protocol):
    """Where images are worked on, and how many at once; never what is computed."""

    def chunks(
        self, line: Sequence[ChunkWork], chunks: Sequence[Chunk], on_chunk: Callable[[int, ChunkReport], None]
    ) -> None:
        """Send every chunk through a line of works, one behind the other: a chunk comes to the next work when the
        one before has finished it, whatever becomes of the other chunks, which go in any order.

        `on_chunk` is called once per work and chunk with the work's place in the line.

        Raises:
            RunError: a chunk whose worker died repeatedly without an image to blame (named by its ids).
        """
        ...


class Runner(ChunkRunner, Protocol):
    """The same of trainings, too."""

    def train(self, job: TrainJob, folder: Path, on_epoch: Callable[[EpochEnd], None]) -> None:
        """Train a phase, resuming from what `folder` holds, and leave WEIGHTS and METRICS in `folder`.

        Raises:
            RunError: a loss that is not finite (step, term, image ids), or workers lost too often.
        """
        ...
