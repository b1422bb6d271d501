"""Multi-scale maps of photographs on one core: our extractor against IRN's make_cam with the same network.

The other side is IRN's step: each scale resized by PIL (bicubic), normalised in float64, a batch of the flip pair, the
outputs of all 20 classes brought to the strided and to the full size and summed over the scales, then the present
classes kept and divided by their maximum. Both sides make four scales and flips; neither writes its maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from benchmarks.measure import Row, alternate, seconds
from benchmarks.pictures import SCALES, Picture, data
from wsss_platform.config import BackboneConfig, MapsConfig
from wsss_platform.data import Sample, open_data
from wsss_platform.maps.extract import Extractor
from wsss_platform.nets.cam_classifier import CamClassifier

ROUNDS, STRIDE = 3, 16
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
NETWORKS: tuple[tuple[Literal["resnet50", "efficientnet_lite0"], float, int], ...] = (
    ("resnet50", 1.2, 2),
    ("efficientnet_lite0", 1.5, 6),
)
"""Backbone, what was asked, pictures."""


def rows(pictures: list[Picture], classes: int, folder: Path) -> Iterator[Row]:
    """CPU seconds per picture, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, asked, count in NETWORKS:
            yield _row(name, asked, pictures[:count], classes)
    finally:
        torch.set_num_threads(threads)


def _row(name: Literal["resnet50", "efficientnet_lite0"], asked: float, pictures: list[Picture], classes: int) -> Row:
    split = open_data(data()).split("train")
    samples = [_sample(split.read(picture.id), picture, classes) for picture in pictures]
    torch.manual_seed(0)
    config = BackboneConfig(name=name, output_stride=STRIDE, weights="none")
    theirs, ours = CamClassifier(config, classes).eval(), CamClassifier(config, classes)
    ours.load_state_dict(theirs.state_dict())
    extract = Extractor(ours, MapsConfig(scales=SCALES), STRIDE)

    def own() -> None:
        for sample in samples:
            extract(sample)

    def irn() -> None:
        for sample in samples:
            _make_cam(theirs, sample)

    mine, other = (spent / len(samples) for spent in alternate(own, irn, rounds=ROUNDS))
    floor = _work(theirs, samples) / _multiplications_per_second() / len(samples)
    return Row(
        name=f"multi-scale map inference, {name}, vs IRN's make_cam",
        ours=mine * 1e3,
        theirs=other * 1e3,
        unit="ms",
        asked=asked,
        limit_share=floor / mine,
        limit="multiplications of the convolutions at the measured rate of a 1024 x 1024 float32 product",
        note=f"{len(samples)} pictures, scales {', '.join(f'{scale:g}' for scale in SCALES)} and flips, one thread",
    )


def _sample(sample: Sample, picture: Picture, classes: int) -> Sample:
    labels = np.zeros(classes, np.bool_)
    labels[picture.classes] = True
    return Sample(sample.id, sample.image, labels)


def _make_cam(network: CamClassifier, sample: Sample) -> NDArray[np.float32]:
    """IRN's step/make_cam.py and voc12/dataloader.py."""
    image = Image.fromarray(sample.image)
    height, width = sample.image.shape[:2]
    strided, up = [(side - 1) // 4 + 1 for side in (height, width)], [-(-side // 16) * 16 for side in (height, width)]
    cams, high = [], []
    with torch.no_grad():
        for scale in SCALES:
            size = (round(width * scale), round(height * scale))
            scaled = np.asarray(image if scale == 1 else image.resize(size, Image.Resampling.BICUBIC))
            values = ((scaled / 255.0 - MEAN) / DEVIATION).astype(np.float32).transpose(2, 0, 1)
            pair = torch.from_numpy(np.stack([values, values[:, :, ::-1]]))
            scores = torch.relu(network.class_maps(pair, torch.zeros(2, 20)))
            both = scores[0] + scores[1].flip(-1)
            cams.append(functional.interpolate(both[None], strided, mode="bilinear", align_corners=False)[0])
            high.append(functional.interpolate(both[None], up, mode="bilinear", align_corners=False)[0])
        kept = torch.from_numpy(np.flatnonzero(sample.labels))
        low_res = torch.stack(cams).sum(0)[kept]
        low_res /= low_res.amax((1, 2), keepdim=True) + 1e-5
        high_res = torch.stack(high).sum(0)[:, :height, :width][kept]
        high_res /= high_res.amax((1, 2), keepdim=True) + 1e-5
    found: NDArray[np.float32] = high_res.numpy()
    return found


def _work(network: CamClassifier, samples: list[Sample]) -> float:
    """Multiplications of all convolutions over all scales and flips."""
    total = 0.0

    def count(module: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        kernel = module.kernel_size[0] * module.kernel_size[1]
        total += output.numel() * kernel * module.in_channels / module.groups

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    for sample in samples:
        _make_cam(network, sample)
    for hook in hooks:
        hook.remove()
    return total


def _multiplications_per_second() -> float:
    side = 1024
    a, b = torch.randn(side, side), torch.randn(side, side)
    a @ b
    return side**3 / min(seconds(lambda: a @ b) for _ in range(5))
