"""Ray's memory monitor kills a trial's process: what Tune makes of it. No cluster; Tune's own bookkeeping is real."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError, RayActorError

from wsss_platform.engine.memory_deaths import memory_deaths_survived

SAID = "Task was killed due to the node running low on memory.\nIt had 23 of 24 GB.\nConsider more memory."


def die(said: list[Exception]) -> None:
    """A task of an actor ends with what Ray's memory monitor leaves."""
    manager, actor = RayActorManager(resource_manager=Mock()), TrackedActor(1)
    manager._live_actors_to_ray_actors_resources[actor] = (Mock(), Mock())
    task = TrackedActorTask(actor, on_error=lambda actor, error: said.append(error))
    manager._actor_task_failed(tracked_actor_task=task, exception=OutOfMemoryError(SAID))


def test_it_is_a_dead_process() -> None:
    said: list[Exception] = []
    with memory_deaths_survived():
        die(said)
    (error,) = said
    assert isinstance(error, RayActorError)
    assert str(error) == "out of memory: Task was killed due to the node running low on memory. It had 23 of 24 GB."


def test_without_it_the_study_ends() -> None:
    """Tune's own way: still so, or time to delete ours."""
    try:
        die([])
    except RuntimeError as error:
        assert "unexpected exception" in str(error)
    else:
        pytest.skip("this release of Ray Tune survives it by itself")
