"""A real Ray of several nodes behind a dashboard with a token, and a way to send commands to it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wsss_platform.sites import ray_jobs, ray_up
from wsss_platform.sites.code import Code, Tree
from wsss_platform.sites.job import Job, new_id
from wsss_platform.sites.kinds import Client
from wsss_platform.sites.ledger import Sent, note_sent
from wsss_platform.sites.site import Site

ROOT = Path(__file__).parents[2]
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
head, *nodes = map(int, sys.argv[2:])
memory = {"object_store_memory": 128 * 1024**2}
dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": int(sys.argv[1])}
dashboard["dashboard_agent_listen_port"] = None  # any: the default is taken where another Ray runs
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head, **memory, **dashboard})
nodes = [cluster.add_node(num_cpus=cpus, **memory) for cpus in nodes]
print(cluster.webui_url, flush=True)
for _ in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("lost", flush=True)
cluster.shutdown()
"""
"""PORT CPUS_OF_THE_HEAD CPUS_OF_A_NODE...: each line that it reads kills a node."""
SMALL = ["data.sample.train=8", "data.sample.val=4", "data.sample.size=64", "train.crop=64", "backbone.weights=none"]
SMALL += ["maps.scales=[1.0]", "maps.flip=false"]
TRAIN = ["train", "cam", *(word for setting in SMALL for word in ("--set", setting)), "--wandb", "disabled"]


@dataclass(frozen=True)
class Cluster:
    """What a test needs of it."""

    address: str
    """Of its dashboard."""
    token: str
    temporary: Path
    """Its logs and all else that Ray writes."""
    process: subprocess.Popen[str]

    def lose_a_node(self) -> None:
        """Kill its last node."""
        said = _lines(self.process)
        assert self.process.stdin is not None
        self.process.stdin.write("lose\n")
        self.process.stdin.flush()
        assert said.readline() == "lost\n"

    def lose_all(self) -> None:
        """Kill each of its processes: the head, its nodes and what runs there."""
        kill_all_of(self.temporary)
        self.process.wait(60)


def kill_all_of(temporary: Path) -> None:
    """Kill each process of the Ray that writes its logs there: the head, its nodes and what runs there."""
    marked = f"RAY_TMPDIR={temporary}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if marked in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)
            except OSError:  # it has ended
                continue


def _lines(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@contextmanager
def running_cluster(*cpus: int, **variables: str) -> Iterator[Cluster]:
    """A head and nodes with so many CPUs, in a process that ignores Ctrl-C, as one in the background does."""
    temporary = Path(tempfile.mkdtemp(prefix="wsss-"))  # short: Ray's sockets lie below
    token = secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON"))}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(temporary)}
    environment |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **variables}
    words = [sys.executable, "-c", CLUSTER, str(free_port()), *map(str, cpus)]
    process = subprocess.Popen(
        ["bash", "-c", 'trap "" INT; exec "$@"', "quiet", *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = _lines(process).readline().strip()
        assert address, "the cluster did not start"
        yield Cluster(f"http://{address}", token, temporary, process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
        shutil.rmtree(temporary, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
    return port


def send_to(cluster: Cluster, storage: Path, command: list[str], *own: Tree, **more: Any) -> Sent:
    """This commit's code and other trees are sent, with settings of a site file. The token is in RAY_AUTH_TOKEN."""
    storage.mkdir(exist_ok=True)
    code = Code((tree(ROOT, "wsss-platform", "platform", "methods"), *own))
    given = {
        "kind": "ray",
        "storage": str(storage),
        "environment": {"venv": str(Path(sys.executable).parents[1])},
        "ray": {"address": cluster.address},
        **more,
    }
    job = Job(new_id("test"), "test", Site.model_validate(given), tuple(command), code)
    client: Client = ray_jobs if job.site.kind == "ray" else ray_up
    wrong = [check for check in client.check(job) if check.state == "wrong"]
    assert not wrong, wrong
    return note_sent(job, client.submit(job))


def tree(root: Path, name: str, *paths: str) -> Tree:
    """The commit of a work tree."""
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    return Tree(name, root, commit, "", (), paths, commit)


def wait_for(client: Client, sent: Sent, *wanted: str, seconds: float = 120) -> str:
    """What its state says, once it is one of the wanted."""
    limit = time.monotonic() + seconds
    while (found := client.status(sent)).state not in wanted:
        assert time.monotonic() < limit, found
        time.sleep(0.5)
    return found.said
