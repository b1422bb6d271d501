"""A study: its plan, its trials, what is best and what that is worth."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsss_platform.config import MethodConfig, look_up
from wsss_platform.config.section import assignment, flatten
from wsss_platform.data.recognise import as_said
from wsss_platform.plan.experiment import Experiment
from wsss_platform.report.study_page import PAGE
from wsss_platform.report.table import Shown, Table, aligned, columns
from wsss_platform.report.tables.run import plan_table
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.costs import cost_words
from wsss_platform.search.documents import (
    BASELINE,
    HOST,
    SearchSettings,
    StudyDocument,
    StudyPlan,
    StudyReport,
    StudyRow,
)
from wsss_platform.search.space import Axis, CategoricalAxis

_COSTS = {"seconds": "own seconds", "memory": "peak GiB"}
"""Objective -> heading."""


def study_plan(plan: StudyPlan) -> list[Shown]:
    """What a study would do."""
    trials = plan.search.budget.trials
    number = "as many trials as the budget allows" if trials is None else f"{trials} trials"
    shared = [stage.stage for stage in plan.stages if stage.shared]
    return [
        f"selection {plan.selection}: trials are scored on {plan.judged_on}, rows are reported on {plan.reported_on}",
        f"study {plan.study}: {number}, the default config first",
        *search_words(plan.search),
        plan_table(plan),
        f"made once for all trials: {', '.join(shared) or 'nothing'}; the rest once per trial",
        *_inner_words(plan),
        cost_words(plan.cost, at_most=True) + (" (for one trial)" if plan.trials is None else ""),
        disk_words(plan.keep_best),
        *([f"compared at the end: {', '.join(plan.rows)}"] if plan.rows else []),
        axes_table(plan.axes),
    ]


def search_words(search: SearchSettings) -> list[str]:
    """How a study searches and when it ends, in a few lines."""
    budget = search.budget
    parts = [
        None if budget.trials is None else f"{budget.trials} trials in total",
        None if budget.hours is None else f"{budget.hours:g} hours of this call",
        None if budget.gpu_hours is None else f"{budget.gpu_hours:g} GPU-hours of all trials and calls",
    ]
    ends = ", or ".join(part for part in parts if part)
    lines = [f"sampler {search.sampler}; scheduler {search.scheduler}: {_stopping(search)}", f"budget: {ends}"]
    if len(search.objectives) > 1:
        lines.insert(1, f"objectives: {', '.join(search.objectives)}; the best config is the most accurate one")
    return lines


def _stopping(search: SearchSettings) -> str:
    if search.rungs:
        shown = ", ".join(map(str, search.rungs))
        epochs = f"epoch {shown}" if len(search.rungs) == 1 else f"epochs {shown}"
        return f"rungs after {epochs} of the last phase; the default config is never stopped"
    if search.scheduler != "none" and len(search.objectives) > 1:
        return "no trial is stopped early, as there are several objectives"
    return "no trial is stopped early"


def _inner_words(plan: StudyPlan) -> list[str]:
    """What is searched within a trial, in a line; none where nothing is."""
    if not plan.inner_settings:
        return []
    return [
        f"within each trial, on its stored maps: {plan.inner_settings} settings of {', '.join(plan.inner_axes)}, "
        "counted in the study's folder inner"
    ]


def disk_words(keep_best: int) -> str:
    """What a study leaves on the disk, in one line; `keep_best` trials keep their maps, 0: all."""
    if not keep_best:
        return "disk: every trial keeps its weights, maps, masks and score (--keep-best 0)"
    return (
        f"disk: every trial keeps its weights and score; the best {keep_best} keep their maps and masks. Those of the "
        "others, and checkpoints of trials that are stopped early, are dropped as soon as they lose, unless another "
        "run refers to them (--keep-best 0 keeps all)"
    )


def axes_table(axes: Sequence[Axis]) -> Table:
    """A line for each axis of a search space."""
    rows = tuple((axis.path, _span(axis), axis.reason) for axis in axes)
    return Table(f"{len(axes)} axes", columns("axis", "range", "reason"), rows)


def _span(axis: Axis) -> str:
    if isinstance(axis, CategoricalAxis):
        return str([list(choice) if isinstance(choice, tuple) else choice for choice in axis.choices])
    return f"{axis.low:g} .. {axis.high:g}" + (" log" if axis.log else "")


def study_result(found: StudyDocument, method: str, asked: Experiment, storage: Path) -> list[Shown]:
    """The trials, the best one, what it is worth, and where everything is.

    Args:
        found: what the study came to.
        method: whose settings were searched, as on the command line.
        asked: with the config that the search started from, scored on the split that was asked for.
        storage: the storage folder, for the next commands.
    """
    best = found.best
    return [
        trials_table(found.study, found.trials, found.objective),
        *front_lines(found),
        *([best_table(best, asked.config)] if best is not None and best.changes else []),
        *([f"every setting that was searched within a trial: {found.inner}"] if found.inner is not None else []),
        *([] if found.best_config is not None else ["no trial was completed, so there is no best config"]),
        *_comparison(found),
        *([f"train the best: {_train(method, found.best_config, asked, storage)}"] if found.best_config else []),
        *([f"figure: {found.figure}"] if found.figure else []),
        f"page with everything: {Path(found.folder) / PAGE}",
    ]


def _train(method: str, config: str, asked: Experiment, storage: Path) -> str:
    """The command that trains the best config as the study did: data, random seed, processes."""
    data = asked.data
    options = [] if data.kind == "sample" else ["--data", as_said(data.kind, data.root)]
    settings = flatten(data.model_dump(exclude_defaults=True, exclude={"kind", "root", "train_list", "score_list"}))
    for name, value in settings.items():
        options += ["--set", assignment(f"data.{name}", value)]
    options += ["--train-split", data.train_list]
    options += ["--score-split", data.score_list] if data.score_list != data.train_list else []
    options += ["--seed", str(asked.seed)] if asked.seed else []
    options += ["--workers", str(asked.workers)] if asked.workers > 1 else []
    return shlex.join(["wsss-platform", "train", method, "--recipe", config, *options, "--storage", str(storage)])


def trials_table(study: str, rows: Iterable[TrialRow], objective: str) -> Table:
    """One line per trial, best first; of several objectives also the costs, and a mark for those on the front."""
    rows = sorted(rows, key=lambda row: (row.state != "complete", -(row.objective or 0), row.number))
    costs = next((list(row.values)[1:] for row in rows if row.values), [])
    extra = [*(_COSTS.get(name, name) for name in costs), *(["front"] if costs else [])]
    headings = ["trial", "state", "objective", "masks", "threshold", "seconds", *extra, "note"]
    lines = tuple(_trial(row, costs) for row in rows)
    return Table(f"{study}: {objective}, percent", aligned(headings, ("state", "note")), lines)


def _trial(row: TrialRow, costs: Sequence[str]) -> tuple[str, ...]:
    numbers = ["-" if value is None else f"{100 * value:.2f}" for value in (row.objective, row.fixed)]
    if row.spread is not None:
        numbers[0] += f" ± {100 * row.spread:.2f}"
    paid = [f"{row.values[name]:.4g}" if row.values else "-" for name in costs]
    return (
        str(row.number),
        row.state,
        *numbers,
        "-" if row.threshold is None else f"{row.threshold:g}",
        "-" if row.seconds is None else f"{row.seconds:.0f}",
        *paid,
        *(["*" if row.front else ""] if costs else []),
        row.reason or ("" if row.changes else "the default config"),
    )


def front_lines(found: StudyDocument) -> list[str]:
    """Which trials are on the front, and where their configs are; none for one objective."""
    if not found.front:
        return []
    return [
        f"Pareto front (*) of {', '.join(found.objectives)}: trials {', '.join(map(str, found.front))}, the most "
        "accurate first; no other trial is at least as good in everything and better in something. Seconds are as if "
        "nothing had been stored",
        f"their configs: {Path(found.folder) / 'front-NNNN.toml'}, by the trial's number",
    ]


def best_table(best: TrialRow, default: MethodConfig) -> Table:
    """What the best trial has that the default config has not."""
    rows = tuple((path, _value(look_up(default, path)), _value(value)) for path, value in best.changes.items())
    return Table(f"trial {best.number}, the best", columns("setting", "default", "best"), rows)


def _comparison(found: StudyDocument) -> list[Shown]:
    if found.report is None:
        return []
    return [comparison_table(found.comparison, found.report), *found.report.words]


def comparison_table(rows: Sequence[StudyRow], report: StudyReport) -> Table:
    """Baseline, host, default settings and best trial on the reported split."""
    lines = []
    for row in rows:
        named = f"{row.row} ({row.method})" if row.row in (BASELINE, HOST) else row.row
        trial = "" if row.trial is None else str(row.trial)
        gap = "" if row.difference is None else f"{row.difference:+.2f}"
        span = "" if row.low is None or row.high is None else f"{row.low:+.2f} to {row.high:+.2f}"
        value = "-" if row.miou is None else f"{row.miou:.2f}"
        spent = "-" if row.seconds is None else f"{row.seconds:.0f}"
        lines.append((named, trial, value, gap, span, spent))
    title = f"mean IoU in percent on {report.reported_on}, {report.images} images"
    headings = ["row", "trial", "mean IoU", "difference", "95 % interval", "seconds"]
    return Table(title, aligned(headings, ("row", "95 % interval")), tuple(lines))


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
