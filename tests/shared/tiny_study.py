"""A study of the tiny method on a dozen generated images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray

from another_process import LONGEST_WAIT
from study_requests import study_request
from tiny_method import METHOD, TinyConfig, Trouble
from wsss_platform.config import DataConfig, MapsConfig, SampleConfig, TrainConfig
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.request import StudyRequest

CONTRAST = {"kind": "float", "low": 0.01, "high": 1.0, "log": True}


def request(storage: Path, trials: int, axes: dict[str, Any] | None = None, **more: Any) -> StudyRequest:
    """A study on a dozen generated images.

    `seconds` is how long a training step lasts; without `nested` a trial trains in its own process, in a blink.
    """
    workers = more.get("workers", 1)
    config = TinyConfig(
        train=TrainConfig(epochs=more.pop("epochs", 2), batch=6, crop=48, learning_rate=1e-3),
        maps=MapsConfig(scales=(1.0,), flip=False),
        trouble=Trouble(seconds=more.pop("seconds", 0.0)),
    )
    data = DataConfig(sample=SampleConfig(train=12, val=2, size=64))
    tables = {path: {"reason": "a range to test with", **table} for path, table in (axes or {}).items()}
    space = read_space({"axes": tables or {"loss.contrast": {"reason": "to test with", **CONTRAST}}}, config, "space")
    experiment = Experiment(METHOD, config, data, seed=0, workers=workers)
    runner = None if more.pop("nested", False) else LocalRunner(threads=1)
    settings = {"scheduler": "none", "runner": runner, **more}
    return study_request(experiment, space, trials, Store(storage), **settings)


def cpus_free(seconds: float = LONGEST_WAIT) -> float:
    """Free CPUs, once all are or the time is up."""
    until = time.monotonic() + seconds
    while (free := ray.available_resources().get("CPU", 0.0)) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    return free
