"""How a study searches, for its plan: sampler, scheduler with rungs and brackets, objectives and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from wsss_platform.engine.brackets import bracket_of, planned_rungs
from wsss_platform.experiment import Experiment
from wsss_platform.search.space import SearchSpace

MOST = 1000
"""Trials whose brackets are counted."""

GpuHours = Annotated[
    float | None,
    typer.Option(
        "--gpu-hours",
        help="No new trial starts once all, of earlier calls too, took so many: each its GPUs from start to end.",
        min=0.0,
    ),
]
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
        help="asha stops trials that lag behind; hyperband does so in brackets that begin later and later; pbt copies "
        "better ones in the middle of a training; none.",
        metavar="asha|hyperband|pbt|none",
    ),
]


def search_plan(
    experiment: Experiment,
    space: SearchSpace,
    selection: str,
    named: Mapping[str, Any],
    budget: Mapping[str, float | None],
    study: str,
    trials: int,
) -> dict[str, Any]:
    """The search as plain data.

    Args:
        experiment: the default config's.
        space: what is searched.
        selection: whose pixel truth may choose.
        named: "sampler", "scheduler" and "objectives", accuracy first.
        budget: "trials" (in total), "hours" (of each call) and "gpu_hours" (of all trials); None: no such limit.
        study: its name, which decides the brackets of HyperBand.
        trials: whose brackets are counted.
    """
    scheduler = named["scheduler"]
    rungs = planned_rungs(experiment, space, scheduler, selection, named["objectives"])
    brackets: list[dict[str, Any]] = []
    if scheduler == "hyperband" and rungs:
        count = len(rungs) + 1
        found = [bracket_of(study, number, count) for number in range(min(trials, MOST))]
        brackets = [{"rungs": list(rungs[place:]), "trials": found.count(place)} for place in range(count)]
    if scheduler == "pbt":  # it draws for itself, and stops nobody
        named = {name: value for name, value in named.items() if name != "sampler"}
    return {**named, "rungs": list(rungs), "brackets": brackets, "budget": dict(budget)}


def search_words(search: Mapping[str, Any]) -> list[str]:
    """The search in a few lines."""
    budget = search["budget"]
    parts = [
        None if budget["trials"] is None else f"{budget['trials']} trials in total",
        None if budget["hours"] is None else f"{budget['hours']:g} hours of this call",
        None if budget["gpu_hours"] is None else f"{budget['gpu_hours']:g} GPU-hours of all trials and calls",
    ]
    ends = ", or ".join(part for part in parts if part)
    how = f"scheduler {search['scheduler']}"
    if "sampler" in search:
        how = f"sampler {search['sampler']}; {how}: {_stopping(search)}"
    lines = [how, f"budget: {ends}"]
    if len(search["objectives"]) > 1:
        lines.insert(1, f"objectives: {', '.join(search['objectives'])}; the best config is the most accurate one")
    brackets = search["brackets"]
    if brackets:
        each = "; ".join(f"{one['trials']} trials {_rungs(one['rungs'])}" for one in brackets)
        total = sum(one["trials"] for one in brackets)
        lines.insert(1, f"{len(brackets)} brackets, of the {'first ' if total == MOST else ''}{total} trials: {each}")
    return lines


def _stopping(search: Mapping[str, Any]) -> str:
    if search["rungs"]:
        return f"rungs after {_epochs(search['rungs'])} of the last phase; the default config is never stopped"
    if search["scheduler"] != "none" and len(search["objectives"]) > 1:
        return "no trial is stopped early, as there are several objectives"
    return "no trial is stopped early"


def _rungs(rungs: Sequence[int]) -> str:
    return f"from {_epochs(rungs[:1])} on" if rungs else "to the end"


def _epochs(rungs: Sequence[int]) -> str:
    shown = ", ".join(map(str, rungs))
    return f"epoch {shown}" if len(rungs) == 1 else f"epochs {shown}"
