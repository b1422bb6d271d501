"""A study that ends before its trials are over: the user's Ctrl-C, or a disk on which nothing can be stored.

The driver leaves a file in the study's folder. Each running trial sees it at its next safe place and ends; it stays
running in the journal, and the next call takes it over where it stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss_platform.errors import RunError
from wsss_platform.run.interrupts import Interrupted

UNLIMITED = 10_000
"""Trials of a study whose budget is hours alone."""


def halt_file(study: Path) -> Path:
    """In a study's folder; exists while every trial shall end."""
    return study / "stop" / "all"


class Halt:
    """Of the driver: whether the study ends early, and why."""

    def __init__(self, study: Path, asked: Callable[[], bool]) -> None:
        """
        Args:
            study: the study's folder. What an earlier driver left there is taken away.
            asked: whether the user wants an end; called often.
        """
        self._file, self._asked = halt_file(study), asked
        self._file.unlink(missing_ok=True)
        self.wanted = False
        """Whether no trial starts any more."""
        self.fault = ""
        """What is wrong with the disk; empty for a Ctrl-C."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what holds it into its own records, where nobody reads it."""
        return {}

    def look(self) -> bool:
        """Whether the study ends early; passes the user's wish on to the trials."""
        if not self.wanted and self._asked():
            self.ask()
        return self.wanted

    def ask(self, fault: str = "") -> None:
        """Let every trial end at its next safe place."""
        self.wanted, self.fault = True, self.fault or fault
        with contextlib.suppress(OSError):  # on a full disk the trials find out by themselves
            self._file.touch()

    def end(self, finished: int, trials: int) -> None:
        """Raise what the study ended with, when it ended early.

        Raises:
            RunError: the disk was at fault.
            Interrupted: the user was.
        """
        if self.wanted:
            limit = "" if trials == UNLIMITED else f"of {trials} "
            count = f"{finished} {limit}trials are finished, those that ran are kept"
            if self.fault:
                raise RunError(f"{self.fault}; {count}; the same command continues once that is mended")
            raise Interrupted(count)
