"""A trial's process that Ray kills because its node runs out of memory is a dead process for Tune, too.

Ray Tune (2.60) knows actors that died and tasks that raised. The `OutOfMemoryError` with which Ray's memory monitor
says what it has killed is neither, and ends the whole study with "Caught unexpected exception".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError


@contextmanager
def memory_deaths_survived() -> Iterator[None]:
    """While it is open, such a death is retried and counted by Tune like any other."""
    patched: Any = RayActorManager
    plain = patched._actor_task_failed

    def failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            said = " ".join(str(exception).split("\n")[:2])  # what follows is advice
            exception = RayActorError(error_msg=f"out of memory: {said}")
        plain(manager, tracked_actor_task, exception)

    patched._actor_task_failed = failed
    try:
        yield
    finally:
        patched._actor_task_failed = plain
