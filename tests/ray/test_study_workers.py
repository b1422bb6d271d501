"""Studies whose trials are each trainings on two workers, on a cluster of three raylets of two CPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.state import list_actors, list_placement_groups

from another_process import until
from cluster_faults import QUICK
from study_requests import study_request
from tiny_method import METHOD, TinyConfig, TinyLoss, TinyModule, Trouble
from wsss_platform.config import DataConfig, MapsConfig, SampleConfig, TrainConfig
from wsss_platform.engine.cluster import SETTINGS, connect, environment
from wsss_platform.method import Phase
from wsss_platform.method.module import TrainingModule
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.trial_events import StudyEvent, TrialEpoch, TrialFinished, TrialStarted
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.tuner import StudyRequest, concurrency, tune

pytestmark = [pytest.mark.ray, pytest.mark.drill]

TRIALS, EPOCHS, STEPS, WORKERS = 6, 4, 2, 2
"""Steps are those of an epoch."""


class SeedConfig(TinyConfig):
    """A first phase that no axis changes, and where every step is written down."""

    seeds: TinyLoss = TinyLoss()
    log: str = ""


class Logged(TinyModule):
    """Appends a line to `log/<weight of its contrast>` at each step: the step, the rank and the node."""

    def __init__(self, classes: int, trouble: Trouble, log: str) -> None:
        super().__init__(classes, trouble)
        self.log = log

    def after_step(self) -> None:
        rank, node = ray.train.get_context().get_world_rank(), ray.get_runtime_context().get_node_id()
        with Path(self.log).open("a") as stream:
            stream.write(f"{int(self.steps)} {rank} {node}\n")
        super().after_step()


def build_seeds(config: SeedConfig, classes: int) -> TrainingModule:
    return Logged(classes, Trouble(), f"{config.log}/seeds")


def build(config: SeedConfig, classes: int) -> TrainingModule:
    return Logged(classes, config.trouble, f"{config.log}/{config.loss.contrast}")


def phases(config: SeedConfig) -> tuple[Phase, ...]:
    seeds = Phase("seeds", build_seeds, ("train", "seeds", "log"), loss="seeds")
    return (seeds, Phase("tiny", build, ("train", "loss", "trouble", "log"), reads={"seeds": "masks"}))


def study(folder: Path, **more: Any) -> StudyRequest:
    """Six trials; a step lasts a while, so that trials do run beside each other."""
    (folder / "log").mkdir(parents=True)
    config = SeedConfig(
        train=TrainConfig(epochs=EPOCHS, batch=6, crop=48, learning_rate=1e-3),
        maps=MapsConfig(scales=(1.0,), flip=False),
        trouble=Trouble(seconds=0.5),
        log=str(folder / "log"),
    )
    method = replace(METHOD, config=SeedConfig, phases=phases)
    axis = {"kind": "float", "low": 0.01, "high": 1.0, "log": True, "reason": "to test with"}
    space = read_space({"axes": {"loss.contrast": axis}}, config, "space")
    data = DataConfig(sample=SampleConfig(train=12, val=2, size=64))
    experiment = Experiment(method, config, data, seed=0, workers=WORKERS)
    return study_request(experiment, space, TRIALS, Store(folder / "storage"), **{"scheduler": "none", **more})


def steps(folder: Path) -> dict[str, Counter[tuple[int, int]]]:
    """Of each training, how often each step was taken by each rank."""
    found = {}
    for path in (folder / "log").iterdir():
        lines = (line.split() for line in path.read_text().splitlines())
        found[path.name] = Counter((int(step), int(rank)) for step, rank, _ in lines)
    return found


WHOLE = Counter({(step, rank): 1 for step in range(STEPS * EPOCHS) for rank in range(WORKERS)})


def nothing_is_held() -> None:
    """Waits until no CPU is taken, no placement group is left and no actor lives but Ray Train's one of a cluster."""
    here = ray.get_runtime_context().gcs_address  # of several clusters on this machine

    def actors() -> list[str]:
        alive = list_actors(address=here, filters=[("state", "=", "ALIVE")])
        return [actor.class_name for actor in alive]

    until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], "no worker that holds a CPU")
    until(lambda: all(group.state == "REMOVED" for group in list_placement_groups(address=here)), "no placement group")
    until(lambda: actors() in ([], ["_AutoscalingCoordinatorActor"]), "no actor")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Any]]:
    """The cluster and its three nodes. Trials are processes of the head, trainings are on the nodes."""
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 128 * 1024**2}
    dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": None}
    with environment({**SETTINGS, **QUICK}):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "memory": 10**10, **dashboard, **store})
        try:
            found = [cluster.add_node(num_cpus=2, memory=1000, **store) for _ in range(3)]
            with connect(cluster.address):
                yield [cluster, *found]
        finally:
            cluster.shutdown()


def test_trials_are_packed_and_share_their_seeds(nodes: list[Any], tmp_path: Path) -> None:
    """Three at once on three nodes, none waits for another's second worker, and the seeds are trained once."""
    events: list[StudyEvent] = []
    asked = study(tmp_path)
    assert concurrency(asked) == 3
    result = tune(asked, events.append)
    assert [row.state for row in result.rows] == ["complete"] * TRIALS, [row.reason for row in result.rows]
    running = most = 0
    for event in events:
        running += isinstance(event, TrialStarted) - isinstance(event, TrialFinished)
        most = max(most, running)
    assert most == 3
    taken = steps(tmp_path)
    assert len(taken) == TRIALS + 1
    assert all(counts == WHOLE for counts in taken.values()), taken
    nothing_is_held()


def test_stopped_trials_leave_nothing(nodes: list[Any], tmp_path: Path) -> None:
    result = tune(study(tmp_path, scheduler="asha", reduction=2))
    states = Counter(row.state for row in result.rows)
    assert set(states) == {"complete", "pruned"}, [row.reason for row in result.rows]
    taken = steps(tmp_path)
    assert sum(counts == WHOLE for counts in taken.values()) == states["complete"] + 1
    assert all(max(counts.values()) == 1 for counts in taken.values())
    nothing_is_held()


def test_a_node_lost_under_a_trial_costs_it_an_epoch_and_the_others_nothing(nodes: list[Any], tmp_path: Path) -> None:
    """(Keep it last.)"""
    cluster, *others = nodes
    by_id = {node.node_id: node for node in others}
    lost: list[str] = []

    def kill(event: StudyEvent) -> None:
        """The node of a trial that has done half of its epochs."""
        if isinstance(event, TrialEpoch) and event.phase == "tiny" and event.epoch.epoch == 2 and not lost:
            logs = [path.read_text() for path in (tmp_path / "log").iterdir() if path.name != "seeds"]
            lost.append(max(logs, key=len).split()[-1])
            cluster.remove_node(by_id[lost[0]], allow_graceful=False)

    result = tune(study(tmp_path, concurrent=3), kill)
    assert lost
    assert [row.state for row in result.rows] == ["complete"] * TRIALS, [row.reason for row in result.rows]
    on_it = [path.name for path in (tmp_path / "log").iterdir() if path.name != "seeds" and lost[0] in path.read_text()]
    assert len(on_it) == 1, "one trial is packed on a node"
    for name, counts in steps(tmp_path).items():
        assert set(counts) == set(WHOLE), name
        again = sum(counts.values()) - sum(WHOLE.values())
        assert again <= (STEPS * WORKERS if name in on_it else 0), (name, counts)
    nothing_is_held()
