"""Peak memory of this process above its start, and of shared memory (Ray's object store), while something runs."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Peak:
    """`with Peak() as peak: ...`; then `peak.megabytes`, and `peak.whole` with what was there at the start. Reads every
    20 ms."""

    def __enter__(self) -> Peak:
        self._stop, self._start, self.megabytes = threading.Event(), _now(), 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def whole(self) -> float:
        """MB, the start included."""
        return self._start + self.megabytes

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.megabytes = max(self.megabytes, _now() - self._start)


def _now() -> float:
    """MB: private memory of this process, and what lies in /dev/shm and in files of it that are already unlinked."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    private = int(status["RssAnon"].split()[0]) / 1e3
    shared = os.statvfs("/dev/shm")
    return private + (shared.f_blocks - shared.f_bfree) * shared.f_frsize / 1e6
