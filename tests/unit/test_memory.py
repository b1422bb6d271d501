"""Freed memory is used again instead of being cleared by the kernel each time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wsss_platform.memory import bound_compiled

PROGRAM = """
import resource, sys
import numpy as np
from wsss_platform.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def once():
    np.empty(48 << 20, np.uint8)[::4096] = 1
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is asked")
def test_a_large_block_is_cleared_once() -> None:
    pages = 20 * (48 << 20) // 4096
    kept, default = _faults("keep"), _faults("default")
    assert kept < 0.1 * pages
    assert default > kept + 100  # huge pages make the default cheaper, but not as cheap


SIZES = """
import sys
import torch
from wsss_platform.memory import bound_compiled
if sys.argv[1] == "bound":
    bound_compiled(16)
torch.set_num_threads(1)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
convolution = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False)
with torch.inference_mode():
    convolution(torch.zeros(1, 64, 40, 40))
    before = resident()
    for size in range(600):
        convolution(torch.zeros(1, 64, 8 + size % 30, 8 + size // 30))
print(resident() - before)
"""


def _grown(how: str) -> int:
    clean = {name: value for name, value in os.environ.items() if "PRIMITIVE_CACHE" not in name}
    done = subprocess.run([sys.executable, "-c", SIZES, how], capture_output=True, text=True, check=True, env=clean)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_is_compiled_for_other_sizes_does_not_pile_up() -> None:
    assert _grown("bound") < 0.6 * _grown("free")


@pytest.mark.parametrize("name", ["ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"])
def test_a_users_own_bound_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv(name, "3")
    bound_compiled()
    assert {key: value for key, value in os.environ.items() if "PRIMITIVE_CACHE" in key} == {name: "3"}
