"""Another process: one that holds an artefact of the store, and the end of one with all that it has started."""

from __future__ import annotations

import multiprocessing
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

from wsss_platform.store.artefacts import Store

LONGEST_WAIT = 300.0
"""Seconds after which what should have happened will not: no test expects it to be quicker."""


@contextmanager
def holding(root: Path, kind: str, key: str) -> Iterator[BaseProcess]:
    """A process that is making this artefact, until it is killed: at the end at the latest."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(root, kind, key, held))
    process.start()
    try:
        assert held.wait(LONGEST_WAIT)
        yield process
    finally:
        process.kill()
        process.join()


def _hold(root: Path, kind: str, key: str, held: Event) -> None:
    with Store(root).building(kind, key):
        held.set()
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()


def until(ready: Callable[[], bool], what: str) -> None:
    """Wait for what can only be looked at."""
    end = time.monotonic() + LONGEST_WAIT
    while not ready():
        assert time.monotonic() < end, f"it never came to this: {what}"
        time.sleep(0.02)


def gone(group: int) -> None:
    """Wait until no process of this group runs: a program that was killed, with all that Ray started for it."""
    until(lambda: not processes(group), f"the end of process group {group}: {processes(group)}")


def processes(group: int) -> list[str]:
    """Command lines of what still runs of a process group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    return [args for pgid, state, args in lines if int(pgid) == group and not state.startswith("Z")]
