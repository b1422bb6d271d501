"""Freed memory is used again instead of being cleared by the kernel each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from wsss_platform.nets.cpu.memory import keep_freed_memory
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


GAPS = """
import sys
import numpy as np
from wsss_platform.nets.cpu.memory import give_back_freed_memory, keep_freed_memory
assert keep_freed_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
blocks, small = [], []
for _ in range(64):
    blocks.append(np.ones(1 << 20))
    small.append(np.ones(100))
del blocks  # 512 MB, with what is in use between them
if sys.argv[1] == "given":
    assert give_back_freed_memory()
print(resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is asked")
def test_gaps_are_given_back_when_asked() -> None:
    def held(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", GAPS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert held("kept") - held("given") > 400 << 20
