"""Discriminative region suppression (DRS, Kim, Han & Kim, AAAI 2021): a layer in the place of an activation."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.config import SuppressionConfig
from wsss_platform.errors import InputError
from wsss_platform.nets.backbones.backbone import Backbone

_FIRST_STAGE = {"all": 0, "stage3": 3, "stage4": 4, "last": 4}


class Suppression(nn.Module):
    """An activation whose strongest places are cut to a fraction of the channel's maximum.

    For x of [B, C, h, w], per image b and channel c:

        a = ReLU(x), or ReLU6(x) where it replaces one      [ours: DRS has ReLU only]
        m = max over places of a
        u = delta, or sigmoid(W g) with g = mean over places of a, W of [C, C] without bias
        out = min(a, m u)

    [code: qjadud1994/DRS, models/vgg.py, DRS and DRS_learnable]. The maximum is not detached: what is cut sends its
    gradient, times u, to the single strongest place. W starts at N(0, 0.01), so u starts near 0.5; nothing but the
    loss of the network trains it. The maximum itself is cut too.
    """

    def __init__(
        self, channels: int, control: Literal["learnable", "constant"], delta: float, *, ceiling: float | None = None
    ) -> None:
        """
        Args:
            channels: C.
            control: how u is found.
            delta: u where the control is "constant", 0..1.
            ceiling: of the activation (6 for ReLU6); None for ReLU.
        """
        super().__init__()
        self.delta = delta
        self.ceiling = ceiling
        self.control = nn.Linear(channels, channels, bias=False) if control == "learnable" else None
        if self.control is not None:
            nn.init.normal_(self.control.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape, at least 0."""
        weight = None if self.control is None else self.control.weight
        suppressed: Tensor = _Suppress.apply(x, weight, self.delta, self.ceiling)
        return suppressed

    def extra_repr(self) -> str:
        """What `print` shows."""
        return "" if self.control is not None else f"delta={self.delta}"


class _Suppress(torch.autograd.Function):
    """`Suppression` with its gradient written out: autograd's own keeps two maps more and takes five times as long
    (minimum shares ties, pool and mean each fill a map of their own).

    With the cut places K = {a > m u} and s = sum over K of the gradient: the strongest place gets s u, the control's
    logit s m u (1 - u), every place through g a 1/(h w) of what W sends back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, delta: float, ceiling: float | None) -> Tensor:
        """[B, C, h, w]; the control is computed in float32 under any autocast."""
        active = functional.relu(x) if ceiling is None else x.clamp(0, ceiling)
        strongest, place = functional.adaptive_max_pool2d(active, 1, return_indices=True)
        mean = fraction = None
        if weight is None:
            bound = strongest * delta
        else:
            mean = active.mean((2, 3), dtype=_at_least_float32(x.dtype))
            with torch.autocast(x.device.type, enabled=False):
                fraction = torch.sigmoid(mean @ weight.T.to(mean.dtype))[:, :, None, None]
            bound = (strongest * fraction).to(x.dtype)
        ctx.delta, ctx.ceiling = delta, ceiling
        ctx.save_for_backward(x, weight, bound, strongest, place, mean, fraction)
        return torch.minimum(active, bound, out=active)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """To x and to W."""
        x, weight, bound, strongest, place, mean, fraction = ctx.saved_tensors
        cut = gradient * (x > bound)
        total = cut.sum((2, 3), keepdim=True, dtype=_at_least_float32(x.dtype))
        to_x = torch.sub(gradient, cut, out=cut)
        to_weight = None
        if weight is not None:
            to_logit = (total * strongest * fraction * (1 - fraction)).flatten(1)
            to_x += (to_logit @ weight.to(to_logit.dtype) / x[0, 0].numel())[:, :, None, None]
            to_weight = (to_logit.T @ mean).to(weight.dtype)
        images = torch.arange(x.shape[0], device=x.device)[:, None]
        channels = torch.arange(x.shape[1], device=x.device)
        place, width = place.flatten(1), x.shape[3]
        to_strongest = (total * (ctx.delta if fraction is None else fraction)).flatten(1)
        to_x[images, channels, place // width, place % width] += to_strongest.to(to_x.dtype)
        inside = x > 0 if ctx.ceiling is None else (x > 0) & (x < ctx.ceiling)
        return to_x.mul_(inside), to_weight, None, None


def _at_least_float32(kind: torch.dtype) -> torch.dtype:
    return torch.promote_types(kind, torch.float32)


def activation(channels: int, config: SuppressionConfig) -> nn.Module:
    """A ReLU, suppressed unless the config's control is "off"."""
    return nn.ReLU(inplace=True) if config.control == "off" else Suppression(channels, config.control, config.delta)


def suppress(network: Backbone, config: SuppressionConfig) -> int:
    """Replace the activations (ReLU, ReLU6) of a backbone by `Suppression`, and say how many.

    The channels of each are found by running a small image through the network.

    Args:
        network: is changed in place.
        config: its `placement` says which; with the control "off" nothing is replaced.

    Raises:
        InputError: an activation that the network uses more than once, so that it has no channels of its own.
    """
    if config.control == "off":
        return 0
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.ReLU | nn.ReLU6) and network.stage_of(name) >= _FIRST_STAGE[config.placement]
    ]
    if config.placement == "last":
        found = found[-1:]  # a backbone names its modules in the order in which they run
    channels = _channels(network, dict(found))
    for name, module in found:
        parent, _, last = name.rpartition(".")
        ceiling = 6.0 if isinstance(module, nn.ReLU6) else None
        layer = Suppression(channels[name], config.control, config.delta, ceiling=ceiling)
        setattr(network.get_submodule(parent), last, layer)
    return len(found)


@torch.no_grad()
def _channels(network: Backbone, activations: dict[str, nn.Module]) -> dict[str, int]:
    """How many channels pass through each activation."""
    seen: dict[str, list[int]] = {name: [] for name in activations}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(lambda _, __, output: seen[name].append(output.shape[1]))

    handles = [watch(name, module) for name, module in activations.items()]
    training = network.training
    network.eval()(torch.zeros(1, 3, 32, 32))  # eval: no running statistics change, no dropout draws
    network.train(training)
    for handle in handles:
        handle.remove()
    for name, uses in seen.items():
        if len(uses) != 1:
            kind = type(network).__name__
            raise InputError(f"suppression: {kind}.{name} is used {len(uses)} times; expected a module for each use")
    return {name: uses[0] for name, uses in seen.items()}
