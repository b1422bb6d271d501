"""The peak is that of the training, and it follows what is held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wsss_platform.train.peak_memory import PeakMemory

PROGRAM = """
import numpy as np, torch
from wsss_platform.train.peak_memory import GIBIBYTE, PeakMemory
peak = PeakMemory(torch.device("cpu"))
before = peak.gibibytes()
held = np.ones(200 * 1024**2, np.uint8)
grown = peak.gibibytes()
assert grown - before > 0.9 * len(held) / GIBIBYTE
del held
assert peak.gibibytes() > grown - 0.01  # a peak, not what is held now; the kernel counts in batches
assert PeakMemory(torch.device("cpu")).gibibytes() < grown - 0.1
"""


def test_the_peak_follows_what_is_held_and_begins_anew() -> None:
    """In a process of its own: a training in this one lets it keep what it frees (`memory`)."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak can be reset on Linux only")
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_without_proc_it_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("wsss_platform.train.peak_memory._STATUS", tmp_path / "none")
    monkeypatch.setattr("wsss_platform.train.peak_memory._CLEAR", tmp_path / "no" / "folder")
    assert 0.01 < PeakMemory(torch.device("cpu")).gibibytes() < 1000
