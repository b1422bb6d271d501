"""From a network and one image to its stored maps: gate, scales x flip, fuse, normalise, quantise.

A network input covers the whole padded image (of `sizes`: the image without padding), and so does its output,
whatever their sizes (half-pixel centres, align_corners False); the stored grid's nodes are fitted to that (`geometry`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsss_platform.config import MapsConfig
from wsss_platform.data.split import Sample
from wsss_platform.data.views import normalise
from wsss_platform.errors import RunError
from wsss_platform.maps.geometry import CELL, grid_size, node_weights, padded_size
from wsss_platform.maps.prepared import prepared
from wsss_platform.maps.storage import AnyMap, StoredMap, quantised
from wsss_platform.maps.views import FLOOR, Recipe, stored_views
from wsss_platform.method.module import TrainingModule


class Extractor:
    """Makes the maps of one image at a time; an image's maps depend on nothing else that runs.

    Images are not batched: on a CPU that is slower (the two flips of a scale are one batch).
    """

    def __init__(
        self,
        module: TrainingModule,
        config: MapsConfig,
        output_stride: int,
        device: torch.device | str = "cpu",
        channels_last: bool = True,
    ) -> None:
        """Take over `module`: see `prepared`.

        Args:
            module: the trained network.
            config: scales, flip, fusion, activation, normalisation and stored type.
            output_stride: network inputs are multiples of it.
            device: where it runs.
            channels_last: memory format; same numbers up to rounding, faster on CPUs and tensor cores.
        """
        self.config = config
        self.output_stride = output_stride
        self.device = torch.device(device)
        self.module = prepared(module, self.device, channels_last)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> AnyMap:
        """The maps of the classes that the gate keeps; `sample.labels` is read under gate "labels" only.

        Raises:
            InputError: gate "predicted", and the network gives no image scores.
            RunError: a map that is not finite; names the image.
        """
        height, width = sample.image.shape[:2]
        kept = self._kept(sample)
        classes = np.flatnonzero(kept).astype(np.uint8)
        labels = torch.from_numpy(kept.astype(np.float32)).to(self.device)[None]
        wanted = torch.from_numpy(classes.astype(np.int64)).to(self.device)
        if self.config.store == "views":
            views = self._kept_views(sample, labels, wanted) if len(classes) else []
            return stored_views(sample.id, classes, views, self.config.precision, (height, width), self._recipe)
        if len(classes) == 0:
            empty = quantised(np.zeros((0, *grid_size(height, width)), np.float32), self.config.precision)
            return StoredMap(sample.id, classes, empty, height, width)
        fused = self._fuse(self._views(sample.image, labels, wanted))
        if self.config.activate == "fused":
            fused = self._activated(fused[None], wanted)[0]
        _check_finite(sample.id, fused)
        if not self.config.normalise_views:
            fused = self._normalised(fused, height, width)
        scores = quantised(fused.cpu().numpy(), self.config.precision)
        return StoredMap(sample.id, classes, scores, height, width)

    def _kept(self, sample: Sample) -> np.ndarray:
        """bool [C]: the classes whose maps are made."""
        if self.config.gate == "labels":
            return sample.labels
        if self.config.gate == "none":
            return np.ones_like(sample.labels)
        padded = self._padded(sample.image)
        images = _resized(padded, [self._network_side(side, 1) for side in padded.shape[2:]])
        scores: np.ndarray = self.module.image_scores(images)[0].float().cpu().numpy()
        return np.asarray(scores > self.config.gate_threshold)

    def _padded(self, image: np.ndarray) -> Tensor:
        """[1, 3, H, W], normalised; 0, the mean colour, where padded."""
        height, width = image.shape[:2]
        high, wide = padded_size(height, width)
        padded = torch.from_numpy(normalise(image)).to(self.device)[None]
        return functional.pad(padded, (0, wide - width, 0, high - height))

    def _views(self, image: np.ndarray, labels: Tensor, wanted: Tensor) -> list[Tensor]:
        """Per scale or size, both flips, on the stored grid: [views, K or all channels, h, w]."""
        height, width = image.shape[:2]
        outputs = self._outputs(image, labels, wanted)
        views = [self._on_grid(scores, height, width) for scores in outputs]
        return [self._normalised(view, height, width) for view in views] if self.config.normalise_views else views

    def _outputs(self, image: np.ndarray, labels: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Per scale or size the network's outputs of both flips: [views, K or all channels, h, w]."""
        if self.config.sizes:
            whole = torch.from_numpy(normalise(image)).to(self.device)[None]
            sides = [[self._network_side(size, 1)] * 2 for size in self.config.sizes]
        else:
            whole = self._padded(image)
            sides = [[self._network_side(side, scale) for side in whole.shape[2:]] for scale in self.config.scales]
        for size in sides:
            yield self._scores(whole, size, labels, wanted)

    def _kept_views(self, sample: Sample, labels: Tensor, wanted: Tensor) -> list[np.ndarray]:
        """Float32 [K, h, w] each; the two flips are one view wherever fusing is linear."""
        views: list[np.ndarray] = []
        for scores in self._outputs(sample.image, labels, wanted):
            _check_finite(sample.id, scores)
            if self.config.fuse == "sum" and not self.config.normalise_views:
                scores = scores.sum(0, keepdim=True)
            elif self.config.fuse == "mean" and not self.config.normalise_views:
                scores = scores.mean(0, keepdim=True)
            views += list(scores.cpu().numpy())
        return views

    @property
    def _recipe(self) -> Recipe:
        relu = self.config.activate == "fused" and self.config.activation == "relu"
        return Recipe(
            self.config.fuse, self.config.normalise, self.config.normalise_views, relu, padded=not self.config.sizes
        )

    def _on_grid(self, scores: Tensor, height: int, width: int) -> Tensor:
        """The nodes of an image of height x width pixels: [views, channels, rows, columns] of network outputs."""
        covered = (height, width) if self.config.sizes else padded_size(height, width)
        down, across = (
            torch.tensor(node_weights(found, over, pixels), device=self.device)
            for found, over, pixels in zip(scores.shape[2:], covered, (height, width), strict=True)
        )
        return down @ scores @ across.T

    def _scores(self, image: Tensor, size: list[int], labels: Tensor, wanted: Tensor) -> Tensor:
        """What the network says of an image at one input size, both flips or one: [views, K or all channels, h, w]."""
        images = _resized(image, size)
        if self.config.flip:
            images = torch.cat([images, images.flip(3)])
        images = images.contiguous(memory_format=self._format)
        scores = self.module.class_maps(images, labels.expand(len(images), -1)).float()
        expected = labels.shape[1] + self.module.background_channel
        if scores.shape[1] != expected:
            name = type(self.module).__name__
            raise RunError(f"{name}.class_maps gives {scores.shape[1]} channels, expected {expected}")
        if self.config.flip:
            scores = torch.cat([scores[:1], scores[1:].flip(3)])
        if self.config.activation != "softmax":  # softmax still needs the absent classes
            scores = self._present(scores, wanted)
        if self.config.activate == "view":
            scores = self._activated(scores, wanted)
        return scores

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
        return scores[:, wanted + int(self.module.background_channel)]

    def _normalised(self, scores: Tensor, height: int, width: int) -> Tensor:
        """Nodes [..., K, rows, columns] stretched per class; the extremes are those of the image's pixels."""
        if self.config.normalise == "none":
            return scores
        pixels = _at_pixels(scores, height, width)
        high = pixels.amax((-2, -1), keepdim=True)
        low = pixels.amin((-2, -1), keepdim=True) if self.config.normalise == "minmax" else 0
        return (scores - low) / (high - low).clamp_min(FLOOR)


def _check_finite(name: str, scores: Tensor) -> None:
    if not bool(torch.isfinite(scores).all()):
        raise RunError(f"image {name}: the network gives maps that are not finite")


def _at_pixels(nodes: Tensor, height: int, width: int) -> Tensor:
    """`storage.full_size` of nodes [..., K, rows, columns], before they are cut to 0..1."""
    flat = nodes.reshape(-1, 1, *nodes.shape[-2:])
    larger = functional.interpolate(flat, scale_factor=float(CELL), mode="bilinear", align_corners=False)
    half = CELL // 2
    inside = larger[..., half : half + height, half : half + width]
    return inside.reshape(*nodes.shape[:-2], height, width)


def _resized(image: Tensor, size: list[int]) -> Tensor:
    """Antialiased like the PIL resize of IRN."""
    if size == list(image.shape[2:]):
        return image
    return functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
