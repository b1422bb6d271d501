"""Training steps: each method against the host network it is built on, in time and in peak memory.

Small random images on EfficientNet-Lite0 with random weights; the banks are full, as they are late in a training.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import wsss_methods
from benchmarks.images import PreparedImage
from benchmarks.measure import Row
from wsss_methods.fbr.amn import Amn
from wsss_methods.fbr.bank import Bank
from wsss_methods.fbr.on_eps.host import EpsHost
from wsss_platform.config import BackboneConfig, override
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.backbones import efficientnet_lite0
from wsss_platform.nets.heads.cam_classifier import CamClassifier

CLASSES, BATCH, SIDE, ROUNDS = 20, 4, 160, 4


HOSTS: dict[str, tuple[str, Callable[[Any, int], TrainingModule]]] = {
    "fbr": ("AMN", Amn),
    "fbr_cam": ("CAM", lambda config, classes: CamClassifier(config.backbone, classes)),
    "fbr_s": ("EPS with pixel correlation", EpsHost),
    "rtc": ("CAM", lambda config, classes: CamClassifier(config.backbone, classes)),
    "rcm_mam": ("CAM", lambda config, classes: CamClassifier(config.backbone, classes)),
}
"""Method -> its host's name, and what builds the host alone from the method's config."""


def rows(_images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """Our gradients of dilated convolutions, then one row for each method. Wall time of a whole step, one thread; the
    two sides take turns."""
    torch.set_num_threads(1)
    batch = _batch()
    yield _dilated(batch)
    for name, (host_name, build_host) in HOSTS.items():
        method = wsss_methods.get(name)
        config = override(method.config(), {"backbone.weights": "none"})
        torch.manual_seed(0)
        sides = [
            _Step(method.phases(config)[-1].build(config, CLASSES), batch),
            _Step(build_host(config, CLASSES), batch),
        ]
        peaks = [peak_of_process(side) for side in sides]
        ours, theirs = _in_turn(sides)
        peaks_known = None not in peaks
        more = f", {peaks[0] - peaks[1]:+.0f} MB" if peaks[0] is not None and peaks[1] is not None else ""
        yield Row(
            name=f"training step of {name} over {host_name} alone",
            ours=ours,
            theirs=theirs,
            unit="ms",
            ours_peak=peaks[0] if peaks_known else None,
            theirs_peak=peaks[1] if peaks_known else None,
            note=f"batch {BATCH} of {SIDE} x {SIDE} pixels, full banks: {ours - theirs:+.0f} ms{more}; a step's peak "
            "over what the process held before",
        )


def _dilated(batch: Batch) -> Row:
    """A step of CAM with our depthwise gradients and with PyTorch's."""
    torch.manual_seed(0)
    ours = _Step(CamClassifier(BackboneConfig(weights="none", output_stride=16), CLASSES), batch)

    def theirs() -> None:
        with patch.object(efficientnet_lite0, "serves", lambda *_: False):
            ours()

    own, other = _in_turn([ours, theirs])
    note = f"EfficientNet-Lite0 at stride 16, batch {BATCH} of {SIDE} x {SIDE} pixels, one thread"
    return Row(
        "training step of cam vs PyTorch's gradients of dilated depthwise convolutions", own, other, "ms", note=note
    )


def _in_turn(sides: Sequence[Callable[[], None]]) -> list[float]:
    """Median ms of each side."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, own in zip(sides, times, strict=True):
            started = time.perf_counter()
            side()
            own.append(time.perf_counter() - started)
    return [1e3 * statistics.median(own) for own in times]


class _Step:
    """Forward, backward and update of everything that is trained."""

    def __init__(self, training_module: TrainingModule, batch: Batch) -> None:
        self.training_module, self.batch = training_module.train(), batch
        self.optimiser = torch.optim.SGD([p for p in training_module.parameters() if p.requires_grad], lr=1e-4)
        for module in training_module.modules():
            if isinstance(module, Bank):
                module.push(torch.rand_like(module.vectors))
        self()  # the first step allocates what later ones keep

    def __call__(self) -> None:
        terms = self.training_module(self.batch, 0.5)
        self.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        self.optimiser.step()
        self.training_module.after_step()


def _batch() -> Batch:
    """Noise with two bright squares of different classes in each image."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    labels = torch.zeros(BATCH, CLASSES)
    seed = torch.zeros(BATCH, SIDE, SIDE, dtype=torch.int64)
    for index in range(BATCH):
        for number, start in enumerate((SIDE // 8, SIDE // 2)):
            square = (slice(start, start + SIDE // 3), slice(start, start + SIDE // 3))
            labels[index, 2 * index + number] = 1
            images[index, number, square[0], square[1]] += 2
            seed[index, square[0], square[1]] = 2 * index + number + 1
    saliency = (seed > 0).float().unsqueeze(1)
    valid = torch.ones(BATCH, SIDE, SIDE, dtype=torch.bool)
    return Batch([str(i) for i in range(BATCH)], images, labels, valid, {"seed": seed, "saliency": saliency})


def peak_of_process(work: Callable[[], object]) -> float | None:
    """MB of resident memory that one call added at most; None where the system does not say (Linux does).

    Memory that earlier work freed and the allocator kept is given back first, so that it does not hide the need.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status("VmRSS")
        work()
        return (_status("VmHWM") - before) / 1e3
    except OSError:
        return None


def _status(field: str) -> float:
    """A memory field of this process in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
