"""Files of training: checkpoints with all state, and the final weights.

    <checkpoint>/state.pt       written by worker 0: model (banks included), optimiser, scaler, what the epoch said
    <checkpoint>/random-N.pt    written by worker N: its random generators
    weights.pt                  {"model", "phase", "method"} (`stages.WEIGHTS`)

All are read with weights_only=True: a checkpoint from elsewhere cannot run code.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from wsss_platform.config import MethodConfig, override
from wsss_platform.errors import InputError
from wsss_platform.method import Phase
from wsss_platform.method.module import TrainingModule
from wsss_platform.plan.jobs import EpochEnd, TrainJob
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.train.randomness import random_state, set_random_state

STATE = "state.pt"


@dataclass(frozen=True)
class Training:
    """The live objects whose state makes up a checkpoint."""

    module: TrainingModule
    optimiser: Optimizer
    scaler: GradScaler
    device: torch.device
    rank: int

    def save(self, folder: Path, end: EpochEnd, key: str) -> None:
        """Write this worker's files of a checkpoint; worker 0 also writes the shared state."""
        folder.mkdir(parents=True, exist_ok=True)
        write_torch(folder / f"random-{self.rank}.pt", random_state(self.device))
        if self.rank == 0:
            state = {
                "model": self.module.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "end": asdict(end),
                "key": key,
            }
            write_torch(folder / STATE, state)

    def load(self, folder: Path, key: str) -> EpochEnd:
        """Restore everything but the random generators; returns what its epoch said.

        Raises:
            InputError: the files are missing or damaged, or belong to another training (`key`).
        """
        state = read_torch(folder / STATE)
        if state.get("key") != key:
            raise InputError(
                f"{folder}: checkpoint of another training ({state.get('key')}, expected {key})", field=folder
            )
        self.module.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        return EpochEnd.of(state["end"])

    def load_random(self, folder: Path) -> None:
        """Restore this worker's random generators: the last thing before the loop continues."""
        set_random_state(read_torch(folder / f"random-{self.rank}.pt"), self.device)


def write_torch(path: Path, value: object) -> None:
    """`torch.save`, atomically."""
    stream = io.BytesIO()
    torch.save(value, stream)
    write_atomic(path, stream.getvalue())


def read_torch(path: Path) -> dict[str, Any]:
    """A dict of tensors and plain values on the CPU.

    Raises:
        InputError: the file is missing, damaged, holds other types than tensors and plain values, or no dict.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", field=path) from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: not a file of plain tensors: {first}", field=path) from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a dict, found a {type(value).__name__}", field=path)
    return value


def epoch_of(checkpoint: Path) -> EpochEnd:
    """What the epoch of a checkpoint said."""
    return EpochEnd.of(read_torch(checkpoint / STATE)["end"])


def export_weights(checkpoint: Path, target: Path, job: TrainJob) -> None:
    """The final weights out of a checkpoint: {"model", "phase", "method"} in `target`."""
    model = {name: value.contiguous() for name, value in read_torch(checkpoint / STATE)["model"].items()}
    write_torch(target, {"model": model, "phase": job.phase.name, "method": job.experiment.method.name})


def load_weights(module: TrainingModule, path: Path) -> None:
    """Load final weights into a training module of the same config, strictly.

    Raises:
        InputError: not a weights file, or names or shapes that do not fit (each listed).
    """
    stored = read_torch(path)
    model = stored.get("model")
    if not isinstance(model, dict) or not {"phase", "method"} <= stored.keys():
        raise InputError(f"{path}: not the weights of a training (expected model, phase and method)", field=path)
    problems = _differences(module.state_dict(), model)
    if problems:
        listed = "\n  ".join(problems[:12]) + (f"\n  and {len(problems) - 12} more" if len(problems) > 12 else "")
        source = f"method {stored['method']!r}, phase {stored['phase']!r}"
        raise InputError(f"{path} ({source}) does not fit this network:\n  {listed}", field=path)
    module.load_state_dict(model)


def trained_network(phase: Phase, config: MethodConfig, classes: int, weights: Path) -> TrainingModule:
    """A phase's network with the weights of a training or a released file. The backbone's initial weights, which those
    replace, need not be there.

    Raises:
        InputError: as `load_weights`.
    """
    module = phase.build(override(config, {"backbone.weights": "none"}), classes)
    load_weights(module, weights)
    return module


def _differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    missing = [f"missing {name}" for name in wanted if name not in found]
    unexpected = [f"unexpected {name}" for name in found if name not in wanted]
    shapes = [
        f"{name} is {list(found[name].shape)}, expected {list(value.shape)}"
        for name, value in wanted.items()
        if name in found and isinstance(value, Tensor) and found[name].shape != value.shape
    ]
    return missing + unexpected + shapes
