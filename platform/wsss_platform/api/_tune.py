"""Studies: search a method's settings with Ray Tune and Optuna."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._data import Data, data_of
from wsss_platform.api._train import settings_of
from wsss_platform.config.options import build, check, documented, typed_only
from wsss_platform.config.verb_options import MethodOptions
from wsss_platform.errors import InputError, RunError
from wsss_platform.tune.options import StudyOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from wsss_platform.config.recipes import Recipe
    from wsss_platform.method import Method
    from wsss_platform.plan.experiment import Experiment
    from wsss_platform.run.trial_rows import TrialRow
    from wsss_platform.search.documents import StudyDocument, StudyPlan, StudyRow
    from wsss_platform.tune.request import StudyRequest, StudyResult

log = logging.getLogger(__name__)

FINISHING = "finishing: no trial starts any more, those that run end after their epoch or chunk and are kept"


@dataclass(frozen=True)
class Trial:
    """One trial of a study."""

    number: int
    """From 0, which is the default config."""
    state: str
    """"complete", "pruned" (stopped early) or "fail"."""
    settings: Mapping[str, Any]
    """What it has that the default config has not: dotted path -> value."""
    miou: float | None
    """What the study maximises, percent; None where the trial did not end."""
    threshold: float | None
    """Background threshold, 0..1, at which the sweep is best."""
    seconds: float | None
    reason: str | None
    """Why it failed or was stopped."""


class Study:
    """What a study came to."""

    def __init__(self, request: StudyRequest, result: StudyResult) -> None:
        """
        Args:
            request: what was asked for.
            result: what came of it.
        """
        self.request, self.result = request, result

    @property
    def name(self) -> str:
        """Of the study."""
        return self.request.name

    @property
    def folder(self) -> Path:
        """Where its journal, table, best config, plots and page are."""
        return self.result.folder

    @property
    def page(self) -> Path:
        """An HTML page with all of it."""
        from wsss_platform.report.study_page import PAGE

        return self.folder / PAGE

    @property
    def best(self) -> Trial | None:
        """The trial with the best objective; None where none was completed. Its number is a selected one."""
        return None if self.result.best is None else _trial(self.result.best)

    @property
    def best_config(self) -> Path | None:
        """The best config as a file that `wsss.train(method, data, best_config)` takes."""
        return self.result.best_config

    @property
    def comparison(self) -> tuple[StudyRow, ...]:
        """Baseline, host, default settings and best trial, measured by one rule on images that chose nothing (with
        `selection="half"`); empty where no trial was completed."""
        return () if self.result.comparison is None else self.result.comparison.rows

    @property
    def baseline(self) -> StudyRow | None:
        """The row of plain CAM; None with `no_baseline`, or where no trial was completed."""
        return next((row for row in self.comparison if row.row == "baseline"), None)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order of their numbers."""
        return tuple(_trial(row) for row in self.result.rows)

    def document(self) -> StudyDocument:
        """What the command prints with --json."""
        from wsss_platform.api.study_pages import study_document

        return study_document(self.name, self.result)

    def figure(self, name: str) -> Figure:
        """One of the study's images as a matplotlib figure, such as "importance" or "history".

        Raises:
            InputError: no such image (with the nearest name), or one that this study is too small for.
        """
        from wsss_platform.tune.figures import figure
        from wsss_platform.tune.study_storage import open_study

        study = open_study(self.folder, self.request.options.storage.study_storage)
        return figure(study, self.result.rows, name)

    def __repr__(self) -> str:
        best = "no trial completed" if self.best is None else f"best trial {self.best.number}, {self.best.miou:.2f}"
        return f"<study {self.name!r}: {len(self.trials)} trials, {best}>"


@dataclass(frozen=True)
class PlannedStudy:
    """A study that can begin; everything that could be checked was."""

    request: StudyRequest
    command: tuple[str, ...] = ()
    """For the records; none: what started this process."""

    def document(self) -> StudyPlan:
        """What the study would do. Starts nothing."""
        from wsss_platform.api.plans import study_plan

        return study_plan(self.request)

    def run(self, progress: bool = True) -> Study:
        """Do it on Ray, which is started unless one runs already, with records, and progress on standard error."""
        from wsss_platform.engine.cluster import connect
        from wsss_platform.report.progress import shown_log
        from wsss_platform.run.interrupts import Interrupts
        from wsss_platform.store.disk import check_writable

        check_writable(self.request.store.root)
        with shown_log(progress):
            log.info("starting Ray")
            with Interrupts(FINISHING) as interrupts, connect() as cluster:
                request = placed(self.request, cluster)
                return Study(request, _solved(request, progress, interrupts, self.command))


