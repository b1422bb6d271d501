"""`tune`: search a method's settings, or the rule and CRF of a run's stored maps.

The same command continues, a larger --trials adds trials.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsss_platform.api import experiments
from wsss_platform.api.runners import check_resources, default_gpus
from wsss_platform.cli import crf, options, search_plan
from wsss_platform.cli.output import Output, note, output
from wsss_platform.cli.study_plan import study_plan
from wsss_platform.config import MethodConfig
from wsss_platform.config.shipped import shipped_file
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.protocol import strongest
from wsss_platform.plan.selection import SelectionRule, judged_by, read_rule
from wsss_platform.report.tables.study import study_plan as plan_shown
from wsss_platform.report.tables.study import study_result
from wsss_platform.run.interrupts import Interrupted, Interrupts
from wsss_platform.search.documents import StudyDocument, StudyReport
from wsss_platform.search.levels import SETTINGS, split
from wsss_platform.search.space import load_space
from wsss_platform.store.artefacts import Store, check_name
from wsss_platform.store.disk import check_writable
from wsss_platform.tune.budget import Budget, read_budget, with_old_options
from wsss_platform.tune.halting import UNLIMITED
from wsss_platform.tune.identity import default_name, identity
from wsss_platform.tune.objectives import check_measured, read_objectives
from wsss_platform.tune.rungs import check_scheduler
from wsss_platform.upkeep.retention import KEEP_BEST

if TYPE_CHECKING:
    from wsss_platform.tune.request import StudyRequest
    from wsss_platform.tune.tuner import StudyResult

TRIALS = 6
"""Default number of trials: what two cores do in a few minutes on the sample."""
FINISHING = "finishing: no trial starts any more, those that run end after their epoch or chunk and are kept"


def tune(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD|RUN", help="A method, or a run whose stored maps get a search of rule and CRF."),
    ],
    data: options.Data = "sample",
    root: options.Root = "",
    train_list: options.TrainList = None,
    score_list: options.ScoreList = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            help=f"In total, earlier ones of this study included. Default: {TRIALS}, with --budget no limit, for a run "
            f"{crf.SETTINGS} settings.",
            min=1,
        ),
    ] = None,
    budget: search_plan.Budget = None,
    hours: search_plan.OldHours = None,
    gpu_hours: search_plan.OldGpuHours = None,
    objectives: search_plan.Objectives = "accuracy",
    sampler: search_plan.Sampler = "tpe",
    seeds: Annotated[
        int,
        typer.Option("--seeds", help="Runs per trial, each with a seed of its own; the objective is the mean.", min=1),
    ] = 1,
    inner: Annotated[
        int | None,
        typer.Option(
            "--inner",
            help="Settings of those axes that need only stored maps, searched within each trial; 0: every axis is a "
            f"trial's. Default: {SETTINGS}; where all axes are such, one trial searches --trials settings.",
            min=0,
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space", help="Search space; default search_spaces/METHOD.toml, for a run crf.toml.", metavar="FILE"
        ),
    ] = None,
    pictures: crf.Pictures = crf.PICTURES,
    confirm: crf.Confirm = crf.CONFIRM,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    changes: options.Set = None,
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            help="Whose pixel truth may choose: held-out:K (K pictures per class of the training list, told on the "
            "rest), train or val. Default: train where that list is scored, else val.",
            metavar="held-out:K|train|val",
        ),
    ] = None,
    oracle: Annotated[
        bool,
        typer.Option("--oracle", help="Score every trial on the list of the report, also where that needs new maps."),
    ] = False,
    scheduler: search_plan.Scheduler = "asha",
    concurrent: Annotated[
        int | None,
        typer.Option("--concurrent", help="Trials (pictures of a run) at once; default: all there is room for.", min=1),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            help="How often a trial that failed or lost its process is tried again before it is listed as failed.",
            min=0,
        ),
    ] = 1,
    keep_best: Annotated[
        int, typer.Option("--keep-best", help="Trials that keep their maps and masks; 0: all do.", min=0)
    ] = KEEP_BEST,
    study_storage: Annotated[
        str | None,
        typer.Option(
            "--study-storage",
            help="Database in which the study lives: sqlite:///FILE or postgresql://...; default: a journal in its "
            "folder. A password is better off in the environment.",
            metavar="URL",
            envvar="WSSS_STUDY_STORAGE",
        ),
    ] = None,
    storage: options.Storage = options.STORAGE,
    max_failures: options.MaxFailures = 0,
    seed: options.Seed = 0,
    workers: options.Workers = 1,
    gpus_per_worker: options.GpusPerWorker = None,
    name: options.Name = None,
    wandb: options.Wandb = "auto",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Search loss weights, sampling ratios and thresholds with Ray Tune and Optuna; of a RUN, its rule and CRF."""
    limits = with_old_options(Budget() if budget is None else read_budget(budget), hours, gpu_hours)
    if crf.is_run(Store(storage), method):
        if objectives != "accuracy" or limits != Budget():
            raise InputError(
                "--objectives, --budget: a search of a run's stored maps has one objective, and ends by --trials"
            )
        given = {"--data": data != "sample", "--root": root, "--train-list": train_list, "--preset": preset}
        crf.refuse(method, given | {"--config": config, "--workers": workers != 1, "--inner": inner})
        with output(as_json) as out:
            crf.tune(
                out,
                Store(storage),
                method,
                space=space or find_space("crf"),
                score_list=score_list,
                changes=changes,
                settings=trials or crf.SETTINGS,
                pictures=pictures,
                confirm=confirm,
                seed=seed,
                threads=concurrent,
                name=name,
                dry_run=dry_run,
            )
        return
    asked, limited = trials, trials is not None or limits == Budget()
    wanted = read_objectives(objectives)
    check_scheduler(scheduler)
    with output(as_json) as out:
        trials = asked or (TRIALS if limited else UNLIMITED)
        experiment = experiments.build_experiment(
            method,
            data=data,
            root=root,
            train_list=train_list,
            score_list=score_list,
            preset=preset,
            file=config,
            changes=changes,
            seed=seed,
            workers=workers,
        )
        check_search(sampler, len(wanted), limits, gpus_per_worker)
        if study_storage is not None:
            from wsss_platform.tune.study_storage import absolute, without_secrets

            study_storage = absolute(study_storage)
            note(f"the study lives in {without_secrets(study_storage)}")
        rule = read_rule(selection, experiment.data)
        check_base(rule, strongest(experiments.chosen_with(config), experiments.check_released(experiment)))
        whole, experiment = experiment, judged_by(rule, experiment)
        experiments.check_lists(experiment)
        searched = load_space(space or find_space(experiment.method.name), experiment.config)
        experiments.check_gates(experiment, searched.axes)
        store = Store(storage, max_failures)
        check_measured(wanted, experiment, searched)
        if inner and len(wanted) > 1:
            raise InputError(
                "--inner: settings within a trial are chosen by accuracy on pixel truth, which would hide what "
                "--objectives trades it for; leave it out, and every axis is a trial's"
            )
        within = 0 if len(wanted) > 1 else SETTINGS if inner is None else inner
        levels = split(experiment, searched, within, seed)
        if levels.settings and not levels.outer.axes:
            if limits != Budget() or inner is not None:
                raise InputError(
                    "--budget, --inner: all axes need stored maps alone, so one trial searches them all; "
                    "--trials is their number"
                )
            levels, trials = replace(levels, settings=asked or crf.SETTINGS), 1
        named: dict[str, Any] = {"sampler": sampler, "scheduler": scheduler, "objectives": list(wanted)}
        said = identity(experiment, levels, rule.stamp, **named, sampler_seed=seed, seeds=seeds)
        study = check_name(name or default_name(said), "study name")
        reported = rule.reported(whole.data)
        experiments.check_lists(replace(whole, data=whole.data.model_copy(update={"score_list": reported})))
        ends = {"trials": trials if limited else None, **asdict(limits)}
        plan = study_plan(
            *(experiment, searched, store, study, None if trials == UNLIMITED else trials, gpus_per_worker),
            selection=rule.stamp,
            reported=reported,
            search=search_plan.search_plan(experiment, searched, named, ends),
            keep_best=keep_best,
            seeds=seeds,
            levels=levels,
        )
        if dry_run:
            out.result(plan, *plan_shown(plan))
            return
        from wsss_platform.engine.cluster import connect
        from wsss_platform.tune.request import StudyRequest

        check_writable(store.root)
        note("starting Ray")
        with Interrupts(FINISHING) as interrupts, connect() as cluster:
            gpus = default_gpus(gpus_per_worker, cluster.gpus)
            check_resources(workers, gpus, cluster.cpus, cluster.gpus)
            result = _search(
                StudyRequest(
                    experiment=experiment,
                    space=searched,
                    trials=trials,
                    store=store,
                    name=study,
                    seed=seed,
                    workers=workers,
                    gpus_per_worker=gpus,
                    cpus_per_worker=cluster.cpus_beside(gpus),
                    scheduler=scheduler,  # type: ignore[arg-type]  # checked above
                    max_concurrent=concurrent,
                    retries=retries,
                    rule=rule,
                    report_list=reported,
                    oracle=oracle,
                    sampler=sampler,
                    budget=limits,
                    objectives=wanted,
                    seeds=seeds,
                    inner=levels.settings,
                    study_storage=study_storage,
                ),
                wandb,
                keep_best,
                interrupts.asked,
            )
        _print(out, store, study, result, experiment.config)


