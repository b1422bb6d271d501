"""A real Ray cluster of two nodes on this machine, shared by the tests of a module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
# Ray's workers inherit it: they import what a test hands them by the name of its module.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ray)


@pytest.fixture(scope="module")
def two_nodes(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a cluster of two nodes with two CPUs each; this process is connected to it.

    Its dashboard, which takes seconds to start, is there only for Ray Train, which asks it about its workers.
    """
    from ray.cluster_utils import Cluster

    from wsss_platform.engine.cluster import SETTINGS, connect

    os.environ.update(SETTINGS)
    # The GPUs are claimed: what asks for one gets an actor that keeps it, and finds no CUDA there.
    trains = request.module.__name__.endswith("test_trainer")
    node = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": 128 * 1024**2}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**node, "include_dashboard": trains, "dashboard_host": "127.0.0.1", "dashboard_port": None},
    )
    try:
        cluster.add_node(**node)
        with connect(cluster.address):
            yield cluster.address
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of `cluster_faults.RUN` in one process."""
    from cluster_faults import RUN
    from the_command import process

    storage = tmp_path_factory.mktemp("undisturbed")
    process(*RUN, "--local", "--storage", str(storage))
    return storage
