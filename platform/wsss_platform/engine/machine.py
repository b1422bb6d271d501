"""What this machine lets us have: CPUs and memory (where a container or a job is given less, that), shared memory.

Ray is not imported: this is asked before it is known whether there is one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

CGROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux says what a group of processes may take, and in which groups we are."""
SHARED, PROCESSES = Path("/dev/shm"), Path("/proc")  # noqa: S108  # only read
OBJECT_STORE = 512 * 1024**2
"""Bytes of shared memory of a local cluster. Only jobs and reports cross it; images are read where they are used."""


def cpus() -> float:
    """CPUs that this process may use."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(mine), *_cpu_limits()])


def memory() -> int:
    """Bytes that this process and those it starts may use together."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_memory_limits()])


def free_shared_memory() -> int | None:
    """Bytes; None where a system has no folder for it (macOS)."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else None


def clusters() -> int:
    """Ray clusters whose head is on this machine, whoever started them. Nothing is asked of them."""
    return sum(_text(path) == "gcs_server" for path in PROCESSES.glob("[0-9]*/comm"))


def _cpu_limits() -> Iterator[float]:
    for group in _groups("cpu"):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # else "max" or -1: as many as there are
            yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _text(group / name)).isdigit():
                yield int(limit)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of our group and of those that it lies in, in both versions of cgroups."""
    for line in _text(OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controller if controllers else CGROUPS
        inner = [part for part in path.split("/") if part not in ("", "..")]
        yield from (root.joinpath(*inner[:depth]) for depth in range(len(inner), -1, -1))


def _text(path: Path) -> str:
    """What a file says, without its last line break; "" when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
