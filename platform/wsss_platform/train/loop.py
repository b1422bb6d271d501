"""The training loop of one worker. It yields at the end of each epoch; who calls it decides what to keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast
from torch.amp.grad_scaler import GradScaler

from wsss_platform.config import TrainConfig
from wsss_platform.errors import RunError
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.cpu.memory import keep_freed_memory
from wsss_platform.plan.jobs import EpochEnd, TrainJob
from wsss_platform.train.batches import batches
from wsss_platform.train.checkpoint import Training
from wsss_platform.train.optimiser import build_optimiser, in_force, pretrained_rate, schedule_factor
from wsss_platform.train.peak_memory import PeakMemory
from wsss_platform.train.randomness import seed_everything

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Save = Callable[[Path], None]
"""Writes this worker's part of a checkpoint with all state into a folder; every worker must call it."""


def train_phase(
    job: TrainJob,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | None = None,
    wrap: Callable[[TrainingModule], nn.Module] = lambda module: module,
    checkpoint: Path | None = None,
    loaders: int = 0,
    before_step: Callable[[], None] = lambda: None,
) -> Iterator[tuple[EpochEnd, Save]]:
    """Train a phase; yields (what the epoch says, how to save all state) at each epoch's end.

    Continued from a checkpoint it gives the losses of an uninterrupted run, bit by bit on one CPU worker
    with the same number of threads. With `world` > 1 torch.distributed must be initialised; the workers'
    shares of a step make up the batch that one worker would see.

    Args:
        job: what to train.
        rank: of this worker, 0..world-1.
        world: number of workers.
        device: default CPU.
        wrap: puts the training module into DistributedDataParallel.
        checkpoint: folder that an earlier `Save` wrote; None starts from the beginning.
        loaders: processes that read images ahead; results do not depend on it.
        before_step: called before each step; may raise to end the training.

    Raises:
        RunError: a term or the total is not finite (on every worker, before the optimiser's step), or the
            training module's terms are not those of the loss section.
        InputError: an image that cannot be read, a batch that `world` does not divide, a wrong checkpoint.
    """
    device = device or torch.device("cpu")
    if device.type == "cpu":
        keep_freed_memory()
    experiment, phase = job.experiment, job.phase
    train = experiment.train_config(phase)
    peak = PeakMemory(device)
    seed_everything(experiment.seed)  # the same initial weights on every worker
    module = phase.build(experiment.config, len(experiment.dataset.classes)).to(device)
    if train.channels_last:
        module.to(memory_format=torch.channels_last)
    optimiser = build_optimiser(module, train)
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    scaler = GradScaler(device.type, enabled=train.precision == "float16")
    training = Training(module, optimiser, scaler, device, rank)
    last = training.load(checkpoint, job.key) if checkpoint else None
    first, step = (last.epoch, last.step) if last else (0, 0)
    model = wrap(module)
    module.train()
    per_epoch, stream = batches(job, first=first, rank=rank, world=world, device=device, loaders=loaders)
    steps = _Steps(job, training, model, rates, per_epoch * train.epochs, world)
    seed_everything(experiment.seed + 1_000_003 * rank)  # other noise on every worker
    if checkpoint:
        training.load_random(checkpoint)

    for epoch in range(first + 1, train.epochs + 1):
        started = time.monotonic()
        sums = torch.zeros(len(steps.names), dtype=torch.float64, device=device)
        for _ in range(per_epoch):
            before_step()
            sums += steps.take(step, next(stream))
            step += 1
        if world > 1:
            distributed.all_reduce(sums)
        seconds = time.monotonic() - started
        end = EpochEnd(
            epoch=epoch,
            epochs=train.epochs,
            step=step,
            losses=dict(zip(steps.names, (sums / (per_epoch * world)).tolist(), strict=True)),
            learning_rate=pretrained_rate(optimiser),
            images_per_second=train.batch * per_epoch / seconds,
            seconds=seconds,
            applied={**steps.applied(step - 1), f"{phase.train}.epochs": steps.number // per_epoch},
            memory=round(peak.gibibytes(), 4),
        )
        yield end, _saver(training, end, job.key)


@dataclass(frozen=True)
class _Steps:
    """The optimiser's steps of one worker."""

    job: TrainJob
    training: Training
    model: nn.Module
    """The training module, as `wrap` left it."""
    rates: list[float]
    """Of the optimiser's groups, before any schedule."""
    number: int
    """Of steps in the whole training."""
    world: int

    @cached_property
    def train(self) -> TrainConfig:
        return self.job.experiment.train_config(self.job.phase)

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """Of the loss terms."""
        return self.job.experiment.loss_weights(self.job.phase)

    @cached_property
    def names(self) -> list[str]:
        """Of what a step returns."""
        return [*self.weights, "total"]

    def take(self, step: int, batch: Batch) -> Tensor:
        """One step, counted from 0; returns this worker's terms and their total, float32 [len(names)]."""
        training, train, device = self.training, self.train, self.training.device
        batch = batch.to(device, channels_last=train.channels_last)
        for group, rate in zip(training.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * schedule_factor(train, step, self.number)
        training.optimiser.zero_grad(set_to_none=True)
        terms, total = _forward(self.model, batch, step / self.number, train, self.weights, device)
        values = torch.stack([*(terms[name].detach().float() for name in self.weights), total.detach()])
        _check_finite(step + 1, self.names, values, batch.ids, self.world)
        training.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        training.scaler.step(training.optimiser)
        training.scaler.update()
        training.module.after_step()
        return values

    def applied(self, step: int) -> dict[str, Any]:
        """The settings in force at a step, by dotted path."""
        phase = self.job.phase
        used = in_force(self.training.optimiser, self.train, step, self.number)
        return {
            **self.training.module.applied(),
            **{f"{phase.loss}.{name}": weight for name, weight in self.weights.items()},
            **{f"{phase.train}.{name}": value for name, value in used.items()},
        }


def _saver(training: Training, end: EpochEnd, key: str) -> Save:
    return lambda folder: training.save(folder, end, key)


def _forward(
    model: nn.Module,
    batch: Batch,
    progress: float,
    train: TrainConfig,
    weights: Mapping[str, float],
    device: torch.device,
) -> tuple[dict[str, Tensor], Tensor]:
    """The terms of a step, and their weighted sum in float32."""
    with autocast(device.type, dtype=_TYPES[train.precision], enabled=train.precision != "float32"):
        terms: dict[str, Tensor] = model(batch, progress)
    if terms.keys() != weights.keys():
        raise RunError(
            f"the loss terms {sorted(terms)} are not the weights of the loss section {sorted(weights)}; "
            "every term needs a weight, and every weight a term"
        )
    for name, term in terms.items():
        if term.ndim:
            raise RunError(f"loss term {name!r} has shape {list(term.shape)}; expected a scalar")
    total = torch.zeros((), device=device)
    for name, weight in weights.items():
        total = total + weight * terms[name].float()
    return terms, total


def _check_finite(step: int, names: list[str], values: Tensor, ids: list[str], world: int) -> None:
    """RunError on every worker when a value is not finite on any of them.

    Args:
        step: counted from 1.
        names: of the values.
        values: float32 [len(names)], this worker's terms and their total.
        ids: this worker's images of the step.
        world: number of workers.
    """
    wrong = (~torch.isfinite(values)).any().to(torch.int32)
    if world > 1:
        distributed.all_reduce(wrong, op=distributed.ReduceOp.MAX)
    if not wrong.item():
        return
    mine = (values.tolist(), ids)
    everyone = [mine]
    if world > 1:
        everyone = [mine] * world
        distributed.all_gather_object(everyone, mine)
    for position, name in enumerate(names):
        for theirs, images in everyone:
            value = theirs[position]
            if value - value != 0:  # nan or infinite
                raise RunError(f"step {step}: loss term {name!r} is {value}; images: {', '.join(images)}")
    raise AssertionError("a value was not finite and then was")
