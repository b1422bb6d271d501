"""What reaches the terminal: results on standard output, everything else on standard error.

With `--json` standard output carries one JSON document and nothing else, whatever libraries print.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wsss_platform.config.document import Document
from wsss_platform.plan.experiment import Stage
from wsss_platform.report.table import Shown, Table
from wsss_platform.report.terminal import rendered
from wsss_platform.run.pipeline import Event, StageEnd, StageProgress, StageStart

WIDTH = 140
"""Of tables that go to a file or a pipe."""


def _console(stream: Any = None, *, stderr: bool = False) -> Console:
    # Brackets in a meaning ("[unknown]") and colons in a label are text. Styles are Text's.
    plain = partial(Console, file=stream, stderr=stderr, highlight=False, markup=False, emoji=False)
    return plain() if plain().is_terminal else plain(width=WIDTH)


console = _console(stderr=True)
"""Progress, notes and warnings."""


def print_error(message: str) -> None:
    """One red word and the message, on standard error."""
    console.print(Text("error:", "bold red"), end=" ")
    console.print(message, soft_wrap=True)


def note(message: str) -> None:
    """A remark, on standard error."""
    console.print(message, soft_wrap=True)


def print_shown(*shown: Shown, to: Console = console) -> None:
    """Tables and lines, on standard error unless another console is named; a line is not broken."""
    for item in shown:
        to.print(rendered(item), soft_wrap=not isinstance(item, Table))


class _Notes(logging.Handler):
    """What the rooms below log, as remarks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        note(record.getMessage())


def show_log() -> None:
    """Print what the platform logs from now on; a second call changes nothing."""
    log = logging.getLogger("wsss_platform")
    if not any(isinstance(handler, _Notes) for handler in log.handlers):
        log.addHandler(_Notes())
        log.setLevel(logging.INFO)
        log.propagate = False


class Output:
    """Where a verb puts its result."""

    def __init__(self, as_json: bool, stream: Any) -> None:
        self.as_json = as_json
        self._stream = stream

    def result(self, document: Document, *shown: Shown) -> None:
        """The verb's result: the document as JSON, or tables and lines for a person."""
        if self.as_json:
            json.dump(document.to_json(), self._stream, indent=1, allow_nan=False)
            self._stream.write("\n")
            self._stream.flush()
        else:
            self.show(*shown)

    def show(self, *shown: Shown) -> None:
        """Tables and lines for a person; a line is not broken."""
        print_shown(*shown, to=_console(self._stream))
        self._stream.flush()


@contextmanager
def output(as_json: bool) -> Iterator[Output]:
    """Standard output for the result; while open, anything else written to it goes to standard error.

    The file descriptor itself is moved, so that subprocesses and C libraries are caught too.
    """
    sys.stdout.flush()
    if not _is_real(sys.stdout):
        yield Output(as_json, sys.stdout)
        return
    saved = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(saved, "w", encoding="utf-8")
    try:
        yield Output(as_json, stream)
    finally:
        sys.stdout.flush()
        stream.flush()
        os.dup2(stream.fileno(), 1)
        stream.close()


def _is_real(stream: Any) -> bool:
    """False under a test runner that replaced standard output by a buffer."""
    try:
        return bool(stream.fileno() == 1)
    except (OSError, ValueError, AttributeError):
        return False


class StageBars:
    """Live bars of a pipeline: one per stage, with done, rate and time left."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=False,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StageBars:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to draw; a second call does nothing."""
        self._progress.start()

    def stop(self) -> None:
        """Leave the bars as they stand."""
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StageStart):
            unit = "epochs" if event.stage.kind == "train" else "pictures"
            self._tasks[event.stage.key] = self._progress.add_task(
                _label(event.stage), total=event.total, unit=unit, detail=""
            )
        elif isinstance(event, StageProgress):
            speed = self._progress.tasks[self._tasks[event.stage.key]].speed
            detail = f"{speed:.1f}/s" if speed and event.epoch is None else ""
            if event.failures:
                detail += f" [red]{event.failures} failed[/]"
            if event.epoch is not None:
                detail = f"loss {event.epoch.losses['total']:.4f}, {event.epoch.pictures_per_second:.1f} pictures/s"
            self._progress.update(self._tasks[event.stage.key], completed=event.done, detail=detail)
            if not console.is_terminal and event.epoch is not None:
                console.print(f"{event.stage.name} epoch {event.done}/{event.epoch.epochs}: {detail}")
        elif isinstance(event, StageEnd):
            if event.cached:
                stored = ("in the store", "green")
                console.print(Text.assemble(f"{_label(event.stage)} ", stored, f" ({event.stage.key[:12]})"))
            elif event.stage.key in self._tasks:
                self._progress.update(self._tasks[event.stage.key], detail=f"done in {event.seconds:.1f} s")
                if not console.is_terminal:
                    console.print(f"{_label(event.stage)} done in {event.seconds:.1f} s ({event.stage.key[:12]})")


def _label(stage: Stage) -> str:
    return f"{stage.name:<16}"
