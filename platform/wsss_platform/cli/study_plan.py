"""What a study would do: its name, stages, cost, disk and axes, before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from wsss_platform.config import fingerprint
from wsss_platform.experiment import Experiment
from wsss_platform.retention import KEEP_BEST
from wsss_platform.search.effects import shared_stages
from wsss_platform.search.space import SearchSpace
from wsss_platform.selection import SelectionRule
from wsss_platform.store import Store

if TYPE_CHECKING:
    from wsss_platform.search.levels import Levels


def default_study(
    experiment: Experiment,
    space: SearchSpace,
    scheduler: str,
    rule: SelectionRule,
    sampler: str = "tpe",
    seeds: int = 1,
    objectives: Sequence[str] = ("accuracy",),
    levels: Levels | None = None,
) -> str:
    """Method, data and a hash of all settings but the number of trials."""
    settings = {
        "config": experiment.config,
        "data": experiment.data,
        "seed": experiment.seed,
        "workers": experiment.workers,
        "revision": experiment.method.revision,
        "space": space.model_dump(mode="json", exclude_none=True),
        "scheduler": scheduler,
    }
    if rule.kind in ("none", "held-out"):  # the other two follow from the lists
        settings["selection"] = rule.stamp
    if sampler != "tpe" or seeds != 1:
        settings["search"] = [sampler, seeds]
    if len(objectives) > 1:
        settings["objectives"] = list(objectives)
    if levels is not None and levels.settings:
        settings["inner"] = levels.settings if levels.outer.axes else "all"
    return f"{experiment.method.name.replace(':', '.')}-{experiment.data.kind}-tune-{fingerprint(settings)[:8]}"


def study_plan(
    experiment: Experiment,
    space: SearchSpace,
    store: Store,
    study: str,
    trials: int | None,
    gpus_per_worker: float | None,
    keep_best: int = KEEP_BEST,
    seeds: int = 1,
    levels: Levels | None = None,
    label_free: bool = False,
) -> dict[str, Any]:
    """What a study would do, as plain data. Starts nothing.

    Args:
        experiment: with the default config.
        space: all axes.
        store: of the study.
        study: its name.
        trials: in total; None: as many as a budget of hours allows, and the cost is that of one.
        gpus_per_worker: for the reader.
        keep_best: trials that keep their maps; 0: all.
        seeds: runs of each trial.
        levels: which axes are searched within a trial; None: none are.
        label_free: whether the objective sees no pixel truth, and compares masks instead.
    """
    from wsss_platform.cli.plan import plan_document
    from wsss_platform.search.costs import study_costs

    resources = {"workers": experiment.workers, "gpus per worker": gpus_per_worker or 0, "storage": str(store.root)}
    compared = None
    if label_free:
        from wsss_platform.label_free import variants

        compared = variants(experiment)
    costs = study_costs(
        experiment, space, trials or 1, store, study, keep_best, seeds=seeds, levels=levels, compared=compared
    )
    plan = plan_document(experiment, store, experiment.stages[-1], resources, costs)
    keys = {stage.key for stage in shared_stages(experiment, space)}
    for stage in plan["stages"]:
        stage["shared"] = stage["key"] in keys
    return {
        "study": study,
        "trials": trials,
        "seeds": seeds,
        "inner settings": 0 if levels is None else levels.settings,
        "inner axes": [] if levels is None else [axis.path for axis in levels.inner],
        "keep_best": keep_best,
        "axes": [axis.model_dump(mode="json") for axis in space.axes],
        "trial 0": "the default config, whose stages these are",
        **plan,
    }


def plan_tables(document: dict[str, Any]) -> list[Any]:
    """The plan for a person."""
    from wsss_platform.cli.plan import plan_table
    from wsss_platform.cli.search_plan import search_words
    from wsss_platform.search.costs import cost_words

    axes = Table("axis", "range", "reason", title=f"{len(document['axes'])} axes", title_justify="left")
    for axis in document["axes"]:
        span = axis.get("choices") or f"{axis['low']:g} .. {axis['high']:g}" + (" log" if axis.get("log") else "")
        axes.add_row(axis["path"], str(span), axis["reason"])
    shared = [stage["stage"] for stage in document["stages"] if stage["shared"]]
    return [
        f"selection {document['selection']}: judged on {document['judged on']}, told on {document['reported on']}",
        f"study {document['study']}: {_number(document)}, the default config first",
        *search_words(document["search"]),
        plan_table(document),
        f"made once for all trials: {', '.join(shared) or 'nothing'}; the rest once per trial",
        *inner_words(document),
        cost_words(document["cost"], at_most=True) + (" (for one trial)" if document["trials"] is None else ""),
        disk_words(document["keep_best"], stops="population" not in document),
        axes,
    ]


def inner_words(document: dict[str, Any]) -> list[str]:
    """What is searched within a trial, in a line; none where nothing is."""
    if not document["inner settings"]:
        return []
    return [
        f"within each trial, on its stored maps: {document['inner settings']} settings of "
        f"{', '.join(document['inner axes'])}, counted in the study's folder inner"
    ]


def _number(document: dict[str, Any]) -> str:
    trials = document["search"]["budget"]["trials"]
    return "as many trials as the budget allows" if trials is None else f"{trials} trials"


def disk_words(keep_best: int, stops: bool = True) -> str:
    """What a study leaves on the disk, in one line."""
    if not keep_best:
        return "disk: every trial keeps its weights, maps, masks and score (--keep-best 0)"
    stopped = ", and checkpoints of trials that are stopped early," if stops else ""
    return (
        f"disk: every trial keeps its weights and score; the best {keep_best} keep their maps and masks. Those of the "
        f"others{stopped} are dropped as soon as they lose, unless another run refers to them (--keep-best 0 keeps all)"
    )
