"""FBR on PPC and EPS (FBR-S): the host's terms, PPC's, and FBR's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_methods.fbr.contrast import Contrast, Terms, grid_of
from wsss_methods.fbr.losses import decorrelation
from wsss_methods.fbr.on_eps.config import FbrEpsConfig
from wsss_methods.fbr.on_eps.host import EpsHost, Look
from wsss_methods.fbr.on_eps.losses import background_target, to_prototypes
from wsss_methods.fbr.sampling import Regions, find_map_regions, find_prototypes
from wsss_platform.method.module import Batch, global_batch
from wsss_platform.nets.backbones.backbone import FrozenBatchNorm


@dataclass
class Contrasted:
    """One view on the common grid of N positions."""

    vectors: Tensor
    """Of the foreground space, float32 [B * N, D]."""
    regions: Regions
    terms: Terms
    prototypes: Tensor
    """[1 + C, D], background first, of the whole batch."""
    usable: Tensor
    """bool [1 + C], which prototypes exist."""
    side: dict[str, Tensor]
    """"decorrelation" and "background_map"."""


class FbrEpsModule(EpsHost):
    """The host with two spaces, a bank for each view, and a background side head on the background space."""

    def __init__(self, config: FbrEpsConfig, classes: int) -> None:
        super().__init__(config, classes)
        self.sampling = config.sampling
        width = config.heads.projection
        self.contrast = Contrast(self.backbone.channels, width, config.sampling, views=2)
        self.background_norm = FrozenBatchNorm(width, 1e-5)
        self.background_norm.bias.fill_(1e-4)
        self.dropout = nn.Dropout(config.heads.dropout)
        self.background_classifier = nn.Conv2d(width, 1, 1, bias=False)
        nn.init.xavier_uniform_(self.background_classifier.weight)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """All terms; saliency is `batch.extras["saliency"]`, float32 [B, 1, H, W] in 0..1."""
        looks = self.looks(batch)
        with torch.autocast(batch.images.device.type, enabled=False):
            grid = looks[1].maps.shape[2:]
            inside = grid_of(batch.valid, grid)
            one, two = (self._contrasted(look, batch.labels, inside, grid, view) for view, look in enumerate(looks))
            return {
                **self.host_terms(*looks, batch.labels),
                **{name: (one.side[name] + two.side[name]) / 2 for name in one.side},
                "cross_prototype": (
                    self._to_prototypes(one, one.regions, two) + self._to_prototypes(two, two.regions, one)
                )
                / 2,
                "cross_label": (self._to_prototypes(one, two.regions, one) + self._to_prototypes(two, one.regions, two))
                / 2,
                "intra_foreground": (one.terms.intra_foreground + two.terms.intra_foreground) / 2,
                "negative_regions": (one.terms.negative_regions + two.terms.negative_regions) / 2,
            }

    def applied(self) -> dict[str, float | int | bool | str]:
        """Sampling values, and what the modules really have."""
        return {
            **self.contrast.applied(),
            "heads.dropout": self.dropout.p,
            "host.small": self.host.small,
            "host.overlap": self.host.overlap,
        }

    def _contrasted(self, look: Look, labels: Tensor, inside: Tensor, grid: torch.Size, view: int) -> Contrasted:
        foreground = functional.relu(self.contrast.project_foreground(look.features.float()))
        raw = self.contrast.project_background(look.features.float())
        normed = functional.relu(self.background_norm(raw))
        target = background_target(look.maps, labels, self.host.background_below)
        logits = self.background_classifier(self.dropout(normed))
        side = {
            "decorrelation": decorrelation(foreground, normed),
            "background_map": functional.binary_cross_entropy_with_logits(logits, target),
        }
        maps = _on_grid(look.refined[:, 1:].detach(), grid)
        regions = find_map_regions(maps, labels, inside, self.sampling)
        foreground, background = _on_grid(foreground, grid), _on_grid(functional.relu(raw), grid)
        terms: Terms = self.contrast(regions, foreground, background, view)
        prototypes, usable = self._with_background(terms.prototypes, regions, foreground)
        return Contrasted(foreground.transpose(1, 2).flatten(0, 1), regions, terms, prototypes, usable, side)

    def _with_background(self, prototypes: Tensor, regions: Regions, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """All prototypes, background first, and which exist.

        The release takes the background's from the first positions that topk happens to give of a constant score,
        and counts prototypes of classes that are not there; ours is the mean over all background positions.
        """
        if self.released:
            constant = torch.full_like(regions.activation[:, :1], self.sampling.background)
            fraction = self.sampling.prototype_fraction
            background = find_prototypes(global_batch(foreground), global_batch(constant), fraction)
            usable = torch.ones(1 + prototypes.shape[0], dtype=torch.bool, device=prototypes.device)
        else:
            member = (global_batch(regions.pseudo) == 0).unsqueeze(1).float()
            total = (global_batch(foreground) * member).sum((0, 2))
            background = (total / member.sum().clamp(min=1)).unsqueeze(0)
            found = global_batch(regions.activation).amax((0, 2)) > 0
            usable = torch.cat([member.any().view(1), found])
        return torch.cat([background, prototypes]), usable

    def _to_prototypes(self, of: Contrasted, labelled: Regions, against: Contrasted) -> Tensor:
        temperature = self.host.contrast_temperature
        return to_prototypes(of.vectors, labelled.pseudo.flatten(), against.prototypes, against.usable, temperature)


def _on_grid(maps: Tensor, grid: torch.Size) -> Tensor:
    """[B, K, N] on the common grid."""
    if maps.shape[2:] != grid:
        maps = functional.interpolate(maps, grid, mode="bilinear", align_corners=True)
    return maps.flatten(2)
