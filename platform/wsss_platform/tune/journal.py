"""Optuna's journal file, whole whatever happens to its writer.

Optuna's own backend (5.0) leaves a line cut off when the disk is full or the writer is killed, and the next line is
appended to it: from then on the study cannot be read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock


class WholeLines(JournalFileBackend):
    """Takes back what it could not write to the end, and what a killed writer left."""

    def __init__(self, path: Path) -> None:
        self._path, self._guard = path, JournalFileOpenLock(str(path))
        super().__init__(str(path), lock_obj=self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all of them, one a line, or none; OSError when they cannot be written."""
        lines = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        self._guard.acquire()
        try:
            size = _whole(self._path)
            if size < self._path.stat().st_size:
                os.truncate(self._path, size)
            try:
                with self._path.open("ab", buffering=0) as stream:
                    rest = memoryview(lines)
                    while rest:  # a disk that gets full takes a part first
                        rest = rest[stream.write(rest) :]
                    os.fsync(stream.fileno())
            except BaseException:
                os.truncate(self._path, size)
                raise
        finally:
            self._guard.release()


def _whole(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if not size:
            return 0
        stream.seek(size - 1)
        if stream.read(1) == b"\n":
            return size
        stream.seek(0)
        return stream.read().rfind(b"\n") + 1