def check_search(sampler: str, objectives: int, budget: Budget, gpus_per_worker: float | None) -> None:
    """The sampler must exist and have what it needs, the budget be one that can be kept, before anything starts."""
    if sampler != "tpe":
        from wsss_platform.tune.search_algorithm import check_sampler

        check_sampler(sampler, objectives)
    if budget.gpu_hours is not None:
        from wsss_platform.tune.gpu_hours import check_gpu_hours

        gpus = 1.0 if gpus_per_worker is None else gpus_per_worker  # None: what the cluster has
        check_gpu_hours(budget.gpu_hours, gpus)


def check_base(rule: SelectionRule, base: str) -> None:
    """A search cannot claim to have seen less than what chose the settings or weights it starts from."""
    if strongest(base, rule.stamp) != rule.stamp:
        raise InputError(
            f"--selection: the search would say {rule.stamp!r}, but what it starts from was chosen with {base!r}; "
            "start from settings and weights that were not, or let the search see as much"
        )


def find_space(method: str) -> Path:
    """The shipped search space of a method, or of the search of stored maps."""
    try:
        return shipped_file("search_spaces", method, ".toml")
    except InputError as error:
        raise error.in_context(f"{error}; name one with --space FILE", field="--space") from None


def _search(request: StudyRequest, wandb: str, keep_best: int, asked: Callable[[], bool]) -> StudyResult:
    from wsss_platform.api.study_pages import write_page
    from wsss_platform.cli.study import StudyView
    from wsss_platform.report.study_page import PAGE
    from wsss_platform.tune.tuner import tune as run_study

    folder = request.store.study_folder(request.name)
    try:
        with StudyView(request, wandb, keep_best) as view:
            result = run_study(request, view, asked)
            view.record(result.rows)
            view.drop_losers()
    except (RunError, Interrupted):
        if (folder / "trials.jsonl").is_file():  # whatever ended the study, its failures can be looked at
            with contextlib.suppress(InputError, OSError):
                write_page(folder, request.study_storage, note)
                note(f"trials so far, with their failures: {folder / PAGE}")
        raise
    write_page(result.folder, request.study_storage, note)
    return result


def _print(out: Output, store: Store, study: str, result: StudyResult, default: MethodConfig) -> None:
    """The table of trials, the best config, and where everything is."""
    from wsss_platform.search.masks.table import INNER

    settings = result.folder / INNER
    document = StudyDocument(
        study=study,
        folder=str(result.folder),
        objective=result.objective,
        objectives=result.objectives,
        front=tuple(row.number for row in result.front),
        selection=result.selection,
        looks=result.looks,
        report=None if result.told is None else StudyReport.model_validate(result.told),
        inner=str(settings) if settings.is_dir() else None,
        best=result.best,
        best_config=None if result.best_config is None else str(result.best_config),
        trials=result.rows,
    )
    out.result(document, *study_result(document, default, store.root))
