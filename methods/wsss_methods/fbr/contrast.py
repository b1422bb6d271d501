"""FBR's part that any host network can carry: two spaces, the memory of negative regions, and the terms on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_methods.fbr.bank import Bank, cluster
from wsss_methods.fbr.config import ContrastConfig, MapSamplingConfig
from wsss_methods.fbr.losses import class_mean, contrast, contrast_over_keys, cosines, decorrelation
from wsss_methods.fbr.sampling import Regions, find_map_regions, find_prototypes, other_class_pixels
from wsss_platform.config import leaves
from wsss_platform.method.module import Batch, global_batch


@dataclass
class Terms:
    """What one view gives."""

    intra_foreground: Tensor
    """Scalar: hard foreground positions against pixels of other classes."""
    negative_regions: Tensor
    """Scalar: the same anchors against the remembered negative regions."""
    prototypes: Tensor
    """[C, D], of the whole batch, not normalised, without gradient; zeros for a class without activation."""


class Contrast(nn.Module):
    """A foreground and a background space on a host's last map, contrasted where the host is unsure.

    Draws come from a generator whose seed and step are buffers: a restored checkpoint continues with the same
    negatives, and workers draw for the whole batch and use their own rows. The banks are buffers too.
    """

    draw_seed: Tensor
    draw_step: Tensor

    def __init__(
        self, channels: int, width: int, sampling: ContrastConfig, *, views: int = 1, released_intra_live: bool = True
    ) -> None:
        """
        Args:
            channels: of the host's last map.
            width: D, channels of either space.
            sampling: which pixels are contrasted with which.
            views: crops of an image that each have a bank of their own.
            released_intra_live: whether the anchors of the intra-foreground term have a gradient in the variant
                "as_released": they do on PPC, they do not on AMN. Those of the other term never do there.
        """
        super().__init__()
        self.sampling = sampling
        self.released_intra_live = released_intra_live
        self.project_foreground = nn.Conv2d(channels, width, 1, bias=False)
        self.project_background = nn.Conv2d(channels, width, 1, bias=False)
        nn.init.xavier_uniform_(self.project_foreground.weight)
        nn.init.xavier_uniform_(self.project_background.weight)
        self.banks = nn.ModuleList(Bank(sampling.bank_size, width) for _ in range(views))
        self.register_buffer("draw_seed", torch.randint(2**31, ()))
        self.register_buffer("draw_step", torch.zeros((), dtype=torch.int64))

    def spaces(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The foreground and the background vectors of a map [B, channels, h, w]: float32 [B, D, h, w], at least 0."""
        foreground = functional.relu(self.project_foreground(features))
        background = functional.relu(self.project_background(features))
        return foreground.float(), background.float()

    def forward(self, regions: Regions, foreground: Tensor, background: Tensor, view: int = 0) -> Terms:
        """Both contrast terms of one view; puts the negative regions of the batch into the view's bank first.

        Args:
            regions: of this worker's images.
            foreground: float32 [B, D, N].
            background: float32 [B, D, N].
            view: whose bank.
        """
        sampling = self.sampling
        released = sampling.variant == "as_released"
        images, _, positions = foreground.shape
        whole = global_batch(foreground)
        pseudo = global_batch(regions.pseudo)
        prototypes = find_prototypes(whole, global_batch(regions.activation), sampling.prototype_fraction)
        present = functional.one_hot(pseudo.clamp(min=0), 1 + prototypes.shape[0]).any(1).any(0)[1:]

        # Draws are made for the whole batch; this worker's rows start at `first`.
        first = images * (torch.distributed.get_rank() if torch.distributed.is_initialized() else 0)
        generator = self._generator(foreground.device)
        mine = slice(first, first + images)
        starts = self._draw(generator, (whole.shape[0], sampling.clusters))[mine]
        draws = self._draw(generator, (whole.shape[0], positions, sampling.negatives, 3))[mine][regions.hard]
        bank = self.bank(view)
        self._remember(bank, background.transpose(1, 2), regions.pseudo == 0, starts)

        anchors = foreground.transpose(1, 2)[regions.hard]
        classes = regions.pseudo[regions.hard] - 1
        positives = prototypes[classes]
        if released and not self.released_intra_live:
            anchors = anchors.detach()
        unit = functional.normalize(anchors, dim=1, eps=1e-8)
        attraction = (unit * functional.normalize(positives, dim=1, eps=1e-8)).sum(1)

        pixels = functional.normalize(whole.transpose(1, 2).flatten(0, 1), dim=1, eps=1e-8)
        index, has = other_class_pixels(prototypes, pseudo.flatten(), classes, draws[..., :2], sampling.temperature)
        loss = contrast(attraction, cosines(unit, pixels, index), sampling.temperature)
        intra = class_mean(torch.where(has, loss, 0), classes, present)

        table = bank.contents()
        if table.shape[0] == 0:
            return Terms(intra, intra.new_zeros(()), prototypes)
        index = (draws[..., 2] * table.shape[0]).long().clamp(max=table.shape[0] - 1)
        if released:
            loss = contrast_over_keys(anchors.detach(), positives, table, index, sampling.temperature)
        else:
            table = functional.normalize(table, dim=1, eps=1e-8)
            loss = contrast(attraction, cosines(unit, table, index), sampling.temperature)
        return Terms(intra, class_mean(loss, classes, present), prototypes)

    def bank(self, view: int = 0) -> Bank:
        """The memory of a view."""
        bank = self.banks[view]
        assert isinstance(bank, Bank)
        return bank

    def applied(self) -> dict[str, float | int | bool | str]:
        """Sampling values, and the sizes that the modules really have."""
        return {
            **{f"sampling.{name}": value for name, value in leaves(self.sampling)},
            "sampling.bank_size": self.bank().vectors.shape[0],
            "heads.projection": self.project_foreground.out_channels,
        }

    @torch.no_grad()
    def _remember(self, bank: Bank, background: Tensor, member: Tensor, starts: Tensor) -> None:
        """Put the negative regions of all workers' images into the bank; not in evaluation."""
        if self.training:
            centroids, valid = cluster(background.detach(), member, starts, self.sampling.cluster_iterations)
            bank.push(global_batch(centroids)[global_batch(valid.to(torch.uint8)).bool()])
            self.draw_step += 1

    def _generator(self, device: torch.device) -> torch.Generator:
        return torch.Generator(device).manual_seed(int(self.draw_seed) * 1_000_003 + int(self.draw_step))

    @staticmethod
    def _draw(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device)


