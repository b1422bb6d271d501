"""The most memory that a training has held in its process."""

from __future__ import annotations

import resource
from pathlib import Path

import torch

GIBIBYTE = 1024**3
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Peak since it was made.

    On a GPU what torch allocated there (`torch.cuda.max_memory_allocated`). Elsewhere the process's resident memory,
    Python and libraries included: what Linux counts since the peak was reset, or where it cannot be reset, since the
    process began. Processes that only read images ahead do not count.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            _CLEAR.write_text("5", encoding="ascii")  # proc(5): reset the peak of the resident set
        except OSError:  # not Linux, or not allowed: then since the process began
            return

    def gibibytes(self) -> float:
        """The peak so far, in GiB."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device)) / GIBIBYTE
        try:
            lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GIBIBYTE
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIBIBYTE
