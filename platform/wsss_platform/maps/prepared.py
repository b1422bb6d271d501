"""A trained network, made ready for inference."""

from __future__ import annotations

import torch

from wsss_platform.method.module import TrainingModule
from wsss_platform.nets.cpu.winograd import quicken


def prepared(module: TrainingModule, device: torch.device, channels_last: bool = True) -> TrainingModule:
    """Take over `module`: moved to `device`, in eval mode, and on a CPU its large convolutions made
    quicker. It cannot be trained after it.

    Args:
        module: the trained network.
        device: where it runs.
        channels_last: memory format of its weights; same numbers up to rounding, faster on CPUs and tensor cores.
    """
    module = module.to(device).eval()
    if device.type == "cpu":
        quicken(module)
    return module.to(memory_format=torch.channels_last) if channels_last else module
