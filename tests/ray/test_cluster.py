import subprocess
import sys
import textwrap

import pytest
import ray

from wsss_platform.engine.cluster import connect
from wsss_platform.errors import RunError


def test_a_local_cluster_is_ours_and_ends_with_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    @ray.remote(num_cpus=1)
    def environment() -> dict[str, str]:
        import os

        return dict(os.environ)

    with connect(cpus=2, object_store=128 * 1024**2) as outer:
        assert outer.started
        assert (outer.nodes, outer.cpus) == (1, 2)
        assert outer.dashboard.startswith("http://127.0.0.1:")  # Train's clean-up of stopped trials needs it
        seen = ray.get(environment.remote())
        assert seen["OMP_NUM_THREADS"] == "1"
        assert seen["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "0.5"
        with connect() as inner:  # a second context in a connected process keeps the connection
            assert not inner.started
            assert inner.address == outer.address
        assert ray.is_initialized()
        other = _other_process()
        assert other.returncode == 0, other.stderr
        assert other.stdout.split() == ["1", "True", "False", "True", "True"]
        assert other.stderr == ""
    assert not ray.is_initialized()


def _other_process() -> subprocess.CompletedProcess[str]:
    """A second program on this machine: it must not join the cluster that runs here, nor may its workers ask it,
    nor see a GPU that they do not hold."""
    code = f"""
    import ray
    from wsss_platform.engine.cluster import connect
    @ray.remote
    def asked():
        import os
        from ray.util.state import list_nodes
        return [node.node_id for node in list_nodes()], os.environ.get("CUDA_VISIBLE_DEVICES")
    with connect(cpus=1, object_store=128 * 1024**2) as cluster:
        print(int(cluster.cpus), cluster.started, cluster.address == {ray.get_runtime_context().gcs_address!r})
        nodes, devices = ray.get(asked.remote())
        print(nodes == [node["NodeID"] for node in ray.nodes()], devices == "")
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )


def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(RunError, match=r"no Ray cluster at '127\.0\.0\.1:1'"), connect("127.0.0.1:1"):
        pass