def placed(request: StudyRequest, cluster: Any) -> StudyRequest:
    """The request with the GPUs and CPUs that a worker gets on a cluster.

    Raises:
        InputError: more workers or GPUs than the cluster has.
    """
    from wsss_platform.api.runners import check_resources, default_gpus

    resources = request.options.resources
    gpus = default_gpus(resources.gpus_per_worker, cluster.gpus)
    check_resources(resources.workers, gpus, cluster.cpus, cluster.gpus)
    return replace(request.with_options(gpus_per_worker=gpus), cpus_per_worker=cluster.cpus_beside(gpus))


def _solved(request: StudyRequest, progress: bool, interrupts: Any, command: tuple[str, ...]) -> StudyResult:
    from wsss_platform.api.study_pages import write_page
    from wsss_platform.api.study_records import StudyRecords
    from wsss_platform.report.study_page import PAGE
    from wsss_platform.run.interrupts import Interrupted
    from wsss_platform.tune.tuner import tune as run_study

    folder, database = request.store.study_folder(request.name), request.options.storage.study_storage
    try:
        with StudyRecords(request, command) as records, _bars(request) if progress else nullcontext() as bars:

            def watch(event: Any) -> None:
                if bars is not None:
                    bars(event)
                records(event)

            result = run_study(request, watch, interrupts.asked)
            records.record(result.rows)
            records.record_compared(result.compared)
            if result.comparison is not None:
                _draw(result, request)
            records.drop_losers()
    except (RunError, Interrupted):
        if (folder / "trials.jsonl").is_file():  # whatever ended the study, its failures can be looked at
            with contextlib.suppress(InputError, OSError):
                write_page(folder, database, log.info)
                log.info("trials so far, with their failures: %s", folder / PAGE)
        raise
    write_page(result.folder, database, log.info)
    return result


def _draw(result: StudyResult, request: StudyRequest) -> None:
    """The figure of the comparison; a study ends without one where maps that it needs were removed, or where it cannot
    be written."""
    from wsss_platform.report.study_figure import write_figure

    assert result.comparison is not None
    try:
        write_figure(result.compared, result.comparison, request.store, result.folder)
    except (InputError, RunError, OSError) as error:
        log.info("no figure: %s", error)


def _bars(request: StudyRequest) -> Any:
    from wsss_platform.report.progress import StudyBars

    def epochs(changes: Mapping[str, Any]) -> int:
        experiment = request.experiment.with_changes(changes, "trial")
        return experiment.train_config(experiment.phases[-1]).epochs

    return StudyBars(request.name, None if request.options.unlimited else request.trials, epochs)


def plan_study(
    method: str,
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | str | Path | None = None,
    *,
    seed: int = 0,
    preset: str | None = None,
    options: StudyOptions | None = None,
    recipe: Recipe | None = None,
) -> PlannedStudy:
    """What `tune` does before it starts; `recipe` is one that was read."""
    from wsss_platform.api import experiments
    from wsss_platform.plan.protocol import strongest
    from wsss_platform.plan.selection import judged_by, read_rule
    from wsss_platform.search.space_file import load_space
    from wsss_platform.store.artefacts import Store
    from wsss_platform.tune.request import StudyRequest

    options = options or StudyOptions()
    options.check_names()
    check(MethodOptions, {"seed": seed, "preset": preset})
    changes, recipe = settings_of(settings, recipe, "tune")
    workers = options.resources.workers
    whole = experiments.build_experiment(
        method, data_of(data), changes, preset=preset, recipe=recipe, seed=seed, workers=workers
    )
    rule = read_rule(options.objective.selection, whole.data)
    check_base(rule.stamp, strongest(experiments.chosen_in(recipe), experiments.check_released(whole)))
    experiment = judged_by(rule, whole)
    _check_scored(experiment)
    space = load_space(options.search.space or space_of(experiment.method), experiment.config)
    experiments.check_gates(experiment, space.axes)
    reported = rule.reported(whole.data)
    _check_scored(_scored_on(whole, reported))
    baseline, host = (None, None) if options.objective.no_baseline else beside_of(experiment)
    options = _with_database(options)
    store = Store(options.storage.storage, options.resources.max_failures)
    return PlannedStudy(
        StudyRequest(experiment, space, store, options, rule=rule, report_list=reported, baseline=baseline, host=host)
    )


