"""The plan of an experiment for a reader: stages, keys, what is cached, what will be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from wsss_platform.experiment import Experiment, Stage, is_cached, needed
from wsss_platform.search.costs import Cost, cost_document, run_costs
from wsss_platform.store import Store


def plan_document(
    experiment: Experiment,
    store: Store,
    until: Stage,
    resources: dict[str, Any],
    costs: Sequence[Cost] | None = None,
) -> dict[str, Any]:
    """The plan as plain data; `costs` are those of a study, else those of one run."""
    todo = {stage.key for stage in needed(experiment.stages, store, until)}
    return {
        "method": experiment.method.name,
        "data": experiment.data.model_dump(mode="json"),
        "seed": experiment.seed,
        "resources": resources,
        "stages": [
            {
                "stage": stage.name,
                "list": stage.list_name,
                "key": stage.key,
                "cached": is_cached(stage, store),
                "run": stage.key in todo,
                "amount": _amount(experiment, stage),
            }
            for stage in experiment.stages[: experiment.stages.index(until) + 1]
        ],
        "cost": cost_document(run_costs(experiment, store, until) if costs is None else costs),
        "config": experiment.config.model_dump(mode="json"),
    }


def plan_table(document: dict[str, Any]) -> Table:
    """The plan as a table."""
    resources = ", ".join(f"{name} {value}" for name, value in document["resources"].items())
    table = Table(title=f"{document['method']}: seed {document['seed']}; {resources}", title_justify="left")
    for heading in ("stage", "list", "work", "key", "state"):
        table.add_column(heading)
    for stage in document["stages"]:
        state = "in the store" if stage["cached"] else "to do" if stage["run"] else "not needed"
        table.add_row(stage["stage"], stage["list"], stage["amount"], stage["key"][:12], state)
    return table


def _amount(experiment: Experiment, stage: Stage) -> str:
    pictures = len(experiment.dataset.split(stage.list_name).ids)
    if stage.kind == "train":
        return f"{experiment.epochs(stage)} epochs of {pictures} pictures"
    return f"{pictures} pictures"
