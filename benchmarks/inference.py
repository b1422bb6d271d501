"""Multi-scale maps of photographs on one core: our extractor against IRN's make_cam with the same network.

The other side is IRN's step: each scale resized by PIL (bicubic), normalised in float64, a batch of the flip pair, the
outputs of all 20 classes brought to the strided and to the full size and summed over the scales, then the present
classes kept and divided by their maximum, with BatchNorms as layers of their own. Both sides make four scales and
flips; neither writes its maps.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.images import SCALES, PreparedImage, data
from benchmarks.measure import Row, seconds
from wsss_platform.config import BackboneConfig, MapsConfig
from wsss_platform.data import Sample, open_data
from wsss_platform.maps.extract import Extractor
from wsss_platform.nets.cpu.memory import keep_freed_memory
from wsss_platform.nets.heads.cam_classifier import CamClassifier

ROUNDS, STRIDE = 3, 16
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
Name = Literal["resnet50", "efficientnet_lite0"]
NETWORKS: tuple[tuple[Name, float, int], ...] = (
    ("resnet50", 1.15, 2),
    ("efficientnet_lite0", 1.25, 6),
)
"""Backbone, what was asked, images."""


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """CPU seconds per image, one thread."""
    for name, asked, count in NETWORKS:
        yield _row(name, asked, images[:count], classes)


def _row(name: Name, asked: float, images: list[PreparedImage], classes: int) -> Row:
    ours, theirs = (_Side(side, name, images, classes) for side in ("ours", "theirs"))
    with ours, theirs:
        mine, other = (spent / len(images) for spent in _in_turn(ours, theirs))
        floor = theirs.ask("work") / _multiplications_per_second() / len(images)
    return Row(
        name=f"multi-scale map inference, {name}, vs IRN's make_cam",
        ours=mine * 1e3,
        theirs=other * 1e3,
        unit="ms",
        asked=asked,
        limit_share=floor / mine,
        limit="multiplications of the direct convolutions at the measured rate of a 1024 x 1024 float32 product; ours "
        "does with fewer where Winograd's form serves, so more than all of it is possible",
        note=f"{len(images)} images, scales {', '.join(f'{scale:g}' for scale in SCALES)} and flips, one thread",
    )


class _Side:
    """One side in a process of its own, since ours changes how the C library treats freed memory."""

    def __init__(self, side: str, name: Name, images: list[PreparedImage], classes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, side, name, images, classes), daemon=True)

    def __enter__(self) -> _Side:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("end")
        self._process.join()

    def ask(self, what: str) -> float:
        self._pipe.send(what)
        answer: float = self._pipe.recv()
        return answer


def _in_turn(*sides: _Side) -> list[float]:
    times: list[list[float]] = [[side.ask("once") for side in sides] for _ in range(ROUNDS + 1)]
    return [statistics.median(own) for own in zip(*times[1:], strict=True)]  # the first round warms up


def _serve(pipe: Any, side: str, name: Name, images: list[PreparedImage], classes: int) -> None:
    """Answer "once" with the CPU seconds of all images, "work" with the multiplications in them."""
    torch.set_num_threads(1)
    split = open_data(data()).split("train")
    samples = [_sample(split.read(image.id), image, classes) for image in images]
    torch.manual_seed(0)
    make: Callable[[Sample], object]
    network = CamClassifier(
        BackboneConfig(name=name, output_stride=STRIDE, weights="none", batch_norm="train"), classes
    )
    if side == "ours":
        keep_freed_memory()
        make = Extractor(network, MapsConfig(scales=SCALES), STRIDE)
    else:
        make = partial(_make_cam, network.eval())
    while (asked := pipe.recv()) != "end":
        pipe.send(
            seconds(lambda: [make(sample) for sample in samples]) if asked == "once" else _work(network, make, samples)
        )


def _sample(sample: Sample, image: PreparedImage, classes: int) -> Sample:
    labels = np.zeros(classes, np.bool_)
    labels[image.classes] = True
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


def _work(network: CamClassifier, make: Callable[[Sample], object], samples: list[Sample]) -> float:
    """Multiplications of all convolutions over all scales and flips."""
    with FlopCounterMode(network, display=False) as counter:
        for sample in samples:
            make(sample)
    return counter.get_total_flops() / 2


def _multiplications_per_second() -> float:
    side = 1024
    torch.set_num_threads(1)
    a, b = torch.randn(side, side), torch.randn(side, side)
    a @ b
    return side**3 / min(seconds(lambda: a @ b) for _ in range(5))
