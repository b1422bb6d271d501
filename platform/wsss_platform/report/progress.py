"""Progress on standard error, by rich: in a terminal, in a notebook, and a line an epoch where there is neither.

Standard output belongs to results.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wsss_platform.plan.experiment import Stage
from wsss_platform.run import trial_events as events
from wsss_platform.run.pipeline import Event, StageEnd, StageProgress, StageStart

WIDTH = 140
"""Of tables that go to a file or a pipe."""


# Brackets in a meaning ("[unknown]") and colons in a label are text. Styles are Text's. A notebook gets plain lines on
# its standard error: live bars there would need widgets.
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
if type(sys.stderr).__module__.startswith("ipykernel"):
    _PLAIN["force_terminal"] = False  # it says that it is one


def console_on(stream: Any = None, *, stderr: bool = False) -> Console:
    """A console on a stream. With NO_COLOR it writes plain lines, as wide as the terminal, and no escape code."""
    made = Console(file=stream, stderr=stderr, **_PLAIN)
    if made.is_terminal and not os.environ.get("NO_COLOR"):
        return made
    width = made.width if made.is_terminal else WIDTH
    return Console(file=stream, stderr=stderr, width=width, color_system=None, **{**_PLAIN, "force_terminal": False})


console = console_on(stderr=True)
"""Progress, notes and warnings."""


def note(message: str) -> None:
    """A remark, on standard error."""
    console.print(message, soft_wrap=True)


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """Print neither progress nor notes while open, if `wanted`; what is raised is printed after it."""
    before, console.quiet = console.quiet, wanted or console.quiet
    try:
        yield
    finally:
        console.quiet = before


class _Notes(logging.Handler):
    """What the rooms below log, as remarks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        note(record.getMessage())


def show_log() -> None:
    """Print what the platform logs from now on; a second call changes nothing."""
    log = logging.getLogger("wsss_platform")
    if not _shown(log):
        log.addHandler(_Notes())
        log.setLevel(logging.INFO)
        log.propagate = False


@contextmanager
def shown_log(wanted: bool = True) -> Iterator[None]:
    """Print what the platform logs while open, if `wanted` and nothing prints it already."""
    log = logging.getLogger("wsss_platform")
    if not wanted or _shown(log):
        yield
        return
    before, handler = (log.level, log.propagate), _Notes()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def _shown(log: logging.Logger) -> bool:
    return any(isinstance(handler, _Notes) for handler in log.handlers)


@contextmanager
def counting(shown: bool = True, unit: str = "") -> Iterator[Callable[[str, int, int | None], None]]:
    """A function (description, done, total) that draws a bar for each description; total None: not known yet."""
    if not shown:
        yield lambda what, done, total: None
        return
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def watch(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield watch


@contextmanager
def status(words: str, shown: bool = True) -> Iterator[Callable[[str], None]]:
    """A spinner beside words, and a function that changes them."""
    if not shown:
        yield lambda changed: None
        return
    with console.status(words) as spinner:
        yield spinner.update


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

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
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
            unit = "epochs" if event.stage.kind == "train" else "images"
            label = _label(event.stage)
            self._tasks[event.stage.key] = self._progress.add_task(label, total=event.total, unit=unit, detail="")
        elif isinstance(event, StageProgress):
            self._advance(event)
        elif event.cached:
            stored = ("cached", "green")
            console.print(Text.assemble(f"{_label(event.stage)} ", stored, f" ({event.stage.key[:12]})"))
        elif event.stage.key in self._tasks:
            self._end(event)

    def _advance(self, event: StageProgress) -> None:
        task = self._tasks[event.stage.key]
        speed = self._progress.tasks[task].speed
        detail = f"{speed:.1f}/s" if speed and event.epoch is None else ""
        if event.failures:
            detail += f" [red]{event.failures} failed[/]"
        if event.epoch is not None:
            detail = f"loss {event.epoch.losses['total']:.4f}, {event.epoch.images_per_second:.1f} images/s"
        self._progress.update(task, completed=event.done, detail=detail)
        if not console.is_terminal and event.epoch is not None:
            console.print(f"{event.stage.name} epoch {event.done}/{event.epoch.epochs}: {detail}")

    def _end(self, event: StageEnd) -> None:
        self._progress.update(self._tasks[event.stage.key], detail=f"done in {event.seconds:.1f} s")
        if not console.is_terminal:
            console.print(f"{_label(event.stage)} done in {event.seconds:.1f} s ({event.stage.key[:12]})")


def _label(stage: Stage) -> str:
    return f"{stage.name:<16}"


class StudyBars:
    """Live bars of a study: one of the study, one for each running trial, and those of the shared stages before."""

    def __init__(self, study: str, trials: int | None, epochs: Callable[[Mapping[str, Any]], int]) -> None:
        """
        Args:
            study: its name.
            trials: in total; None: as many as a budget allows.
            epochs: of the last phase of a trial with some changes.
        """
        self._name, self._trials, self._epochs = study, trials, epochs
        self._shared = StageBars()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._study: TaskID | None = None
        self._bars: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shared.stop()
        self._progress.stop()

    def __call__(self, event: events.StudyEvent) -> None:
        """Show one event."""
        match event:
            case events.SharedStage():
                self._shared.start()
                self._shared(event.event)
            case events.TrialStarted():
                self._started(event)
            case events.TrialEpoch():
                total, rate = event.epoch.losses["total"], event.epoch.images_per_second
                if event.number in self._bars:
                    detail = f"{event.phase}: loss {total:.4f}, {rate:.1f} images/s"
                    self._progress.update(self._bars[event.number], completed=event.epoch.epoch, detail=detail)
            case events.TrialRung():
                console.print(f"trial {event.number}: rung at epoch {event.epoch}: {100 * event.value:.2f}")
            case events.TrialFinished():
                self._finished(event)
            case events.StudyState():
                best = "" if event.objective is None else f"best: trial {event.best}, {100 * event.objective:.2f}"
                self._progress.update(self._study_bar(), completed=event.finished, total=event.total, detail=best)
            case events.Reporting():
                self._progress.stop()
                self._shared = StageBars()
                console.print(f"comparing {', '.join(event.rows)} on {event.split}")
            case events.Warned():
                console.print(Text.assemble(("warning:", "yellow"), f" {event.message}"))

    def _study_bar(self) -> TaskID:
        if self._study is None:
            self._shared.stop()
            self._progress.start()
            self._study = self._progress.add_task(f"study {self._name}", total=self._trials, detail="")
        return self._study

    def _started(self, event: events.TrialStarted) -> None:
        self._study_bar()
        if event.number not in self._bars:
            epochs = self._epochs(event.changes)
            task = self._progress.add_task(f"  trial {event.number}", total=epochs, detail="starting")
            self._bars[event.number] = task
        told = ", ".join(
            f"{path} {value:.4g}" if isinstance(value, float) else f"{path} {value}"
            for path, value in event.changes.items()
        )
        console.print(f"trial {event.number}: {told or 'the default config'}")

    def _finished(self, event: events.TrialFinished) -> None:
        words = event.state if event.objective is None else f"{event.state}, {100 * event.objective:.2f}"
        if event.reason:
            words += f" ({event.reason})"
        console.print(f"trial {event.number}: {words}")
        bar = self._bars.pop(event.number, None)
        if bar is not None:  # its line stays; hundreds of bars would fill the screen
            self._progress.remove_task(bar)
