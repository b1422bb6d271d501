"""Ctrl-C: once ends a run at its next safe place, twice at once.

A safe place is one where all that was done is stored: a chunk of images, or an epoch with its checkpoint. The same
command continues from there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.pipeline import Event, OnEvent, StageProgress, StageStart


class Interrupted(Exception):
    """A run ended at a safe place, as the user asked. The command exits with 130; the same command continues."""


class Interrupts:
    """Listens for Ctrl-C while it is open: the first is kept (`asked`), the second is a KeyboardInterrupt.

    Outside the main thread, where Python has no signals, and in a process that ignores Ctrl-C it hears nothing.
    """

    def __init__(self, ends: str) -> None:
        """
        Args:
            ends: what happens now, said to the user at the first Ctrl-C.
        """
        self._said = f"\n{ends}; Ctrl-C again stops at once\n".encode()
        self._asked = False
        self._before: Any = None

    def asked(self) -> bool:
        """Whether the user wants an end."""
        return self._asked

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        os.write(2, self._said)  # the interrupted code may be in the middle of writing to sys.stderr


def interruptible(on_event: OnEvent, asked: Callable[[], bool], experiment: Experiment) -> OnEvent:
    """`on_event` for `pipeline.run` that raises `Interrupted` at the first safe place after the user has asked.

    Args:
        on_event: gets every event first.
        asked: called where the run could end.
        experiment: the one that runs.
    """

    def watch(event: Event) -> None:
        on_event(event)
        if _is_safe(event, experiment) and asked():
            raise Interrupted

    return watch


def _is_safe(event: Event, experiment: Experiment) -> bool:
    if not isinstance(event, StageProgress):
        return isinstance(event, StageStart)
    if event.epoch is None:
        return True
    epoch, every = event.epoch, experiment.train_config(event.stage.phase).checkpoint_every
    return epoch.epoch < epoch.epochs and epoch.epoch % every == 0  # after the last one little is left to do
