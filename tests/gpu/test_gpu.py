"""What only a CUDA device can show: training, mixed precision and maps there agree with the CPU's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wsss_methods
from wsss_platform.config import DataConfig, SampleConfig, override
from wsss_platform.maps.extract import Extractor
from wsss_platform.maps.storage import full_size
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import TrainJob
from wsss_platform.train.loop import train_phase

pytestmark = pytest.mark.gpu
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


SMALL: dict[str, dict[str, Any]] = {
    "rtc": {"views.small": 32, "segmentation.start": 0},
    "rcm_mam": {"support.warm_up": 0, "support.ramp": 0},
    "fbr_s": {"host.small": 32},
}
"""What an epoch of crops of 64 asks for beside, so that every term counts in it."""


def experiment(method: str, precision: str = "float32") -> Experiment:
    """Eight generated images, one epoch; nothing is cut or flipped at random that the seed does not decide."""
    chosen = wsss_methods.get(method)
    changes = SMALL.get(method, {}) | {
        "backbone.weights": "none",
        "train.epochs": 1,
        "train.batch": 4,
        "train.crop": 64,
        "train.precision": precision,
        "maps.scales": [1.0],
    }
    data = DataConfig(sample=SampleConfig(train=8, val=2, size=64))
    return Experiment(chosen, override(chosen.config(), changes), data)


def losses(method: str, device: str, precision: str = "float32") -> dict[str, float]:
    """Mean losses of the first phase's only epoch."""
    asked = experiment(method, precision)
    job = TrainJob(asked, asked.phases[0], "key")
    end, _ = next(iter(train_phase(job, device=torch.device(device))))
    return dict(end.losses)


@pytest.mark.parametrize("method", wsss_methods.names())
def test_the_epoch_runs_and_every_term_counts(method: str) -> None:
    """Without a CUDA device too, so that these tests cannot rot where there is none."""
    asked, counted = experiment(method), losses(method, "cpu")
    assert all(math.isfinite(value) for value in counted.values())
    weighted = {name for name, weight in asked.loss_weights(asked.phases[0]).items() if weight}
    assert {name for name, value in counted.items() if value} >= weighted


@cuda
@pytest.mark.parametrize("method", wsss_methods.names())
def test_an_epoch_on_the_gpu_is_the_cpus_up_to_rounding(method: str) -> None:
    here, there = losses(method, "cpu"), losses(method, "cuda")
    assert there == pytest.approx(here, rel=0.02, abs=0.02)


@cuda
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", ["cam", "rtc", "rcm_mam"])
def test_mixed_precision_stays_near(method: str, precision: str) -> None:
    assert losses(method, "cuda", precision) == pytest.approx(losses(method, "cuda"), rel=0.1, abs=0.05)


@cuda
def test_maps_on_the_gpu_are_the_cpus_up_to_a_step(tmp_path: Path) -> None:
    asked = experiment("cam")
    torch.manual_seed(0)
    phase = asked.phases[-1]
    network = phase.build(asked.config, len(asked.dataset.classes))
    sample = asked.dataset.split("train").read(asked.dataset.split("train").ids[0])
    maps = []
    for device in ("cpu", "cuda"):
        stored = Extractor(network, asked.maps_config(phase), asked.config.backbone.output_stride, device)(sample)
        maps.append(full_size(stored))
    assert np.abs(maps[0] - maps[1]).max() <= 2 / 255
