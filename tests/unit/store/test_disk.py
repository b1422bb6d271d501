"""A storage that cannot be written is named, and is told apart from a run that failed by itself."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from wsss_platform.errors import InputError, RunError
from wsss_platform.store.disk import check_writable, explained, fault, fault_behind


def fill(folder: Path) -> Path:
    """A file that takes all that is left."""
    path = folder / "filler"
    with pytest.raises(OSError, match="No space left"), path.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(64 * 1024))
    return path


def test_a_good_folder_is_made_and_stays_empty(tmp_path: Path) -> None:
    assert fault(tmp_path / "new" / "storage") is None
    assert list((tmp_path / "new" / "storage").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--storage: .*file/storage cannot be written: Not a directory"):
        check_writable(tmp_path / "file" / "storage")


def test_a_full_disk_is_named_with_what_is_free(small_disk: Path) -> None:
    check_writable(small_disk)
    filler = fill(small_disk)
    with pytest.raises(InputError, match=r"disk cannot be written: its disk or quota is full \(0 MiB of 0\.0 GiB are"):
        check_writable(small_disk)
    with pytest.raises(RunError, match=r"OSError: .*No space left.*the same command continues"), explained(small_disk):
        (small_disk / "more").write_bytes(bytes(4096))
    with pytest.raises(RunError, match="inline_container"), explained(small_disk):
        raise RuntimeError("inline_container.cc: unexpected pos 64 vs 0")  # what torch says of a full disk
    filler.unlink()
    check_writable(small_disk)


def test_a_nearly_full_disk_counts_as_full(small_disk: Path) -> None:
    (small_disk / "most").write_bytes(bytes(16 * 1024**2))
    assert "full (8 MiB of" in (fault(small_disk) or "")


def test_a_read_only_disk_is_named(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(InputError, match=r"disk cannot be written: Read-only file system"):
        check_writable(small_disk)


def test_what_a_run_did_itself_stays_its_own(tmp_path: Path) -> None:
    assert fault_behind("step 3: loss term 'contrast' is nan", tmp_path) is None
    with pytest.raises(RuntimeError, match="^a bug$"), explained(tmp_path):
        raise RuntimeError("a bug")
    with pytest.raises(KeyError), explained(tmp_path):
        raise KeyError("another")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_another_disk_is_known_by_what_the_worker_said(tmp_path: Path, number: int) -> None:
    said = fault_behind(f"worker 0: OSError: [Errno {number}] {os.strerror(number)}: '/tmp/x'", tmp_path)
    assert said is not None
    assert "'/tmp/x'" in said
