"""A trained network, made ready for inference."""

from __future__ import annotations

import torch

from wsss_platform.method.objective import Objective
from wsss_platform.nets.cpu.winograd import quicken


def prepared(objective: Objective, device: torch.device, channels_last: bool = True) -> Objective:
    """Take over `objective`: moved to `device`, in eval mode, and on a CPU its large convolutions made
    quicker. It cannot be trained after it.

    Args:
        objective: the trained network.
        device: where it runs.
        channels_last: memory format of its weights; same numbers up to rounding, faster on CPUs and tensor cores.
    """
    objective = objective.to(device).eval()
    if device.type == "cpu":
        quicken(objective)
    return objective.to(memory_format=torch.channels_last) if channels_last else objective
