"""For the whole suite: our engine is imported before ray itself, as the command does; the longest tests come first."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsss_platform.engine  # noqa: F401  (sets what Ray reads from the environment when it is imported)

# Ray's workers usually give way to other processes. Here those are tests beside them, and a starved cluster is slow.
os.environ.setdefault("RAY_worker_niceness", "0")

LONGEST = ("test_readme_commands_run", "test_a_study_from_search_to_leaderboard")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """So that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.name not in LONGEST)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB that a test may fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.getuid() or shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
