"""What a command that was sent to a Ray cluster survives: lost nodes and a lost head.

Each ends with the bytes of a run that nothing happened to, in one process on this machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from another_process import until
from cluster_faults import CHUNKS, QUICK, RUN, chunks_of, different
from real_ray import running_cluster, send_to, wait_for
from wsss_platform.sites import ray_jobs
from wsss_platform.sites.ledger import Sent

pytestmark = pytest.mark.drill


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def until_chunk(storage: Path, stage: str, sent: Sent) -> None:
    """Waits until some, not all of the chunks of maps or masks are there."""

    def some() -> bool:
        assert ray_jobs.status(sent).state in ("queued", "running"), list(ray_jobs.logs(sent, follow=False))[-5:]
        return bool(chunks_of(storage, stage))

    until(some, f"a chunk of {stage}")
    assert len(chunks_of(storage, stage)) < CHUNKS


def test_a_node_lost_in_the_maps_and_one_lost_in_the_masks(
    here: None, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "storage"
    with running_cluster(0, 1, 1, 1, **QUICK) as cluster:
        monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
        sent = send_to(cluster, storage, RUN)
        for stage in ("maps", "masks"):
            until_chunk(storage, stage, sent)
            cluster.lose_a_node()
        wait_for(ray_jobs, sent, "finished", seconds=900)
        assert not different(undisturbed, storage)


def test_a_lost_head_costs_what_was_not_stored(
    here: None, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the cluster is killed in the maps; the same command, sent to a new one, does not train again."""
    storage = tmp_path / "storage"
    with running_cluster(0, 1, 1, **QUICK) as cluster:
        monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
        until_chunk(storage, "maps", send_to(cluster, storage, RUN))
        cluster.lose_all()
    trained = {path: path.stat().st_mtime_ns for path in storage.glob("stages/train/*/manifest.json")}
    assert trained
    made = {path.name: path.stat().st_mtime_ns for path in storage.glob("stages/**/maps-*.parquet")}
    assert 0 < len(made) < CHUNKS
    with running_cluster(0, 1, 1) as cluster:
        monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
        wait_for(ray_jobs, send_to(cluster, storage, RUN), "finished", seconds=900)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    after = {path.name: path.stat().st_mtime_ns for path in storage.glob("stages/maps/*/*.parquet")}
    assert len(after) == CHUNKS
    assert made.items() <= after.items(), "a finished chunk was made again"
    assert not different(undisturbed, storage)
