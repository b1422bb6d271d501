"""Maps of a real network on the photographs: ImageNet features of EfficientNet-Lite0 and class prototypes.

Nothing is trained: a class's weight is the mean feature of the images that have it, less that of all images, so
the maps are as smooth and as wrong as class activation maps are; the mean IoU of such maps means little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.images import SCALES, STRIDE, PreparedImage, data
from wsss_platform.config import BackboneConfig, MapsConfig
from wsss_platform.data import Sample, open_data
from wsss_platform.data.views import normalise
from wsss_platform.maps.extract import Extractor
from wsss_platform.maps.storage import AnyMap, padded_size
from wsss_platform.nets.heads.cam_classifier import CamClassifier


class Remembering(CamClassifier):
    """Computes each input once, so that several stored forms are made of the same outputs."""

    def __init__(self, classes: int) -> None:
        super().__init__(BackboneConfig(output_stride=STRIDE), classes)
        self._known: dict[tuple[Any, ...], Tensor] = {}

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """[B, C, h, w] of the prototypes."""
        key = (*images.shape, float(images[0, :, ::7, ::7].double().sum()))
        if key not in self._known:
            self._known[key] = super().class_maps(images, labels)
        return self._known[key]


class NetworkMaps:
    """The stored forms of a few images, and the peers' full-size maps of the same network."""

    def __init__(self, prepared: list[PreparedImage], classes: int) -> None:
        """Fit the prototypes at half size."""
        split = open_data(data()).split("train")
        self._samples = {p.id: _sample(split.read(p.id), p, classes) for p in prepared}
        self._module = Remembering(classes).eval()
        with torch.inference_mode():
            features = torch.cat([self._feature(sample.image) for sample in self._samples.values()])
        has = torch.from_numpy(np.array([sample.labels for sample in self._samples.values()]))
        for c in np.flatnonzero(has.any(0)):
            weight = features[has[:, c]].mean(0) - features.mean(0)
            self._module.classifier.weight.data[c, :, 0, 0] = weight

    def _feature(self, image: NDArray[np.uint8]) -> Tensor:
        half = functional.interpolate(torch.from_numpy(normalise(image))[None], scale_factor=0.5, mode="bilinear")
        return functional.normalize(self._module.backbone(half)["final"].mean((2, 3)))

    def stored(self, id: str, **config: Any) -> AnyMap:
        """As this platform stores them, at the benchmark's scales."""
        return Extractor(self._module, MapsConfig(scales=SCALES, **config), STRIDE)(self._samples[id])

    @torch.inference_mode()
    def full(self, id: str) -> NDArray[np.float32]:
        """The peers' way (IRN): each scale's output to the padded image with torch, summed, cut, over the maximum."""
        sample = self._samples[id]
        height, width = sample.image.shape[:2]
        target = padded_size(height, width)
        whole = torch.from_numpy(normalise(sample.image))[None]
        whole = functional.pad(whole, (0, target[1] - width, 0, target[0] - height))
        total = torch.zeros(1)
        for scale in SCALES:
            size = [max(1, round(scale * side / STRIDE)) * STRIDE for side in target]
            images = whole
            if size != list(target):
                images = functional.interpolate(whole, size, mode="bilinear", align_corners=False, antialias=True)
            images = torch.cat([images, images.flip(3)]).contiguous(memory_format=torch.channels_last)
            scores = self._module.class_maps(images, torch.zeros(2))[:, torch.from_numpy(sample.labels)].relu()
            both = scores[:1] + scores[1:].flip(3)
            total = total + functional.interpolate(both, target, mode="bilinear", align_corners=False)
        full = total[0, :, :height, :width]
        scaled: NDArray[np.float32] = (full / full.amax((1, 2), keepdim=True).clamp_min(1e-5)).numpy()
        return scaled


def _sample(sample: Sample, image: PreparedImage, classes: int) -> Sample:
    return Sample(sample.id, sample.image, np.isin(np.arange(classes), image.classes))
