"""A raylet whose network is cut: three network namespaces of this host and a bridge. Needs root.

The node beyond the cut goes on with its chunk and shares the disk, as one whose storage lies in another network does.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from another_process import until
from cluster_faults import CHUNKS, QUICK, RUN, chunks_of, different
from real_ray import kill_all_of
from wsss_platform.engine.cluster import SETTINGS

BIN = Path(sys.executable).parent


def namespaces_can_be_made() -> bool:
    """Also whether a bridge can be."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "nsenter", "unshare"))):
        return False
    bridge = ["ip", "link", "add", "bridge", "type", "bridge"]
    return not subprocess.run(["unshare", "--net", *bridge], check=False, capture_output=True).returncode


pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(not namespaces_can_be_made(), reason="needs root, iproute2 and network namespaces"),
]


@dataclass(frozen=True)
class Network:
    """A head at 10.77.0.1 and two nodes at .2 and .3, which reach nothing else."""

    holders: tuple[subprocess.Popen[bytes], ...]
    """A sleeping process in each namespace, the head's first."""
    environment: dict[str, str]

    def inside(self, place: int, *words: str) -> list[str]:
        """The words of a command that runs in a namespace."""
        return ["nsenter", f"--net=/proc/{self.holders[place].pid}/ns/net", *words]

    def call(self, place: int, *words: str) -> str:
        """What a command prints there."""
        done = subprocess.run(
            self.inside(place, *words), env=self.environment, capture_output=True, text=True, check=False
        )
        assert not done.returncode, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def link(self, node: int, state: str) -> None:
        """Cut (`down`) or mend (`up`) the cable of a node."""
        self.call(0, "ip", "link", "set", f"to{node}", state)

    def alive(self) -> set[str]:
        """The addresses that the head takes for alive."""
        told = "import ray; ray.init('10.77.0.1:6379', log_to_driver=False)\n"
        told += "print('ALIVE', *(node['NodeManagerAddress'] for node in ray.nodes() if node['Alive']))"
        (line,) = (line for line in self.call(0, sys.executable, "-c", told).splitlines() if line.startswith("ALIVE"))
        return set(line.split()[1:])


def _cables(network: Network) -> None:
    for place in range(3):
        network.call(place, "ip", "link", "set", "lo", "up")
    network.call(0, "ip", "link", "add", "bridge", "type", "bridge")
    network.call(0, "ip", "address", "add", "10.77.0.1/24", "dev", "bridge")
    network.call(0, "ip", "link", "set", "bridge", "up")
    for node in (1, 2):
        there = str(network.holders[node].pid)
        network.call(0, "ip", "link", "add", f"to{node}", "type", "veth", "peer", "name", "cable", "netns", there)
        network.call(0, "ip", "link", "set", f"to{node}", "master", "bridge", "up")
        network.call(node, "ip", "address", "add", f"10.77.0.{node + 1}/24", "dev", "cable")
        network.call(node, "ip", "link", "set", "cable", "up")


def _namespace(process: int | str) -> str:
    return str(Path(f"/proc/{process}/ns/net").readlink())


@pytest.fixture
def network() -> Iterator[Network]:
    """Its Ray: a head without CPUs and two nodes of one."""
    temporary = Path(tempfile.mkdtemp(prefix="wsss-"))  # short: Ray's sockets lie below
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON"))}
    environment |= {**SETTINGS, **QUICK, "RAY_TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    holders = tuple(subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) for _ in range(3))
    here = _namespace("self")
    until(lambda: all(_namespace(holder.pid) != here for holder in holders), "three namespaces")
    made = Network(holders, environment)
    try:
        _cables(made)
        start = [str(BIN / "ray"), "start", "--disable-usage-stats", "--object-store-memory", str(128 * 1024**2)]
        made.call(0, *start, "--head", "--port=6379", "--node-ip-address=10.77.0.1", "--num-cpus=0")
        for node in (1, 2):
            address = f"--node-ip-address=10.77.0.{node + 1}"
            made.call(node, *start, "--address=10.77.0.1:6379", address, "--num-cpus=1")
        yield made
    finally:
        kill_all_of(temporary)
        for holder in holders:
            holder.kill()
            holder.wait()
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.mark.parametrize("stage", ["maps", "masks"])
@pytest.mark.parametrize("seconds", [2, 20], ids=["short", "long"])
def test_a_cut_network_changes_nothing(
    network: Network, undisturbed: Path, tmp_path: Path, stage: str, seconds: int
) -> None:
    """A short cut is waited for; after a long one the node is dead, and the other one does its chunks."""
    storage = tmp_path / "storage"
    words = [str(BIN / "wsss-platform"), *RUN, "--storage", str(storage)]
    environment = {**network.environment, "RAY_ADDRESS": "10.77.0.1:6379"}
    with (tmp_path / "printed").open("w") as printed:
        running = subprocess.Popen(network.inside(0, *words), env=environment, stdout=printed, stderr=printed)
    try:
        until(lambda: running.poll() is not None or bool(chunks_of(storage, stage)), f"a chunk of {stage}")
        assert len(chunks_of(storage, stage)) < CHUNKS
        network.link(2, "down")
        time.sleep(seconds)
        expected = {"10.77.0.1", "10.77.0.2"} if seconds > 10 else {"10.77.0.1", "10.77.0.2", "10.77.0.3"}
        assert network.alive() == expected
        network.link(2, "up")
        assert running.wait(600) == 0, (tmp_path / "printed").read_text()
    finally:
        running.kill()
        running.wait()
    assert not different(undisturbed, storage)
