"""Dilated depthwise convolution whose gradients do not leave the CPU's quick path.

PyTorch 2.15 hands the backward pass of a dilated depthwise convolution on a CPU to a reference loop, eight to fourteen
times slower than the same without dilation, which is half of a training step of EfficientNet-Lite0 at stride 16
(`python -m benchmarks step`). The same sums as below are: for the input, the convolution with the mirrored kernel; for
the weight, one product and sum per kernel position over what it overlaps.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.autograd.function import once_differentiable

_AT_ONCE = 1 << 19  # values of a product, which then stay in the cache


def serves(x: Tensor, stride: int, dilation: int, groups: int) -> bool:
    """Whether `depthwise` is the quicker way for a convolution of this input; gradients then differ by rounding."""
    wide = dilation > 1 and stride == 1 and groups == x.shape[1]
    return wide and x.device.type == "cpu" and x.dtype == torch.float32 and torch.is_grad_enabled()


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], dilation: int) -> Tensor:
    """As functional.conv2d with stride 1 and a group for each channel; gradients can be taken once.

    Args:
        x: [B, C, H, W].
        weight: [C, 1, k, l].
        bias: [C] or None.
        padding: at both ends of each side, no more than dilation * (k - 1), dilation * (l - 1).
        dilation: of both sides.
    """
    y: Tensor = _Depthwise.apply(x, weight, bias, padding, dilation)
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int], dilation: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.dilation = padding, dilation
        return functional.conv2d(x, weight, bias, 1, padding, dilation, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            sides = zip(weight.shape[2:], ctx.padding, strict=True)
            padding = [ctx.dilation * (kernel - 1) - before for kernel, before in sides]
            of_x = functional.conv2d(gradient, weight.flip(2, 3), None, 1, padding, ctx.dilation, x.shape[1])
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(x, gradient, weight, ctx.padding, ctx.dilation)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None


def _of_weight(x: Tensor, gradient: Tensor, weight: Tensor, padding: tuple[int, int], dilation: int) -> Tensor:
    """The gradient of the weight [C, 1, k, l]."""
    channels, _, rows, columns = weight.shape
    images = max(1, _AT_ONCE // x[0].numel())
    found = x.new_zeros(rows, columns, channels)
    parts = (torch.split(values.permute(0, 2, 3, 1), images) for values in (x, gradient))
    for values, slopes in zip(*parts, strict=True):
        for row in range(rows):
            down, out_down = _overlap(row * dilation - padding[0], values.shape[1], slopes.shape[1])
            for column in range(columns):
                right, out_right = _overlap(column * dilation - padding[1], values.shape[2], slopes.shape[2])
                product = values[:, down, right] * slopes[:, out_down, out_right]
                found[row, column] += product.sum((0, 1, 2))
    return found.permute(2, 0, 1).unsqueeze(1)


def _overlap(shift: int, inputs: int, outputs: int) -> tuple[slice, slice]:
    """Where output place o meets input place o + shift: (of the input, of the output), perhaps empty."""
    first, last = max(0, -shift), min(outputs, inputs - shift)
    last = max(first, last)
    return slice(first + shift, last + shift), slice(first, last)
