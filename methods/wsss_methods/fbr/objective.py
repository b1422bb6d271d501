"""FBR on AMN: the network, and how its loss terms come together."""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_methods.fbr.bank import Bank, cluster
from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.losses import (
    balanced_cross_entropy,
    class_mean,
    contrast,
    contrast_over_keys,
    cosines,
    decorrelation,
)
from wsss_methods.fbr.sampling import Regions, find_prototypes, find_regions, other_class_pixels
from wsss_platform.config import leaves
from wsss_platform.nets.backbone import build_backbone
from wsss_platform.objective import Batch, Objective, global_batch


class FbrObjective(Objective):
    """AMN (label conditioning, dilated classifier) with a foreground and a background space.

    Draws come from a generator whose seed and step are buffers: a restored checkpoint goes on with the same
    negatives, and workers draw for the whole batch and use their own rows.
    """

    background_channel = True
    draw_seed: Tensor
    draw_step: Tensor

    def __init__(self, config: FbrConfig, classes: int) -> None:
        super().__init__()
        self.sampling = config.sampling
        self.backbone = build_backbone(config.backbone)
        channels, width = self.backbone.channels, config.heads.projection
        self.conditioning = nn.Linear(classes, channels)
        self.dropout = nn.Dropout(config.heads.dropout)
        self.classifier = nn.ModuleList(_dilated(channels, 1 + classes, rate) for rate in config.heads.dilations)
        self.project_foreground = nn.Conv2d(channels, width, 1, bias=False)
        self.project_background = nn.Conv2d(channels, width, 1, bias=False)
        nn.init.xavier_uniform_(self.project_foreground.weight)
        nn.init.xavier_uniform_(self.project_background.weight)
        self.bank = Bank(config.sampling.bank_size, width)
        self.register_buffer("draw_seed", torch.randint(2**31, ()))
        self.register_buffer("draw_step", torch.zeros((), dtype=torch.int64))

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, 1 + C, h, w], background first."""
        return self._classify(self._features(images, labels))

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The four terms; the seed's masks are `batch.extras["seed"]`."""
        features = self._features(batch.images, batch.labels)
        logits = self._classify(features)
        foreground = functional.relu(self.project_foreground(features))
        background = functional.relu(self.project_background(features))
        with torch.autocast(features.device.type, enabled=False):
            logits, foreground, background = logits.float(), foreground.float(), background.float()
            valid = functional.interpolate(batch.valid.unsqueeze(1).float(), logits.shape[2:], mode="nearest-exact")
            regions = find_regions(logits.flatten(2), batch.labels, valid.flatten(1) > 0, self.sampling)
            intra, negative = self._contrast(regions, foreground.flatten(2), background.flatten(2))
            return {
                "classification": balanced_cross_entropy(logits, batch.extras["seed"], self.sampling.label_smoothing),
                "decorrelation": decorrelation(foreground, background),
                "intra_foreground": intra,
                "negative_regions": negative,
            }

    def applied(self) -> dict[str, float | int | bool | str]:
        """Sampling values, and the sizes that the modules really have."""
        return {
            **{f"sampling.{name}": value for name, value in leaves(self.sampling)},
            "sampling.bank_size": self.bank.vectors.shape[0],
            "heads.projection": self.project_foreground.out_channels,
            "heads.dropout": self.dropout.p,
        }

    def _features(self, images: Tensor, labels: Tensor) -> Tensor:
        """AMN's label conditioning: the last map times a linear function of the image-level labels."""
        features: Tensor = self.backbone(images)["final"] * self.conditioning(labels)[:, :, None, None]
        return features

    def _classify(self, features: Tensor) -> Tensor:
        features = self.dropout(features)
        return torch.stack([convolution(features) for convolution in self.classifier]).sum(0)

    def _contrast(self, regions: Regions, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """The intra-foreground and the pixel-to-NROI term, for vectors [B, D, N] of the two spaces."""
        sampling = self.sampling
        released = sampling.variant == "as_released"
        pictures, _, positions = foreground.shape
        whole = global_batch(foreground)
        pseudo = global_batch(regions.pseudo)
        prototypes = find_prototypes(whole, global_batch(regions.activation), sampling.prototype_fraction)
        present = functional.one_hot(pseudo.clamp(min=0), 1 + prototypes.shape[0]).any(1).any(0)[1:]

        # Draws are made for the whole batch; this worker's rows start at `first`.
        first = pictures * (torch.distributed.get_rank() if torch.distributed.is_initialized() else 0)
        generator = self._generator(foreground.device)
        mine = slice(first, first + pictures)
        starts = self._draw(generator, (whole.shape[0], sampling.clusters))[mine]
        draws = self._draw(generator, (whole.shape[0], positions, sampling.negatives, 3))[mine][regions.hard]
        self._remember(background.transpose(1, 2), regions.pseudo == 0, starts)

        anchors = foreground.transpose(1, 2)[regions.hard]
        classes = regions.pseudo[regions.hard] - 1
        positives = prototypes[classes]
        if released:
            anchors = anchors.detach()
        unit = functional.normalize(anchors, dim=1, eps=1e-8)
        attraction = (unit * functional.normalize(positives, dim=1, eps=1e-8)).sum(1)

        pixels = functional.normalize(whole.transpose(1, 2).flatten(0, 1), dim=1, eps=1e-8)
        index, has = other_class_pixels(prototypes, pseudo.flatten(), classes, draws[..., :2], sampling.temperature)
        loss = contrast(attraction, cosines(unit, pixels, index), sampling.temperature)
        intra = class_mean(torch.where(has, loss, 0), classes, present)

        table = self.bank.contents()
        if table.shape[0] == 0:
            return intra, intra.new_zeros(())
        index = (draws[..., 2] * table.shape[0]).long().clamp(max=table.shape[0] - 1)
        if released:
            loss = contrast_over_keys(anchors, positives, table, index, sampling.temperature)
        else:
            table = functional.normalize(table, dim=1, eps=1e-8)
            loss = contrast(attraction, cosines(unit, table, index), sampling.temperature)
        return intra, class_mean(loss, classes, present)

    @torch.no_grad()
    def _remember(self, background: Tensor, member: Tensor, starts: Tensor) -> None:
        """Put the negative regions of all workers' pictures into the bank; not in evaluation."""
        if self.training:
            centroids, valid = cluster(background.detach(), member, starts, self.sampling.cluster_iterations)
            self.bank.push(global_batch(centroids)[global_batch(valid.to(torch.uint8)).bool()])
            self.draw_step += 1

    def _generator(self, device: torch.device) -> torch.Generator:
        return torch.Generator(device).manual_seed(int(self.draw_seed) * 1_000_003 + int(self.draw_step))

    @staticmethod
    def _draw(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device)


def _dilated(inputs: int, outputs: int, rate: int) -> nn.Conv2d:
    """One 3x3 convolution of the classifier, with AMN's initial values (standard deviation 0.01, no bias)."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate)
    nn.init.normal_(convolution.weight, std=0.01)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
