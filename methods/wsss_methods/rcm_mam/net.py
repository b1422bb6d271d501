"""The classifier that MainNet and SupportNet both are, and how SupportNet follows MainNet."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wsss_methods.rcm_mam.config import RcmMamConfig, SupportConfig
from wsss_platform.nets.build import build_backbone


@dataclass
class Look:
    """What a network says of images."""

    features: Tensor
    """What the classifier reads, [B, D, h, w]."""
    maps: Tensor
    """Class scores [B, C, h, w]."""


class Network(nn.Module):
    """A backbone, a 1x1 convolution with ReLU, and a 1x1 classifier, both without bias [related: AEFT, ACR].

    Without the convolution it is the platform's CAM classifier.
    """

    def __init__(self, config: RcmMamConfig, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(config.backbone)
        channels, width = self.backbone.channels, config.heads.features
        self.features: nn.Conv2d | None = nn.Conv2d(channels, width, 1, bias=False) if width else None
        self.classifier = nn.Conv2d(width or channels, classes, 1, bias=False)
        contrasts = config.loss.regional_contrast > 0
        projection = config.heads.projection if contrasts else 0
        self.projection: nn.Conv2d | None = (
            nn.Conv2d(width or channels, projection, 1, bias=False) if projection else None
        )

    def forward(self, images: Tensor) -> Look:
        """Features and scores of images [B, 3, H, W]."""
        features: Tensor = self.backbone(images)["final"]
        if self.features is not None:
            features = functional.relu(self.features(features))
        return Look(features, self.classifier(features))

    def contrasted(self, features: Tensor) -> Tensor:
        """Unit vectors [B, D, h, w] of features, without autocast in full precision: what RCM contrasts."""
        features = full_precision(features)
        if self.projection is not None:
            features = self.projection(features)
        return functional.normalize(features, dim=1)


class Support(nn.Module):
    """SupportNet: a copy of a network, always in evaluation mode and without gradient.

    It and the clock are in the state dict, so a restored checkpoint continues with the same teacher.
    """

    clock: Tensor

    def __init__(self, network: Network, config: SupportConfig) -> None:
        super().__init__()
        self.config = config
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.register_buffer("clock", torch.zeros((), dtype=torch.float64))

    def train(self, mode: bool = True) -> Support:
        """The network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def before_step(self, network: Network, epoch: float) -> bool:
        """Note the time; with "epoch_copy", copy where an epoch begins.

        Args:
            network: MainNet.
            epoch: epochs done, with a fraction.

        Returns:
            Whether the warm-up is over.
        """
        over = epoch >= self.config.warm_up
        if self.training:
            if over and self.config.update == "epoch_copy" and int(epoch) > int(self.clock):
                self._copy(network)
            self.clock.fill_(epoch)
        return over

    @torch.no_grad()
    def after_step(self, network: Network) -> None:
        """Follow MainNet: wholly in the warm-up, then as `update` says. Buffers (BatchNorm's) are copied."""
        if self.clock < self.config.warm_up:
            self._copy(network)
        elif self.config.update == "ema":
            average = get_ema_multi_avg_fn(self.config.ema)  # type: ignore[no-untyped-call]
            average(list(self.network.parameters()), list(network.parameters()), None)
            self._copy_buffers(network)

    def strength(self) -> float:
        """What both terms are multiplied by at this step: 0 at the end of the warm-up, 1 after the ramp."""
        since = float(self.clock) - self.config.warm_up
        return min(1.0, since / self.config.ramp) if self.config.ramp else 1.0

    @torch.no_grad()
    def forward(self, images: Tensor) -> Look:
        """SupportNet's forward pass of images [B, 3, H, W]."""
        look: Look = self.network(images)
        return look

    @torch.no_grad()
    def contrasted(self, features: Tensor) -> Tensor:
        """Its unit vectors; see `Network.contrasted`."""
        return self.network.contrasted(features)

    @torch.no_grad()
    def _copy(self, network: Network) -> None:
        for own, theirs in zip(self.network.parameters(), network.parameters(), strict=True):
            own.copy_(theirs)
        self._copy_buffers(network)

    def _copy_buffers(self, network: Network) -> None:
        for own, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(theirs)


def epochs_done(progress: float, epochs: int) -> float:
    """Epochs before a step, from the fraction of all steps. Progress is a rounded quotient: without the margin an
    epoch's first step could count to the one before."""
    return progress * epochs + 1e-6


def scaled(images: Tensor, scale: float, stride: int) -> Tensor:
    """Images [B, 3, H, W] resized by a factor, to whole positions of the network, antialiased as maps are made."""
    if scale == 1:
        return images
    size = [max(1, round(scale * side / stride)) * stride for side in images.shape[2:]]
    return functional.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def full_precision(values: Tensor) -> Tensor:
    """float32 of autocast's half precisions; float32 and float64 stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def on_grid(maps: Tensor, grid: torch.Size) -> Tensor:
    """Maps [B, C, h, w] on another grid, in full precision [B, C, N]."""
    maps = full_precision(maps)
    if maps.shape[2:] != grid:
        maps = functional.interpolate(maps, grid, mode="bilinear", align_corners=False)
    return maps.flatten(2)
