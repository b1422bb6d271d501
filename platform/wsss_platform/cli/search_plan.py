"""How a study searches, for its plan: sampler, scheduler with rungs, objectives and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from wsss_platform.plan.experiment import Experiment
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
) -> dict[str, Any]:
    """The search as plain data.

    Args:
        experiment: the default config's.
        space: what is searched.
        named: "sampler", "scheduler" and "objectives", accuracy first.
        budget: "trials" (in total), "hours" (of each call) and "gpu_hours" (of all trials); None: no such limit.
    """
    rungs = planned_rungs(experiment, space, named["scheduler"], named["objectives"])
    return {**named, "rungs": list(rungs), "budget": dict(budget)}


def search_words(search: Mapping[str, Any]) -> list[str]:
    """The search in a few lines."""
    budget = search["budget"]
    parts = [
        None if budget["trials"] is None else f"{budget['trials']} trials in total",
        None if budget["hours"] is None else f"{budget['hours']:g} hours of this call",
        None if budget["gpu_hours"] is None else f"{budget['gpu_hours']:g} GPU-hours of all trials and calls",
    ]
    ends = ", or ".join(part for part in parts if part)
    how = f"sampler {search['sampler']}; scheduler {search['scheduler']}: {_stopping(search)}"
    lines = [how, f"budget: {ends}"]
    if len(search["objectives"]) > 1:
        lines.insert(1, f"objectives: {', '.join(search['objectives'])}; the best config is the most accurate one")
    return lines


def _stopping(search: Mapping[str, Any]) -> str:
    if search["rungs"]:
        return f"rungs after {_epochs(search['rungs'])} of the last phase; the default config is never stopped"
    if search["scheduler"] != "none" and len(search["objectives"]) > 1:
        return "no trial is stopped early, as there are several objectives"
    return "no trial is stopped early"


def _epochs(rungs: Sequence[int]) -> str:
    shown = ", ".join(map(str, rungs))
    return f"epoch {shown}" if len(rungs) == 1 else f"epochs {shown}"
