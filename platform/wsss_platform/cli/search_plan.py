"""How a study searches, for its plan: sampler, scheduler with rungs, objectives and budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.documents import SearchSettings
from wsss_platform.search.space import SearchSpace
from wsss_platform.tune.rungs import planned_rungs

Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="Start no more trials after this time (45m, 6h), or once all trials, of earlier calls too, took this many "
        "GPU-hours (20gpu-h; each its GPUs from start to end). The same command goes on.",
        metavar="45m|6h|20gpu-h",
    ),
]
OldHours = Annotated[float | None, typer.Option("--hours", hidden=True)]
OldGpuHours = Annotated[float | None, typer.Option("--gpu-hours", hidden=True)]
Objectives = Annotated[
    str,
    typer.Option(
        "--objectives",
        help="What is searched for at once; trials that no other one beats are marked. seconds: of all stages of a "
        "trial, as if none had been stored; memory: peak of its trainings.",
        metavar="accuracy[,seconds][,memory]",
    ),
]
Sampler = Annotated[str, typer.Option("--sampler", help="What proposes.", metavar="tpe|random|gp|cmaes|nsgaii")]
Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler",
        help="asha stops trials that lag behind; none stops no trial.",
        metavar="asha|none",
    ),
]


def search_plan(
    experiment: Experiment,
    space: SearchSpace,
    named: Mapping[str, Any],
    budget: Mapping[str, float | None],
) -> SearchSettings:
    """How a study searches.

    Args:
        experiment: the default config's.
        space: what is searched.
        named: "sampler", "scheduler" and "objectives", accuracy first.
        budget: "trials" (in total), "hours" (of each call) and "gpu_hours" (of all trials); None: no such limit.
    """
    rungs = planned_rungs(experiment, space, named["scheduler"], named["objectives"])
    return SearchSettings.model_validate({**named, "rungs": rungs, "budget": dict(budget)})
