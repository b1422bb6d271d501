"""From a network and one picture to its stored maps: scales x flip, fuse, normalise, gate, quantise.

Every resize keeps the geometry of `storage`: a network input covers the whole padded picture, and so
does its output, whatever their sizes (half-pixel centres, align_corners False).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsss_platform.config import MapsConfig
from wsss_platform.data.split import Sample
from wsss_platform.data.views import normalise
from wsss_platform.errors import RunError
from wsss_platform.maps.storage import CELL, StoredMap, grid_size, padded_size
from wsss_platform.objective import Objective

FLOOR = 1e-5
"""Least divisor when a map is normalised (SEAM): a map that is nowhere above it stays near 0."""


class Extractor:
    """Makes the maps of one picture at a time; a picture's maps depend on nothing else that runs.

    Pictures are not batched: on a CPU that is slower (the two flips of a scale are one batch).
    """

    def __init__(
        self,
        objective: Objective,
        config: MapsConfig,
        output_stride: int,
        device: torch.device | str = "cpu",
        channels_last: bool = True,
    ) -> None:
        """Take over `objective`: it is moved to `device` and put into eval mode.

        Args:
            objective: the trained network.
            config: scales, flip, fusion, activation, normalisation and stored type.
            output_stride: network inputs are multiples of it.
            device: where it runs.
            channels_last: memory format; same numbers up to rounding, faster on CPUs and tensor cores.
        """
        self.config = config
        self.output_stride = output_stride
        self.device = torch.device(device)
        self.objective = objective.to(self.device).eval()
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.objective = self.objective.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> StoredMap:
        """The maps of the classes that `sample.labels` names.

        Raises:
            RunError: a map that is not finite; names the picture.
        """
        height, width = sample.image.shape[:2]
        classes = np.flatnonzero(sample.labels).astype(np.uint8)
        grid = grid_size(height, width)
        if len(classes) == 0:
            return StoredMap(sample.id, classes, np.zeros((0, *grid), self.config.precision), height, width)
        labels = torch.from_numpy(sample.labels.astype(np.float32)).to(self.device)[None]
        wanted = torch.from_numpy(classes.astype(np.int64)).to(self.device)
        picture = self._padded(sample.image)
        fused = self._fuse([self._view(picture, scale, labels, wanted, grid) for scale in self.config.scales])
        if self.config.activate == "fused":
            fused = self._activated(fused[None], wanted)[0]
        if not bool(torch.isfinite(fused).all()):
            raise RunError(f"picture {sample.id}: the network gives maps that are not finite")
        inside = fused[:, : -(-height // CELL), : -(-width // CELL)]
        scores = self._normalised(fused, inside)
        return StoredMap(sample.id, classes, self._quantised(scores), height, width)

    def _padded(self, image: np.ndarray) -> Tensor:
        """float32 [1, 3, Hp, Wp], normalised, 0 (the mean colour) where padded."""
        height, width = image.shape[:2]
        high, wide = padded_size(height, width)
        pixels = torch.from_numpy(normalise(image)).to(self.device)[None]
        return functional.pad(pixels, (0, wide - width, 0, high - height))

    def _view(self, picture: Tensor, scale: float, labels: Tensor, wanted: Tensor, grid: tuple[int, int]) -> Tensor:
        """One scale, both flips, on the stored grid: [views, K or all channels, h, w]."""
        size = [self._network_side(side, scale) for side in picture.shape[2:]]
        images = picture
        if size != list(picture.shape[2:]):  # antialiased like the PIL resize of IRN
            images = functional.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
        if self.config.flip:
            images = torch.cat([images, images.flip(3)])
        images = images.contiguous(memory_format=self._format)
        scores = self.objective.class_maps(images, labels.expand(len(images), -1)).float()
        expected = labels.shape[1] + self.objective.background_channel
        if scores.shape[1] != expected:
            name = type(self.objective).__name__
            raise RunError(f"{name}.class_maps gives {scores.shape[1]} channels, expected {expected}")
        if self.config.flip:
            scores = torch.cat([scores[:1], scores[1:].flip(3)])
        if self.config.activation != "softmax":  # softmax still needs the absent classes
            scores = self._present(scores, wanted)
        if self.config.activate == "view":
            scores = self._activated(scores, wanted)
        return functional.interpolate(scores, grid, mode="bilinear", align_corners=False)

    def _network_side(self, side: int, scale: float) -> int:
        return max(1, round(scale * side / self.output_stride)) * self.output_stride

    def _fuse(self, views: list[Tensor]) -> Tensor:
        """[channels, h, w] from the views of all scales."""
        stack = torch.cat(views)
        if self.config.fuse == "max":
            return stack.amax(0)
        return stack.sum(0) if self.config.fuse == "sum" else stack.mean(0)

    def _activated(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """[views, K, h, w] after the activation; the softmax runs over all channels, then the present ones are kept."""
        if self.config.activation == "softmax":
            return self._present(scores.softmax(1), wanted)
        return scores.relu() if self.config.activation == "relu" else scores

    def _present(self, scores: Tensor, wanted: Tensor) -> Tensor:
        return scores[:, wanted + int(self.objective.background_channel)]

    def _normalised(self, scores: Tensor, inside: Tensor) -> Tensor:
        """Scores 0..1 per class; the extremes are those over the unpadded picture."""
        if self.config.normalise == "minmax":
            low = inside.amin((1, 2), keepdim=True)
            scores = (scores - low) / (inside.amax((1, 2), keepdim=True) - low).clamp_min(FLOOR)
        elif self.config.normalise == "max":
            scores = scores / inside.amax((1, 2), keepdim=True).clamp_min(FLOOR)
        return scores.clamp(0, 1)

    def _quantised(self, scores: Tensor) -> np.ndarray:
        if self.config.precision == "uint8":
            return (scores * 255).round().to(torch.uint8).cpu().numpy()
        return scores.half().cpu().numpy()
