"""The end of a study: fixed, selected and oracle beside each other on one list, with the evaluations on ground truth.

    fixed      the default config's masks at its own background: nothing was chosen
    selected   the best config's masks, chosen as the study's selection says
    oracle     the best that any scored trial reaches at any threshold, chosen with the ground truth it is scored on

With several seeds per trial it is told for the first. Where the report list is the one that chose, "selected" is
optimistic, and the report says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wsss_platform.engine.runner import RayRunner
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Runner
from wsss_platform.run.interrupts import interruptible
from wsss_platform.run.pipeline import read_score, run
from wsss_platform.run.trial_events import OnStudyEvent, Reporting
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.scores.confusion import mean_iou
from wsss_platform.scores.score import Score, paired_bootstrap
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tune.request import StudyRequest
from wsss_platform.tune.study import StudyFolder

REPORT = "selection.json"
"""In the study's folder."""


@dataclass(frozen=True)
class Told:
    """One line of the report."""

    trial: int
    mean_iou: float
    """0..1 on the report list."""
    threshold: float | None
    """Background threshold 0..1; None for another rule than a constant."""
    interval: tuple[float, float] | None
    """95 % over images; none for the oracle, which is a maximum."""


def report(
    request: StudyRequest,
    folder: StudyFolder,
    rows: Sequence[TrialRow],
    on_event: OnStudyEvent,
    asked: Callable[[], bool] = lambda: False,
) -> Mapping[str, Any]:
    """Score what is to be told, and write `selection.json`. Call it when the study has a best trial.

    Raises:
        Interrupted: `asked` says that the user wants an end; the next call repeats the report alone.

    Returns:
        What was written: "fixed", "selected" and "oracle" (the fields of `Told`; fixed is None when trial 0 failed),
        "difference" (selected - fixed with its paired 95 % interval), "selection", "report_list", "biased" (the report
        list chose), "oracle_over" (trials) and "looks" (list -> how often its ground truth was seen: to choose, or to tell).
    """
    assert request.report_list is not None
    base, best = request.experiment.config, folder.best()
    assert best is not None
    complete = [row for row in rows if row.state == "complete"]
    same_list = request.report_list == request.experiment.data.score_list
    every = request.options.objective.oracle or same_list
    wanted = [row for row in complete if every or row.number in (0, best.number)]
    chosen = folder.selected_changes(base)
    on_event(Reporting(request.report_list, len(wanted) + 1 + bool(request.levels.settings)))
    selected, fixed = _score(request, chosen, asked), None
    number, (reached, threshold) = best.number, _reached(selected)
    for row in wanted:  # one score in memory at a time
        score = _score(request, row.changes, asked)
        fixed = score if row.number == 0 else fixed
        if _reached(score)[0] > reached:
            number, (reached, threshold) = row.number, _reached(score)
    if fixed is not None and request.levels.settings:  # what trial 0 changes is its best inner setting
        fixed = _score(request, {}, asked)
    gap = None if fixed is None else paired_bootstrap(selected, fixed).difference
    looks = {request.experiment.data.score_list: folder.looks()}
    if not same_list:
        looks[request.report_list] = len(wanted) + (chosen not in [dict(row.changes) for row in wanted])
        looks[request.report_list] += bool(request.levels.settings and fixed is not None)
    told = {
        "report_list": request.report_list,
        "seed": request.experiment.seed,
        "images": len(selected.ids),
        "selection": request.selection,
        "objective": request.objective,
        "biased": _overlap(request),
        "fixed": None if fixed is None else asdict(_told(0, fixed, request, {})),
        "selected": asdict(_told(best.number, selected, request, chosen)),
        "oracle": asdict(Told(number, reached, threshold, None)),
        "oracle_over": len(wanted),
        "difference": None if gap is None else asdict(gap),
        "looks": looks,
    }
    write_atomic(folder.folder / REPORT, json.dumps(told, indent=1))
    return told


def runner_of(request: StudyRequest, cpus: int | None = None) -> Runner:
    """Where the stages of a study run; `cpus` per worker in place of the request's."""
    resources = request.options.resources
    cpus = request.cpus_per_worker if cpus is None else cpus
    return request.runner or RayRunner(resources.workers, resources.gpus_per_worker or 0.0, cpus)


def _experiment(request: StudyRequest, changes: Mapping[str, Any]) -> Experiment:
    data = request.experiment.data.model_copy(update={"score_list": request.report_list})
    return replace(request.experiment.with_changes(changes, "report"), data=data)


def _overlap(request: StudyRequest) -> bool:
    """Whether an image that chose is among those on which the result is told: lists of other names may share some."""
    assert request.report_list is not None
    data = request.experiment.dataset
    return not set(data.split(request.experiment.data.score_list).ids).isdisjoint(data.split(request.report_list).ids)


def _score(request: StudyRequest, changes: Mapping[str, Any], asked: Callable[[], bool]) -> Score:
    experiment = _experiment(request, changes)
    run(experiment, request.store, runner_of(request), interruptible(lambda event: None, asked, experiment))
    return read_score(experiment, request.store, "the study")


def _told(number: int, score: Score, request: StudyRequest, changes: Mapping[str, Any]) -> Told:
    masks = _experiment(request, changes).masks_config(request.experiment.phases[-1])
    interval = score.interval()
    return Told(
        number,
        interval.value,
        masks.background if masks.rule == "constant" else None,
        (interval.low, interval.high),
    )


def _reached(score: Score) -> tuple[float, float | None]:
    """The best mean IoU of the masks as made and of the sweep, and the sweep's threshold where it is the better."""
    made, swept = float(mean_iou(score.table)), float(score.curve[score.best])
    return (made, None) if made > swept else (swept, float(score.thresholds[score.best]))
