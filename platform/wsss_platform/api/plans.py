"""What a run would do, as a document: stages, keys, what is cached, what it costs. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wsss_platform.config.options import flat
from wsss_platform.config.words import counted
from wsss_platform.plan.documents import PlannedStage, Resources, RunPlan
from wsss_platform.plan.experiment import Experiment, Stage, is_cached, needed
from wsss_platform.search.costs import Cost, Speeds, best_costs, cost_document, further_costs, run_costs, study_costs
from wsss_platform.search.documents import BEST, PlannedBudget, SearchSettings, StudyPlan, StudyStage
from wsss_platform.search.effects import shared_stages
from wsss_platform.store.artefacts import Store

if TYPE_CHECKING:
    from wsss_platform.tune.request import StudyRequest


def plan_document(
    run: str,
    experiment: Experiment,
    store: Store,
    until: Stage,
    gpus_per_worker: float | None = None,
    costs: Sequence[Cost] | None = None,
) -> RunPlan:
    """What a run of this name would do.

    Args:
        run: its name.
        experiment: what it would run.
        store: where it would run it.
        until: the last stage.
        gpus_per_worker: for the reader.
        costs: those of a study; None: those of this run.
    """
    todo = {stage.key for stage in needed(experiment.stages, store, until)}
    stages = experiment.stages[: experiment.stages.index(until) + 1]
    return RunPlan(
        run=run,
        method=experiment.method.name,
        data=experiment.data.model_dump(mode="json"),
        seed=experiment.seed,
        resources=Resources(
            workers=experiment.workers, gpus_per_worker=gpus_per_worker or 0.0, storage=str(store.root)
        ),
        stages=tuple(
            PlannedStage(
                stage=stage.name,
                split=stage.list_name,
                key=stage.key,
                cached=is_cached(stage, store),
                run=stage.key in todo,
                amount=_amount(experiment, stage),
            )
            for stage in stages
        ),
        cost=cost_document(run_costs(experiment, store, until) if costs is None else costs),
        config=experiment.config.model_dump(mode="json"),
    )


def study_plan(request: StudyRequest) -> StudyPlan:
    """What a study would do."""
    from wsss_platform.tune.comparison import COMPARISON

    experiment, options, store = request.experiment, request.options, request.store
    ends, keep_best = options.ends(), options.storage.keep_best
    costs = study_costs(
        experiment,
        request.space,
        ends["trials"] or 1,
        store,
        request.name,
        keep_best,
        seeds=request.seeds,
        levels=request.levels,
    )
    reported = experiment.data.model_copy(update={"score_list": request.reported_on})
    known = {stage.key for offset in range(request.seeds) for stage in experiment.of_seed(offset).stages}
    speeds, missing = Speeds(store), bool(costs)
    for row, each in request.rows().items():
        for offset in range(request.seeds):
            for one in (each.of_seed(offset), replace(each.of_seed(offset), data=reported)):
                costs += further_costs(row, one, store, known, speeds)
    compared = (store.study_folder(request.name) / COMPARISON).is_file() and not missing
    if request.report_list is not None and not compared:
        for offset in range(request.seeds):
            shown = replace(experiment.of_seed(offset), data=reported)
            costs += best_costs(BEST, shown, request.space, experiment.data.score_list, speeds)
    gpus = options.resources.gpus_per_worker
    plan = plan_document(request.name, experiment, store, experiment.stages[-1], gpus, costs)
    keys = {stage.key for stage in shared_stages(experiment, request.space)}
    return StudyPlan(
        study=request.name,
        trials=ends["trials"],
        seeds=request.seeds,
        inner_settings=request.levels.settings,
        inner_axes=tuple(axis.path for axis in request.levels.inner),
        keep_best=keep_best,
        axes=request.space.axes,
        rows=(*request.rows(), BEST) if request.report_list is not None else (),
        trial_0="the default config, whose stages these are",
        method=plan.method,
        data=plan.data,
        seed=plan.seed,
        resources=plan.resources,
        stages=tuple(StudyStage(**dict(stage), shared=stage.key in keys) for stage in plan.stages),
        cost=plan.cost,
        config=plan.config,
        selection=request.selection,
        judged_on=experiment.data.score_list,
        reported_on=request.reported_on,
        search=SearchSettings(
            sampler=options.search.sampler,
            scheduler=options.search.scheduler,
            objectives=request.objectives,
            rungs=request.rungs,
            budget=PlannedBudget(**ends),
        ),
        options=flat(options, typed=False),
    )


def _amount(experiment: Experiment, stage: Stage) -> str:
    images = len(experiment.dataset.split(stage.list_name).ids)
    if stage.kind == "train":
        return f"{counted(experiment.train_config(stage.phase).epochs, 'epoch')} of {counted(images, 'image')}"
    return counted(images, "image")
