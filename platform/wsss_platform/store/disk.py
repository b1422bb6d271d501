"""What keeps a storage folder from being written, said with its name and with how much is free.

A full or read-only disk is no fault of what was being computed: it must not count as a failed trial.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsss_platform.errors import InputError, RunError

FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (*FULL, errno.EROFS)
"""Errors of a disk, whoever wants to write."""
PROBE = 1024**2
"""Bytes that a check writes and deletes again."""
LEAST = 16 * 1024**2
"""Free bytes below which a disk counts as full: little more than one checkpoint of a small network."""


def fault(folder: Path) -> str | None:
    """Why nothing can be stored in a folder now; None when it can. Makes the folder, and writes `PROBE` bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return _full(folder) if error.errno in FULL else f"{folder} cannot be written: {error.strerror}"
    return _full(folder) if shutil.disk_usage(folder).free < LEAST else None


def check_writable(folder: Path) -> None:
    """InputError when nothing can be stored in a storage folder: to be called before anything starts."""
    reason = fault(folder)
    if reason is not None:
        raise InputError(f"--storage: {reason}", field="--storage")


def fault_behind(reason: str, folder: Path) -> str | None:
    """Whether the disk is behind a failure.

    Args:
        reason: what the failure says; errors of Ray's workers are known by their text only.
        folder: the storage; it is checked, since what a full disk breaks may say anything.

    Returns:
        What is wrong with the disk, and the reason; None when the failure is the run's own.
    """
    found = fault(folder)
    if found is None and any(os.strerror(number) in reason for number in UNWRITABLE):
        found = "a disk was full or read-only"  # another one, or what filled it has gone
    return None if found is None else f"{found} ({reason})"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """An error inside that a full or read-only storage is behind becomes a RunError that says so."""
    try:
        yield
    except (OSError, RuntimeError, InputError) as error:
        found = fault_behind(f"{type(error).__name__}: {error}", folder)
        if found is None:
            raise
        raise RunError(f"{found}; the same command continues once that is mended") from error


def _full(folder: Path) -> str:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    return (
        f"{folder} cannot be written: its disk or quota is full ({usage.free / 1024**2:.0f} MiB of "
        f"{usage.total / 1024**3:.1f} GiB are free; `wsss-platform store gc` frees some)"
    )
