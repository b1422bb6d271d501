"""`TrainingModule`: a network with its losses, and the `Batch` it is given. Needs torch; `method` does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
import torch.distributed
from torch import Tensor, nn

from wsss_platform.errors import InputError


@dataclass
class Batch:
    """What one optimiser step sees on one worker."""

    ids: list[str]
    """Image ids, length B."""
    images: Tensor
    """float32 [B, 3, H, W], ImageNet mean and standard deviation removed; 0 (the mean colour) where padded."""
    labels: Tensor
    """float32 [B, C], 1 where the class is in the image (image-level; C foreground classes)."""
    valid: Tensor
    """bool [B, H, W], False where a crop was padded."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """By the name a phase reads: label maps int64 [B, H, W] with 255 = ignore (0 = background, class c is
    c + 1), or maps float32 [B, C, H, W]; and "saliency", float32 [B, 1, H, W], of a phase that has this extra."""

    def to(self, device: torch.device, *, channels_last: bool = False) -> Batch:
        """The same batch on a device."""
        images = self.images.to(device, non_blocking=True)
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        moved = {item.name: getattr(self, item.name) for item in fields(self)}
        moved["images"] = images
        moved["labels"] = self.labels.to(device, non_blocking=True)
        moved["valid"] = self.valid.to(device, non_blocking=True)
        moved["extras"] = {name: value.to(device, non_blocking=True) for name, value in self.extras.items()}
        return Batch(**moved)


class TrainingModule(nn.Module):
    """A network together with what it is trained for. All state is in the module: banks, prototypes and
    EMA networks are buffers or submodules, so checkpoints, resume and DDP need no hooks.
    """

    background_channel: ClassVar[bool] = False
    """Whether `class_maps` returns the background as channel 0 before the C classes."""

    map_stride: ClassVar[int] = 0
    """Input pixels per position of `class_maps`; 0 is the backbone's output stride."""

    backbone: nn.Module
    """The network under the heads; see `pretrained`."""

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The loss terms, unweighted scalars. Keys are exactly the fields of the phase's loss section.

        Args:
            batch: one worker's share of the step.
            progress: fraction of all optimiser steps done, 0..1.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `losses`")

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Raw class scores for map extraction, without activation or normalisation.

        Args:
            images: float32 [B, 3, H, W], normalised, H and W multiples of the output stride.
            labels: float32 [B, C] image-level labels, for networks that are conditioned on them.

        Returns:
            [B, C, h, w], or [B, 1 + C, h, w] with `background_channel`; position (y, x) covers the
            input's stride x stride cell.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `class_maps`")

    def refine(self, image: Tensor, scores: Tensor, height: int, width: int) -> Tensor:
        """Better maps of one image out of stored ones; for phases that `refines` another instead of `class_maps`.

        Args:
            image: float32 [1, 3, H, W], the normalised image, padded at the bottom and right; H and W are
                multiples of 16.
            scores: float32 [K, H / 4, W / 4] in 0..1, the maps of the classes that are kept at the centres of cells of
                4 x 4 pixels; K at least 1.
            height: of the unpadded image, pixels.
            width: of the unpadded image, pixels.

        Returns:
            [K, H / 4, W / 4], at the same centres; clipped to 0..1 and stored.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `refine`")

    def image_scores(self, images: Tensor) -> Tensor:
        """How sure the network is of each class being in the image, 0..1, [B, C]; for maps of gate "predicted".

        Args:
            images: as for `class_maps`.

        Raises:
            InputError: this network gives no image scores.
        """
        raise InputError(
            f"maps.gate 'predicted' needs image scores, and {type(self).__name__} gives none", field="maps.gate"
        )

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """`losses`; the name under which DDP calls it."""
        return self.losses(batch, progress)

    def pretrained(self) -> Iterator[nn.Parameter]:
        """The parameters that come with initial weights; `param_groups` gives all others the new layers' rate."""
        return self.backbone.parameters()

    def param_groups(self, train: Any) -> list[dict[str, Any]]:
        """Optimiser groups {"name", "params", "lr", "weight_decay"} from a TrainConfig.

        Ours, after IRN: pretrained weights at lr, new layers at lr x new_layer_factor, biases at that x
        bias_factor; no decay on biases and norms unless decay_biases. Parameters with requires_grad False are left out.
        """
        pretrained = {id(parameter) for parameter in self.pretrained()}
        groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                factor = train.bias_factor if name.rpartition(".")[2] == "bias" else 1.0
                key = (id(parameter) in pretrained, parameter.ndim > 1, factor)
                groups.setdefault(key, []).append(parameter)
        vectors = "_biases" if train.decay_biases else "_no_decay"
        return [
            {
                "name": ("pretrained" if old else "new") + ("" if decays else vectors),
                "params": parameters,
                "lr": train.learning_rate * (1.0 if old else train.new_layer_factor) * factor,
                "weight_decay": train.weight_decay if decays or train.decay_biases else 0.0,
            }
            for (old, decays, factor), parameters in groups.items()
        ]

    def after_step(self) -> None:
        """Called after each optimiser step (EMA updates and the like)."""

    def applied(self) -> dict[str, float | int | bool | str]:
        """Values this object really uses, by dotted config path, read from live state.

        The tuner compares them with what was sampled; a difference fails the trial.
        """
        return {}


def global_batch(local: Tensor) -> Tensor:
    """Rows of all workers, detached, in rank order [sum of B, ...]; `local` itself in one process.

    For what the paper computes over the whole batch (prototypes, top-k, class sets). Every worker must
    call it the same number of times with the same trailing shape and the same number of rows.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return local.detach()
    size = torch.distributed.get_world_size()
    if size == 1:
        return local.detach()
    rows = [torch.empty_like(local) for _ in range(size)]
    torch.distributed.all_gather(rows, local.detach().contiguous())
    return torch.cat(rows)
