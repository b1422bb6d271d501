"""What each trick for CPUs buys on its own: `python -m benchmarks.cpu_tricks [--threads N] [--only WORD]` prints the
measurements of `platform/wsss_platform/nets/cpu/README.md`.

Every set of tricks is timed in turn, in two processes: one keeps freed memory and one does not, since that cannot be
taken back. Random images and random weights.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch

from wsss_platform.config import BackboneConfig, MapsConfig
from wsss_platform.data import Sample
from wsss_platform.maps import prepared
from wsss_platform.maps.extract import Extractor
from wsss_platform.method.module import Batch
from wsss_platform.nets.backbones import efficientnet_lite0
from wsss_platform.nets.cpu.memory import keep_freed_memory
from wsss_platform.nets.heads.cam_classifier import CamClassifier

ROUNDS, CLASSES, HEIGHT, WIDTH = 9, 20, 375, 500
Name = Literal["efficientnet_lite0", "resnet50", "vgg16"]
Tricks = frozenset[str]


@dataclass(frozen=True)
class Case:
    """A situation of the product and the tricks that it has."""

    network: Name
    tricks: tuple[str, ...]
    scales: tuple[float, ...] = ()
    """Of maps of one image with its flip; a training step where there are none."""
    batch: int = 0
    crop: int = 0

    def __str__(self) -> str:
        if self.scales:
            return f"maps, {self.network}, scales {', '.join(f'{scale:g}' for scale in self.scales)}"
        return f"training step, {self.network}, {self.batch} crops of {self.crop}"

    @property
    def backbone(self) -> BackboneConfig:
        stride: Literal[8, 16] = 8 if self.network == "vgg16" else 16
        return BackboneConfig(name=self.network, output_stride=stride, weights="none")


CASES = (
    Case("efficientnet_lite0", ("memory", "channels_last"), scales=(0.5, 1.0, 1.5)),
    Case("resnet50", ("winograd", "memory", "channels_last"), scales=(1.0,)),
    Case("vgg16", ("winograd", "memory", "channels_last"), scales=(1.0,)),
    Case("resnet50", ("winograd", "memory"), scales=(1.5,)),
    Case("efficientnet_lite0", ("depthwise", "merged_norm", "memory", "channels_last"), batch=8, crop=128),
    Case("efficientnet_lite0", ("depthwise", "memory"), batch=8, crop=256),
    Case("resnet50", ("memory",), batch=4, crop=256),
)


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_tricks", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="1: CPU time, medians; more: wall clock, minima")
    parser.add_argument("--only", default="", help="cases whose name has this word")
    arguments = parser.parse_args()
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    print(f"{datetime.date.today()}, torch {torch.__version__}, {names[0].partition(':')[2].strip()}, ", end="")
    print(f"{arguments.threads} thread(s), {'CPU time' if arguments.threads == 1 else 'wall clock'}\n")
    print("| situation | with all | trick | ratio alone | beside the others |\n|---|--:|---|--:|--:|")
    for case in CASES:
        if arguments.only in str(case):
            for line in _lines(case, arguments.threads):
                print(line, flush=True)


def _lines(case: Case, threads: int) -> Iterator[str]:
    """A line for each trick: how many times less is needed with it than without."""
    none, everything = frozenset[str](), frozenset(case.tricks)
    pairs = {trick: ((none, none | {trick}), (everything - {trick}, everything)) for trick in case.tricks}
    spent = _times(case, threads, {tricks for both in pairs.values() for pair in both for tricks in pair})
    for trick, both in pairs.items():
        alone, beside = (spent[slow] / spent[quick] for slow, quick in both)
        yield f"| {case} | {1e3 * spent[everything]:,.0f} ms | {trick} | {alone:.2f}x | {beside:.2f}x |"


def _times(case: Case, threads: int, wanted: set[Tricks]) -> dict[Tricks, float]:
    """Seconds of one piece of work with each set of tricks, measured in turn."""
    context = multiprocessing.get_context("spawn")
    times: dict[Tricks, list[float]] = {tricks: [] for tricks in sorted(wanted, key=sorted)}
    pipes, processes = {}, []
    for keeps in {"memory" in tricks for tricks in wanted}:
        pipes[keeps], end = context.Pipe()
        processes.append(context.Process(target=_serve, args=(end, case, threads, keeps), daemon=True))
        processes[-1].start()
    for number in range(ROUNDS + 1):
        for tricks, own in times.items():
            pipe = pipes["memory" in tricks]
            pipe.send(tricks)
            own.append(pipe.recv())
        print(f"{case}: round {number} of {ROUNDS}", file=sys.stderr)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(None)
        process.join()
    for tricks, own in times.items():
        seconds = " ".join(f"{value:.3g}" for value in own[1:])
        print(f"{', '.join(sorted(tricks)) or 'none'}: {seconds}", file=sys.stderr)
    typical = statistics.median if threads == 1 else min
    return {tricks: typical(own[1:]) for tricks, own in times.items()}  # the first round warms up


def _serve(pipe: Any, case: Case, threads: int, keeps: bool) -> None:
    """Answer a set of tricks with the seconds that the work takes with them."""
    torch.set_num_threads(threads)
    if keeps:
        keep_freed_memory()
    clock = time.process_time if threads == 1 else time.perf_counter
    works: dict[Tricks, Callable[[], None]] = {}
    while (tricks := pipe.recv()) is not None:
        if tricks not in works:
            works[tricks] = _maps(case, tricks) if case.scales else _step(case, tricks)
        with ExitStack() as off:
            if "depthwise" in case.tricks and "depthwise" not in tricks:
                off.enter_context(patch.object(efficientnet_lite0, "serves", lambda *_: False))
            if "merged_norm" in case.tricks and "merged_norm" not in tricks:
                off.enter_context(patch.object(efficientnet_lite0, "FrozenBatchNorm", ()))
            started = clock()
            works[tricks]()
            pipe.send(clock() - started)


def _maps(case: Case, tricks: Tricks) -> Callable[[], None]:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    sample = Sample("random", image, np.arange(CLASSES) == 0)
    with ExitStack() as off:
        if "winograd" in case.tricks and "winograd" not in tricks:
            off.enter_context(patch.object(prepared, "quicken", lambda *_: None))
        extractor = Extractor(
            CamClassifier(case.backbone, CLASSES),
            MapsConfig(scales=case.scales),
            case.backbone.output_stride,
            channels_last="channels_last" in tricks or "channels_last" not in case.tricks,
        )

    def work() -> None:
        extractor(sample)

    return work


def _step(case: Case, tricks: Tricks) -> Callable[[], None]:
    """Forward, backward and update."""
    last = "channels_last" in tricks or "channels_last" not in case.tricks
    module = CamClassifier(case.backbone, CLASSES).train()
    if last:
        module.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW([value for value in module.parameters() if value.requires_grad], lr=1e-6)
    images = torch.randn(case.batch, 3, case.crop, case.crop)
    labels = torch.eye(CLASSES)[: case.batch]
    valid = torch.ones(case.batch, case.crop, case.crop, dtype=torch.bool)
    batch = Batch([str(index) for index in range(case.batch)], images, labels, valid, {})
    batch = batch.to(torch.device("cpu"), channels_last=last)

    def work() -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(module(batch, 0.5).values())).sum().backward()
        optimiser.step()

    return work


if __name__ == "__main__":
    main()