def grid_of(valid: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """Which positions of an h x w map lie in the image: bool [B, h * w] from bool [B, H, W]."""
    return functional.interpolate(valid.unsqueeze(1).float(), size, mode="nearest-exact").flatten(1) > 0


def plugged_in(contrast: Contrast, features: Tensor, maps: Tensor, batch: Batch) -> dict[str, Tensor]:
    """FBR's three terms on a host that gives class maps and has no background channel.

    Args:
        contrast: made with a `MapSamplingConfig`.
        features: the host's last map [B, channels, h, w].
        maps: its class scores [B, C, h, w].
        batch: this worker's share of the step.

    Returns:
        "decorrelation", "intra_foreground" and "negative_regions", scalars.
    """
    sampling = contrast.sampling
    assert isinstance(sampling, MapSamplingConfig)
    foreground, background = contrast.spaces(features)
    with torch.autocast(features.device.type, enabled=False):
        inside = grid_of(batch.valid, maps.shape[2:])
        regions = find_map_regions(maps.float().flatten(2), batch.labels, inside, sampling)
        terms: Terms = contrast(regions, foreground.flatten(2), background.flatten(2))
        return {
            "decorrelation": decorrelation(foreground, background),
            "intra_foreground": terms.intra_foreground,
            "negative_regions": terms.negative_regions,
        }
