"""One way into Ray: a local cluster of our own, or the cluster that was named."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from wsss_platform.engine.machine import OBJECT_STORE
from wsss_platform.errors import RunError

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # the default of 2 s is paid at every checkpoint
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in a worker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # work that holds no GPU sees none, else all of it would use the first
}
"""Environment variables of Ray that are set unless the user has set them."""
MOST_CPUS = 8
"""Of one training process: beyond it neither its convolutions nor its image loaders gain."""
LOOPBACK = ("localhost", "127.0.0.1")
"""Names that mean another machine on each."""
_PORT = "RAY_GCS_SERVER_PORT"
"""Environment variable: the port of a new cluster's head."""


@contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process and of those it starts; afterwards they are what they were before."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class ClusterInfo:
    """What the cluster has in all, not what is free."""

    address: str
    """Of the cluster's head, host:port."""
    nodes: int
    cpus: float
    gpus: float
    node_cpus: tuple[float, ...]
    """CPUs of each node."""
    started: bool
    """Whether it is ours and ends with the context."""
    dashboard: str
    """URL, or empty when it is not known."""

    def cpus_beside(self, gpus_per_worker: float) -> int:
        """The CPUs, 8 at most, that each worker of a study's trials can have when all GPUs are in use; 1 without
        GPUs, so that as many trials as possible run at once."""
        if not gpus_per_worker or not self.gpus:
            return 1
        return max(1, min(MOST_CPUS, int(self.cpus * gpus_per_worker / self.gpus)))

    def cpus_for(self, workers: int) -> int:
        """The most CPUs, 8 at most, that each of `workers` processes can have so that all find a place."""
        for cpus in range(MOST_CPUS, 1, -1):
            if sum(int(node // cpus) for node in self.node_cpus) >= workers:
                return cpus
        return 1


@contextlib.contextmanager
def connect(
    address: str | None = None, *, cpus: int | None = None, object_store: int = OBJECT_STORE
) -> Iterator[ClusterInfo]:
    """A Ray cluster for the duration of a `with`.

    Without an address (and without RAY_ADDRESS, which `ray job submit` and the cluster scripts set) a new
    local cluster is started and ended with the context; a cluster that happens to run on this machine is
    never joined. A process that is connected already (a trial, a test) keeps its connection.

    Args:
        address: "auto", "host:port" or "ray://..." to join; "local" starts a new one whatever RAY_ADDRESS says.
        cpus: of a new local cluster; default all.
        object_store: bytes of its shared memory.

    Raises:
        RunError: the named cluster cannot be reached.
    """
    if ray.is_initialized():
        yield cluster_info()
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    started = address == "local"
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if started:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process less per training
    with _quiet():  # a new cluster asks for a token; Ray says so, and sets RAY_AUTH_MODE for our own clients
        dashboard = _start(cpus, object_store) if started else _join(address)
    try:
        yield cluster_info(started=started, dashboard=dashboard)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _start(cpus: int | None, object_store: int) -> str:
    port = int(os.environ.get(_PORT, 0)) or _free_port()  # so that the address is known before the processes start
    with environment({_PORT: str(port)}):
        context = ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=object_store,
            # Ray Train's clean-up of stopped trials asks the dashboard; without it their CPUs are never freed.
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": worker_environment(f"127.0.0.1:{port}")},
        )
    return f"http://{context.dashboard_url}" if context.dashboard_url else ""


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("", 0))
        port: int = place.getsockname()[1]
    return port


def _join(address: str) -> str:
    host, _, port = address.rpartition(":")
    plain = bool(host) and port.isdigit() and "//" not in address
    try:
        if plain:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        context = ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": worker_environment(address if plain and host not in LOOPBACK else None)},
        )
    except (ConnectionError, TimeoutError, socket.gaierror) as error:
        raise RunError(f"no Ray cluster at {address!r}: {error}") from None
    return f"http://{context.dashboard_url}" if context.dashboard_url else ""


def worker_environment(address: str | None = None) -> dict[str, str]:
    """Variables of every worker process: one thread each unless the work asks torch for more, and its own cluster.

    Ray Train's clean-up asks "the" cluster of the machine which trainings are alive. With two of them it may ask the
    other one, which knows none, and takes the resources of a training that runs for those of one that died.

    Args:
        address: of the cluster, host:port, as all its nodes know it; None leaves Ray to find it.
    """
    threads = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    own = {} if address is None else {"RAY_ADDRESS": address}
    return {**threads, **own, **{name: os.environ.get(name, value) for name, value in SETTINGS.items()}}


def total_resources() -> dict[str, float]:
    """Of the connected cluster, by Ray's names ("CPU", "GPU", ...), busy or not."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return total


def cluster_info(*, started: bool = False, dashboard: str = "") -> ClusterInfo:
    """The cluster that this process is connected to."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    total = total_resources()
    cpus = [node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]]
    return ClusterInfo(
        address=ray.get_runtime_context().gcs_address,
        nodes=len(cpus),
        cpus=float(total.get("CPU", 0)),
        gpus=float(total.get("GPU", 0)),
        node_cpus=tuple(cpus),
        started=started,
        dashboard=dashboard,
    )
