"""`doctor`: what it says of this machine, what it never says, and what else it must not do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from another_process import LONGEST_WAIT
from the_command import valid
from wsss_platform.api import _doctor
from wsss_platform.engine import machine
from wsss_platform.report.documents import Doctor, DoctorItem
from wsss_platform.report.tables.doctor import doctor_result

NAMES = [
    "python",
    "wsss-platform",
    "packages",
    "torch",
    "gpu",
    "cpu",
    "memory",
    "shared memory",
    "storage",
    "ray",
    "optuna",
    "wandb",
    "dense crf",
    "scipy",
    "cmaes",
    "pycocotools",
    "psycopg",
    "WSSS_STORAGE",
    "WSSS_WANDB",
    "WSSS_STUDY_STORAGE",
    "RAY_ADDRESS",
    "OMP_NUM_THREADS",
]
VARIABLES = NAMES[-5:]
KEY = "0123456789abcdef0123456789abcdef01234567"
# W&B speaks to a process of its own through a socket that is a file; the network is everything else.
WITHOUT_NETWORK = """
import socket, sys
inner = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX:
        sys.exit(f"the network was asked: {address}")
    return inner(self, address)
socket.socket.connect = connect
from wsss_platform.cli import main
main()
"""


def doctor(*arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as W&B keeps who is logged in."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables
    command = [sys.executable, "-c", WITHOUT_NETWORK, "doctor", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=2 * LONGEST_WAIT, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def items(printed: str) -> dict[str, Any]:
    return {one["name"]: one for one in valid(json.loads(printed))["items"]}


@contextmanager
def listening() -> Iterator[tuple[str, Callable[[], bool]]]:
    """A service that only notes whether it was asked: its URL, and that."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        def asked() -> bool:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked


def test_it_tells_no_secret_and_asks_nobody(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with listening() as (url, asked):
        given = {
            "WANDB_API_KEY": KEY,
            "WANDB_BASE_URL": url,
            "WSSS_STORAGE": str(storage),
            "WSSS_WANDB": "online",
            "WSSS_STUDY_STORAGE": "postgresql://us-er:pa/ss#word@nowhere.example/studies?password=too",
            "RAY_ADDRESS": "ray://us-er:pass-word@nowhere.example:10001",
            "OMP_NUM_THREADS": "3",
        }
        done = doctor("--json", **given)
        assert not asked()
        socket.create_connection(server_of(url)).close()
        assert asked(), "it would have been noticed"
    found = items(done.stdout)
    assert list(found) == NAMES
    assert json.loads(done.stdout)["complete"]
    for secret in (KEY, "us-er", "pa/ss", "word@", "pass-word", "password"):
        assert secret not in done.stdout + done.stderr
    assert "auto is online" in found["wandb"]["found"]
    assert found["psycopg"]["needed"]
    told = {name: found[name]["found"] for name in VARIABLES}
    assert told == {
        "WSSS_STORAGE": str(storage),
        "WSSS_WANDB": "online",
        "WSSS_STUDY_STORAGE": "set, to a URL of postgresql",
        "RAY_ADDRESS": "nowhere.example:10001",
        "OMP_NUM_THREADS": "3",
    }
    assert found["storage"]["found"].startswith(f"{storage} (not made yet)")
    assert not storage.exists()


def server_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def test_a_storage_that_cannot_be_written_fails_after_the_document(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = doctor("--json", "--storage", str(tmp_path / "file" / "storage"), code=1, WANDB_MODE="disabled")
    found = items(done.stdout)
    assert not json.loads(done.stdout)["complete"]
    assert (found["storage"]["state"], found["storage"]["needed"]) == ("missing", True)
    assert "file cannot be written" in found["storage"]["found"]
    assert "needed and missing: storage" in done.stderr
    assert "auto is disabled (WANDB_MODE is disabled)" in found["wandb"]["found"]
    assert {found[name]["found"] for name in VARIABLES} == {"not set"}


# --- single items ---------------------------------------------------------------------------------------


def looked_at(name: str) -> DoctorItem:
    (check,) = (one for one in _doctor._checks(None) if one.name == name)
    return _doctor._item(check)


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these could not be imported."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


def test_a_needed_package_that_cannot_be_imported_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "wsss_platform.masks.crf.dense_crf")
    one = looked_at("dense crf")
    assert (one.state, one.needed) == ("missing", True)
    assert "pip install 'pydensecrf2" in one.meaning
    assert Doctor.of([one]).lacking == ("dense crf",)
    assert "missing, needed" in str(doctor_result(Doctor.of([one])))


def test_an_extra_that_is_not_installed_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "cmaes")
    one = looked_at("cmaes")
    assert (one.state, one.needed) == ("missing", False)
    assert one.meaning == "only for tune --sampler cmaes: pip install 'wsss-platform[search]'"
    assert Doctor.of([one]).complete


