"""What a study would do: its name, stages, cost, disk and axes, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.documents import SearchSettings, StudyPlan, StudyStage
from wsss_platform.search.effects import shared_stages
from wsss_platform.search.space import SearchSpace
from wsss_platform.store.artefacts import Store
from wsss_platform.upkeep.retention import KEEP_BEST

if TYPE_CHECKING:
    from wsss_platform.search.levels import Levels


def study_plan(
    experiment: Experiment,
    space: SearchSpace,
    store: Store,
    study: str,
    trials: int | None,
    gpus_per_worker: float | None,
    *,
    selection: str,
    reported: str,
    search: SearchSettings,
    keep_best: int = KEEP_BEST,
    seeds: int = 1,
    levels: Levels | None = None,
) -> StudyPlan:
    """What a study would do. Starts nothing.

    Args:
        experiment: with the default config; its scored list judges.
        space: all axes.
        store: of the study.
        study: its name.
        trials: in total; None: as many as a budget of hours allows, and the cost is that of one.
        gpus_per_worker: for the reader.
        selection: the pixel truth that chooses.
        reported: list on which the result is told.
        search: how it searches.
        keep_best: trials that keep their maps; 0: all.
        seeds: runs of each trial.
        levels: which axes are searched within a trial; None: none are.
    """
    from wsss_platform.api.plans import plan_document
    from wsss_platform.search.costs import study_costs

    costs = study_costs(experiment, space, trials or 1, store, study, keep_best, seeds=seeds, levels=levels)
    plan = plan_document(study, experiment, store, experiment.stages[-1], gpus_per_worker, costs)
    keys = {stage.key for stage in shared_stages(experiment, space)}
    return StudyPlan(
        study=study,
        trials=trials,
        seeds=seeds,
        inner_settings=0 if levels is None else levels.settings,
        inner_axes=() if levels is None else tuple(axis.path for axis in levels.inner),
        keep_best=keep_best,
        axes=space.axes,
        trial_0="the default config, whose stages these are",
        method=plan.method,
        data=plan.data,
        seed=plan.seed,
        resources=plan.resources,
        stages=tuple(StudyStage(**dict(stage), shared=stage.key in keys) for stage in plan.stages),
        cost=plan.cost,
        config=plan.config,
        selection=selection,
        judged_on=experiment.data.score_list,
        reported_on=reported,
        search=search,
    )
