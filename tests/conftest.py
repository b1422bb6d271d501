"""For the whole suite: what tests and the processes they start find around them, and what must not be left of it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TEMPORARY, PYTEST_PARENT = "TMPDIR", "PYTEST_DEBUG_TEMPROOT"
WORKER = "PYTEST_XDIST_WORKER"
"""Environment variable: set in the processes of pytest-xdist, which share what their controller has made."""


def _temporary_folder() -> Path:
    """One folder for what anything here leaves in the temporary folder: Ray's sessions, W&B's sockets, folders of
    processes that are killed. Only pytest's own folders stay where they always are, so that a failure can be read.

    The name is short, because the paths of Ray's sockets lie in it; users of databases and of Slurm may write to it.
    """
    os.environ.setdefault(PYTEST_PARENT, tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="wsss-"))
    folder.chmod(0o1777)
    os.environ[TEMPORARY] = tempfile.tempdir = str(folder)
    return folder


OURS = None if WORKER in os.environ else _temporary_folder()
# Processes that tests start, Ray's workers among them, import by name what several test modules use.
SHARED = str(Path(__file__).parent / "shared")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SHARED, os.environ.get("PYTHONPATH")]))
# Ray's workers usually give way to other processes. Here those are tests beside them, and a starved cluster is slow.
os.environ.setdefault("RAY_worker_niceness", "0")

import wsss_platform.engine  # noqa: E402, F401  (sets what Ray reads from the environment when it is imported)

LONGEST = (
    "test_readme_commands_run",
    "test_guide_commands_run[search.md]",
    "test_a_study_from_search_to_leaderboard",
    "test_a_run_on_ray_is_that_of_one_process",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """So that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.name not in LONGEST)


def pytest_unconfigure() -> None:
    if OURS is not None:
        shutil.rmtree(OURS, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that starts a cluster says so with a marker; otherwise there is none to be had."""
    if not any(request.node.get_closest_marker(name) for name in ("ray", "slurm")):
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")


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
