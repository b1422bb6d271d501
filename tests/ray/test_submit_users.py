"""Two users whose studies run at once on one Ray cluster, each with a storage folder of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from real_ray import TRAIN, running_cluster, send_to, wait_for
from wsss_platform.sites import ray_jobs

pytestmark = pytest.mark.drill

STUDY = ["tune", *TRAIN[1:], "--set", "train.epochs=2", "--trials", "2", "--concurrent", "1", "--no-baseline"]


def table(storage: Path) -> list[tuple[object, ...]]:
    (path,) = storage.glob("studies/*/trials.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["number"], row["state"], row["changes"], row["objective"]) for row in rows]


def test_two_studies_of_two_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tables are that of a study which has the cluster for itself."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with running_cluster(1, 1, 1) as cluster:
        monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
        users = [tmp_path / name for name in ("ann", "bob")]
        both = [send_to(cluster, storage, STUDY) for storage in users]
        for sent in both:
            wait_for(ray_jobs, sent, "finished", seconds=900)
        wait_for(ray_jobs, send_to(cluster, tmp_path / "alone", STUDY), "finished", seconds=900)
    ann, bob, alone = (table(tmp_path / name) for name in ("ann", "bob", "alone"))
    assert len(alone) == 2
    assert ann == bob == alone
