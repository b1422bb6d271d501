"""What a study survives, each really done to it on a cluster of two nodes; the table is that of a study left in peace.

A killed driver is in test_tuner_bugs, a trial with a NaN loss in test_tuner, Ctrl-C in test_study_interrupts.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tiny_study import request
from wsss_platform.api import study_records
from wsss_platform.config import override
from wsss_platform.engine.cluster import SETTINGS, connect
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.jobs import METRICS
from wsss_platform.report.progress import shown_log
from wsss_platform.run.trial_events import StudyEvent, TrialEpoch, TrialStarted
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.tracking.weights_and_biases import Tracker
from wsss_platform.train.record import read_epochs
from wsss_platform.tune.tuner import StudyRequest, StudyResult, tune

pytestmark = [pytest.mark.ray, pytest.mark.drill]

TRIALS, EPOCHS = 3, 3
"""Of each study here, one trial at a time unless it says otherwise; two steps an epoch."""


def study(storage: Path, trouble: dict[str, Any] | None = None, **more: Any) -> StudyRequest:
    """The study that all tests here disturb."""
    asked = request(storage, TRIALS, epochs=EPOCHS, **{"concurrent": 1, **more})
    changes = {f"trouble.{name}": value for name, value in (trouble or {}).items()}
    config = override(asked.experiment.config, changes, "test")
    return replace(asked, experiment=replace(asked.experiment, config=config))


def table(rows: tuple[TrialRow, ...]) -> list[tuple[Any, ...]]:
    """What must not depend on what went wrong."""
    return [(row.number, row.state, dict(row.changes), row.objective, row.fixed, row.threshold) for row in rows]


def trainings(storage: Path) -> dict[Path, int]:
    """The finished trainings, each with all epochs once, and when each was finished."""
    made = sorted((storage / "stages" / "train").glob("*/manifest.json"))
    for path in made:
        assert [end.epoch for end in read_epochs(path.parent / METRICS)] == list(range(1, EPOCHS + 1))
    return {path: path.stat().st_mtime_ns for path in made}


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Any]]:
    """The cluster, and its two nodes of one CPU: trials and trainings are there, none at the head."""
    from ray.cluster_utils import Cluster

    quick = {"period_ms": "300", "timeout_ms": "1000", "failure_threshold": "3", "initial_delay_ms": "0"}
    settings = {**SETTINGS, **{f"RAY_health_check_{name}": value for name, value in quick.items()}}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)  # a dead node is noticed within seconds
    store = {"object_store_memory": 128 * 1024**2}
    # Ray Train asks the dashboard what to clean up after a trial that died with its node.
    dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": None}
    head = {"num_cpus": 0, "memory": 1000, **dashboard}
    cluster = Cluster(initialize_head=True, head_node_args={**head, **store})
    try:
        found = [cluster.add_node(num_cpus=1, memory=10**9, **store) for _ in range(2)]
        with connect(cluster.address):
            yield [cluster, *found]
    finally:
        cluster.shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="module")
def peace(nodes: list[Any], tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """The study that nothing happens to."""
    return tune(study(tmp_path_factory.mktemp("peace")))


def test_a_training_worker_is_killed(peace: StudyResult, tmp_path: Path) -> None:
    """Ray Train starts it again from its checkpoint; the trial does not even notice."""
    once = tmp_path / "once"
    events: list[StudyEvent] = []
    asked = study(tmp_path / "storage", {"kill_step": 3, "once": str(once)}, nested=True)
    asked = asked.with_options(trials=1)
    result = tune(asked, events.append)
    assert once.exists()
    assert table(result.rows) == table(peace.rows[:1])
    assert sum(isinstance(event, TrialStarted) for event in events) == 1
    assert len(trainings(asked.store.root)) == 1


def test_the_process_of_a_trial_is_killed(peace: StudyResult, tmp_path: Path) -> None:
    """In its second epoch; another process takes the trial up from its checkpoint."""
    once = tmp_path / "once"
    events: list[StudyEvent] = []
    result = tune(study(tmp_path / "storage", {"kill_step": 3, "once": str(once)}), events.append)
    assert once.exists()
    assert table(result.rows) == table(peace.rows)
    assert [event.number for event in events if isinstance(event, TrialStarted)] == [0, 0, 1, 2]
    assert len(trainings(tmp_path / "storage")) == TRIALS


def test_a_trial_without_memory_or_that_always_kills_its_process_is_listed(nodes: list[Any], tmp_path: Path) -> None:
    """Each is tried as often as was said and listed with its reason; the others are not touched."""
    axes = {
        "trouble.megabytes": {"kind": "categorical", "choices": [0, 512]},
        "trouble.kill_step": {"kind": "categorical", "choices": [-1, 0]},
    }
    events: list[StudyEvent] = []
    asked = request(tmp_path, 6, axes, concurrent=2, sampler_seed=1, retries=1)
    result = tune(asked, events.append)
    found = {(row.changes.get("trouble.kill_step", -1), row.changes.get("trouble.megabytes", 0)) for row in result.rows}
    assert found >= {(-1, 0), (-1, 512), (0, 0)}, "another seed"
    for row in result.rows:
        killed, large = row.changes.get("trouble.kill_step") == 0, row.changes.get("trouble.megabytes") == 512
        starts = sum(isinstance(event, TrialStarted) and event.number == row.number for event in events)
        assert row.state == ("fail" if killed or large else "complete")
        assert starts == (2 if killed and not large else 1), row
        if large:
            assert "can't allocate memory" in str(row.reason)
        elif killed:
            assert "process died more often than it is retried: " in str(row.reason)
            assert "worker process has died" in str(row.reason)
    rows = table(result.rows)
    assert table(tune(asked).rows) == rows  # finished trials, failed ones included, are not run again


def test_a_full_disk_stops_the_study_and_fails_no_trial(peace: StudyResult, small_disk: Path) -> None:
    """Filled in the middle of trial 1. Once there is room the same call goes on; a read-only disk is refused."""
    asked = study(small_disk / "storage", {"seconds": 0.2})
    filler = small_disk / "filler"

    def fill(event: StudyEvent) -> None:
        if isinstance(event, TrialEpoch) and event.number == 1 and not filler.exists():
            with filler.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
                while True:
                    stream.write(bytes(64 * 1024))

    with pytest.raises(RunError, match=rf"{small_disk}/storage.* full \(0 MiB of .* are free.*same command continues"):
        tune(asked, fill)
    before = trainings(asked.store.root)
    assert len(before) == 1
    with pytest.raises(InputError, match=rf"{small_disk}/storage cannot be written: its disk or quota is full"):
        tune(asked)
    filler.unlink()
    again: list[StudyEvent] = []
    result = tune(asked, again.append)
    assert table(result.rows) == table(peace.rows)
    assert [event.number for event in again if isinstance(event, TrialStarted)] == [1, 2]
    after = trainings(asked.store.root)
    assert len(after) == TRIALS
    assert before.items() <= after.items()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(InputError, match=rf"{small_disk}/storage cannot be written: Read-only file system"):
        tune(asked.with_options(trials=TRIALS + 1))


def test_weights_and_biases_is_away(
    peace: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens at the service's address: the runs are kept offline, and the study does not care."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(study_records, "Tracker", functools.partial(Tracker, patience=1.0))
    asked = study(tmp_path, wandb="online", keep_best=0)
    with shown_log(), study_records.StudyRecords(asked) as records:
        result = tune(asked, records)
    assert table(result.rows) == table(peace.rows)
    assert len(list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))) == TRIALS
    assert "the service did not open the run" in capfd.readouterr().err


def test_a_node_is_lost(nodes: list[Any], peace: StudyResult, tmp_path: Path) -> None:
    """With the trial or the training on it, of two at once: the other node finishes all of them. (Keep it last.)"""
    cluster, node, _ = nodes
    lost: list[Any] = []

    def kill(event: StudyEvent) -> None:
        if isinstance(event, TrialEpoch) and not lost:
            lost.append(node)
            cluster.remove_node(node, allow_graceful=False)

    result = tune(study(tmp_path, {"seconds": 0.2}, concurrent=2, nested=True), kill)
    assert lost
    assert table(result.rows) == table(peace.rows)
    assert len(trainings(tmp_path)) == TRIALS
