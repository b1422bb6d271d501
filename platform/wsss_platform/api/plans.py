"""What a run would do, as a document: stages, keys, what is cached, what it costs. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from wsss_platform.plan.documents import PlannedStage, Resources, RunPlan
from wsss_platform.plan.experiment import Experiment, Stage, is_cached, needed
from wsss_platform.search.costs import Cost, cost_document, run_costs
from wsss_platform.store.artefacts import Store


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
                list=stage.list_name,
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


def _amount(experiment: Experiment, stage: Stage) -> str:
    pictures = len(experiment.dataset.split(stage.list_name).ids)
    if stage.kind == "train":
        return f"{experiment.train_config(stage.phase).epochs} epochs of {pictures} pictures"
    return f"{pictures} pictures"