def test_a_check_that_fails_is_a_warning_without_secrets() -> None:
    def fails() -> _doctor.Finding:
        raise RuntimeError("no answer from http://me:pass-word@here\nmore")

    one = _doctor._item(_doctor.Check("it", fails, needed=True))
    assert one.state == "warning"
    assert one.found == "could not be checked: no answer from http://***@here"


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("WSSS_WANDB", "offline", "ok"),
        ("WSSS_WANDB", "pass-word", "warning"),
        ("WSSS_STUDY_STORAGE", "sqlite:///studies.db", "ok"),
        ("WSSS_STUDY_STORAGE", "mysql://me:pass-word@here/studies", "warning"),
        ("WSSS_STUDY_STORAGE", "pass-word", "warning"),
        ("OMP_NUM_THREADS", "4,2", "ok"),
        ("OMP_NUM_THREADS", "pass-word", "warning"),
    ],
)
def test_variables(name: str, value: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    one = looked_at(name)
    assert one.state == state
    assert "pass-word" not in one.found + one.meaning


def test_gpus_and_a_driver_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_doctor, "NVIDIA", tmp_path / "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (looked_at("gpu").found, looked_at("gpu").state) == ("none", "ok")
    monkeypatch.setattr(_doctor, "NVIDIA", tmp_path)
    assert looked_at("gpu").state == "warning"
    one = SimpleNamespace(name="NVIDIA X", total_memory=80 * 1024**3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: one)
    assert looked_at("gpu").found == "NVIDIA X (80.0 GiB), NVIDIA X (80.0 GiB)"


def test_little_room_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_shared_memory", lambda: 64 * 1024**2)
    assert "--shm-size" in looked_at("shared memory").meaning
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * 1024**2))
    assert looked_at("storage").state == "warning"


# --- limits of a container ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "files", "cpus", "memory"),
    [
        ("0::/job/step\n", {"job/cpu.max": "50000 100000", "job/step/memory.max": "1048576"}, 0.5, 1048576),
        ("0::/job\n", {"job/cpu.max": "max 100000", "memory.max": "2097152", "job/memory.max": "max"}, None, 2097152),
        ("0::/../job\n", {"job/memory.max": "1048576"}, None, 1048576),
        (
            "4:memory:/job\n3:cpu,cpuacct:/\n0::/\n",
            {
                "memory/job/memory.limit_in_bytes": "1048576",
                "cpu/cpu.cfs_quota_us": "25000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            0.25,
            1048576,
        ),
        ("4:memory:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
        ("", {}, None, None),
    ],
)
def test_a_containers_limits_count(
    ours: str,
    files: Mapping[str, str],
    cpus: float | None,
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "own").write_text(ours)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "groups")
    assert machine.cpus() == (cpus or len(os.sched_getaffinity(0)))
    assert machine.memory() == (memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def test_clusters_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(["gcs_server", "python", "gcs_server"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
    monkeypatch.setattr(machine, "PROCESSES", tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "2 clusters running here" in looked_at("ray").found
    assert "RAY_ADDRESS" in looked_at("ray").meaning
