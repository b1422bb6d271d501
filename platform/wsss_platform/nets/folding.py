"""BatchNorm in evaluation as part of the convolution before it: the same numbers up to rounding, a pass less."""

from __future__ import annotations

import torch
from torch import nn

from wsss_platform.nets.backbones.backbone import Backbone, FrozenBatchNorm


@torch.no_grad()
def fold(network: nn.Module) -> None:
    """Fold what can be folded in every backbone inside `network`, in place; it can be used, but not trained, after it.

    With s = weight / sqrt(running_var + eps): W' = s * W per output channel, b' = bias + s * (b - running_mean), in
    float64.
    """
    for backbone in [module for module in network.modules() if isinstance(module, Backbone)]:
        for convolution, norm in list(backbone.normalised()):
            _fold_one(backbone, convolution, norm)


def _fold_one(backbone: Backbone, convolution: str, norm: str) -> None:
    before, after = backbone.get_submodule(convolution), backbone.get_submodule(norm)
    if not isinstance(after, FrozenBatchNorm | nn.BatchNorm2d):  # folded before, or replaced
        return
    assert isinstance(before, nn.Conv2d)
    assert after.running_mean is not None
    assert after.running_var is not None
    scale = after.weight.double() * torch.rsqrt(after.running_var.double() + after.eps)
    old = 0.0 if before.bias is None else before.bias.double()
    bias = after.bias.double() + scale * (old - after.running_mean.double())
    weight = before.weight.double() * scale.view(-1, 1, 1, 1)
    before.weight = nn.Parameter(weight.to(before.weight.dtype), requires_grad=False)
    before.bias = nn.Parameter(bias.to(before.weight.dtype), requires_grad=False)
    place, _, name = norm.rpartition(".")
    setattr(backbone.get_submodule(place), name, nn.Identity())
