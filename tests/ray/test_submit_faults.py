"""What a command that was sent to a Ray cluster survives: lost nodes and a lost head.

Each ends with the bytes of a run that nothing happened to, in one process on this machine.
"""

from __future__ import annotations

import filecmp
from pathlib import Path

import pytest

from another_process import until
from real_ray import TRAIN, running_cluster, send_to, wait_for
from the_command import process
from wsss_platform.sites import ray_jobs
from wsss_platform.sites.ledger import Sent

pytestmark = pytest.mark.drill

CHUNKS = 8
"""Of 32 images, the last one small."""
RUN = [*TRAIN, "--train-split", "val", "--score-split", "train", "--until", "score", "--name", "run"]
RUN += ["--set", f"data.sample.train={32 * CHUNKS - 20}", "--set", "train.epochs=2", "--set", "masks.crf=irn"]
QUICK = {f"RAY_health_check_{name}": value for name, value in {"period_ms": "300", "timeout_ms": "1000"}.items()}
QUICK |= {"RAY_health_check_failure_threshold": "5", "RAY_health_check_initial_delay_ms": "0"}
"""A dead node is noticed within seconds."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a run in one process."""
    storage = tmp_path_factory.mktemp("undisturbed")
    process(*RUN, "--local", "--storage", str(storage))
    return storage


def different(one: Path, other: Path) -> list[str]:
    """Files of stages that are not the same in both; manifests and metrics say how long something took."""
    roots = (one / "stages", other / "stages")
    names = {path.relative_to(root).as_posix() for root in roots for path in root.rglob("*") if path.is_file()}
    names = {name for name in names if not name.endswith((".lock", "manifest.json", "metrics.jsonl"))}
    assert {name.split("/")[0] for name in names} == {"train", "maps", "masks", "score"}
    both = {name: [root / name for root in roots] for name in names}
    return sorted(
        name
        for name, (one, other) in both.items()
        if not (one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False))
    )


def until_chunk(storage: Path, stage: str, sent: Sent) -> None:
    """Waits until some, not all of the chunks of maps or masks are there."""
    pattern = {"maps": "maps-*.parquet", "masks": "chunk-*.done"}[stage]

    def some() -> bool:
        assert ray_jobs.status(sent).state in ("queued", "running"), list(ray_jobs.logs(sent, follow=False))[-5:]
        return any(storage.glob(f"stages/**/{pattern}"))

    until(some, f"a chunk of {stage}")
    assert len(list(storage.glob(f"stages/**/{pattern}"))) < CHUNKS


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