def beside_of(experiment: Experiment) -> tuple[Experiment | None, Experiment | None]:
    """What a study is compared with at its end: plain CAM and the method's host; None for one that there is not."""
    from wsss_platform.api.experiments import find_method
    from wsss_platform.plan.baseline import baseline_of, host_of

    return baseline_of(experiment, find_method("cam")), host_of(experiment)


def _check_scored(experiment: Experiment) -> None:
    """Both splits must be there, and the scored one needs ground truth."""
    from wsss_platform.api.experiments import check_lists
    from wsss_platform.plan.experiment import check_truth

    check_lists(experiment)
    check_truth(experiment, experiment.stages[-1])


def _scored_on(experiment: Experiment, split: str) -> Experiment:
    return replace(experiment, data=experiment.data.model_copy(update={"score_list": split}))


def _with_database(options: StudyOptions) -> StudyOptions:
    """The URL of a study's database as one that means the same in every folder."""
    url = options.storage.study_storage
    if url is None:
        return options
    from wsss_platform.tune.study_storage import absolute, without_secrets

    url = absolute(url)
    log.info("the study lives in %s", without_secrets(url))
    return replace(options, storage=replace(options.storage, study_storage=url))


def check_base(stamp: str, base: str) -> None:
    """A search cannot claim to have seen less than what chose the settings or weights it starts from."""
    from wsss_platform.plan.protocol import strongest

    if strongest(base, stamp) != stamp:
        raise InputError(
            f"--selection: the search would say {stamp!r}, but what it starts from was chosen with {base!r}; "
            "start from settings and weights that were not, or let the search see as much"
        )


def space_of(method: Method) -> Path:
    """The search space of a method: its own `space.toml`, or the shipped one of its name."""
    own = method.folder / "space.toml"
    return own if own.is_file() else find_space(method.name)


def find_space(method: str) -> Path:
    """The shipped search space of this name; InputError naming the nearest one."""
    from wsss_platform.config.shipped import shipped_file

    try:
        return shipped_file("search_spaces", method, ".toml")
    except InputError as error:
        raise error.in_context(f"{error}; name one with --space FILE") from None


OLD = ("hours", "gpu_hours")
"""Options whose place `budget` took; the command line still has them."""


@documented(StudyOptions, without=("trials", *OLD, *typed_only(StudyOptions)))
def tune(
    method: str,
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | str | Path | None = None,
    *,
    trials: int | None = None,
    seed: int = 0,
    preset: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Study:
    """Search loss weights, sampling ratios and thresholds of a method with Ray Tune and Optuna.

    Trial 0 is the default config. The same call continues a study that was interrupted, and a larger `trials` adds
    trials. Ray is started on this machine unless one runs already.

    Args:
        method: of `wsss-platform methods`, such as "fbr", or module:ATTRIBUTE of another package.
        data: `wsss.sample()` or another data set, or a folder; None: the built-in sample.
        settings: of the default config: dotted path -> value, or a TOML file.
        trials: in total; None: 6, or with `budget` as many as it allows.
        seed: random seed of initial weights, crops and trials.
        preset: a shipped partial config; None: "sample" on the sample.
        progress: bars and notes on standard error.
        options: any other option of a study, listed below.

    Returns:
        The study: `.comparison`, `.baseline`, `.best`, `.trials`, `.figure("importance")`, `.page`.

    Raises:
        InputError: something that was given is wrong; said before anything starts.
        RunError: every trial failed, or a stage that all trials share.

    Options:
    """
    without = (*OLD, *typed_only(StudyOptions))
    given = build(StudyOptions, {"trials": trials, **options}, "option of tune", without=without, environment=True)
    planned = plan_study(method, data, settings, seed=seed, preset=preset, options=given)
    return replace(planned, command=("wsss.tune", method)).run(progress)


def _trial(row: TrialRow) -> Trial:
    miou = None if row.objective is None else 100 * row.objective
    return Trial(row.number, row.state, dict(row.changes), miou, row.threshold, row.seconds, row.reason)
