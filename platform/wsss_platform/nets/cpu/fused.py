"""Convolution, bias and ReLU6 in one pass over the map, for inference.

On a CPU, `functional.conv2d` leaves oneDNN for a slower path where a 1x1 convolution has a small batch and one thread,
and an activation after it reads and writes the whole map again. oneDNN's own operator, which torch.compile emits too,
does neither. The same numbers up to rounding; what it wins is in docs/benchmarks.md (`python -m benchmarks inference`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fuses(x: Tensor) -> bool:
    """Whether `convolve` can take this input: float32 on a CPU whose PyTorch has oneDNN, and no gradient is wanted."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def convolve(x: Tensor, convolution: nn.Conv2d, padding: tuple[int, int], clamped: bool) -> Tensor:
    """The convolution with its bias, and with ReLU6 if `clamped`.

    Args:
        x: [B, C, H, W] that `fuses`.
        convolution: its own padding is not looked at.
        padding: zeros above and below, left and right.
        clamped: whether values are cut to 0..6.
    """
    name, scalars = ("hardtanh", [0.0, 6.0]) if clamped else ("none", [])
    stride, dilation, groups = convolution.stride, convolution.dilation, convolution.groups
    y: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, convolution.weight, convolution.bias, padding, stride, dilation, groups, name, scalars, ""
    )
    return y
