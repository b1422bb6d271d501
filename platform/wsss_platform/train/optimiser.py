"""The optimiser of a phase, and its learning rate over the steps."""

from __future__ import annotations

import math

from torch.optim import SGD, Adam, AdamW, Optimizer

from wsss_platform.config import TrainConfig
from wsss_platform.method.module import TrainingModule


def build_optimiser(module: TrainingModule, train: TrainConfig) -> Optimizer:
    """sgd, adam or adamw over `module.param_groups(train)`.

    Everything is passed by keyword: the WSSS code bases pass weight decay by position into the slot of
    the momentum (see `TrainConfig.momentum`).
    """
    groups = module.param_groups(train)
    match train.optimiser:
        case "sgd":
            return SGD(
                params=groups,
                lr=train.learning_rate,
                momentum=train.momentum,
                weight_decay=train.weight_decay,
                nesterov=train.nesterov,
            )
        case "adam":
            return Adam(params=groups, lr=train.learning_rate, weight_decay=train.weight_decay)
        case "adamw":
            return AdamW(params=groups, lr=train.learning_rate, weight_decay=train.weight_decay)


def schedule_factor(train: TrainConfig, step: int, steps: int) -> float:
    """What every group's learning rate is multiplied by at an optimiser step.

    Args:
        train: its `schedule`, `power`, `steps` and `epochs`.
        step: steps done before this one, 0..steps - 1.
        steps: of the whole training.

    Returns:
        0..1; poly is (1 - step/steps)^power, cosine (1 + cos(pi step/steps)) / 2, step a tenth for each epoch of
        `train.steps` that has begun.
    """
    done = step / steps
    match train.schedule:
        case "constant":
            return 1.0
        case "poly":
            return float((1 - done) ** train.power)
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "step":
            epoch = step * train.epochs // steps + 1
            return float(0.1 ** sum(first <= epoch for first in train.steps))


def in_force(optimiser: Optimizer, train: TrainConfig, step: int, steps: int) -> dict[str, float]:
    """What the live optimiser was given, by field of `TrainConfig`.

    Args:
        optimiser: after its step number `step`, counted from 0.
        train: whose schedule it follows.
        step: see above.
        steps: of the whole training.

    Returns:
        "weight_decay", of the groups that have any; "learning_rate" without what the schedule makes of it, unless
        nothing pretrained is trained (IRN): all other groups have it times factors of their own.
    """
    found = {"weight_decay": max(float(group["weight_decay"]) for group in optimiser.param_groups)}
    for group in optimiser.param_groups:  # biases may have a factor, too
        plain = any(parameter.ndim > 1 for parameter in group["params"])
        if plain and str(group.get("name", "")).startswith("pretrained"):
            found["learning_rate"] = float(group["lr"]) / schedule_factor(train, step, steps)
    return found


def pretrained_rate(optimiser: Optimizer) -> float:
    """The present learning rate of the pretrained weights; of the first group when none is called so."""
    named = [group for group in optimiser.param_groups if str(group.get("name", "")).startswith("pretrained")]
    return float((named or optimiser.param_groups)[0]["lr"])
