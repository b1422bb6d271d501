"""What a study is: what it maximises, what must not change when it is continued, and the name that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsss_platform.config import fingerprint
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import Selection
from wsss_platform.search.effects import changes_masks
from wsss_platform.search.levels import Levels
from wsss_platform.tune.objectives import SINGLE
from wsss_platform.tune.rungs import REDUCTION, RUNG_PICTURES, planned_rungs

BEST, MASKS = "best of the sweep", "masks"
"""What a study can maximise: the sweep's best mean IoU, or the masks' own (which the sweep does not see)."""


def objective_of(experiment: Experiment, levels: Levels) -> str:
    """What is maximised. The sweep sees the maps and not the masks, so a space that changes how masks are made is
    judged by the masks' mean IoU, any other by the best of the exact sweep."""
    return MASKS if levels.settings or changes_masks(experiment, levels.space) else BEST


def identity(
    experiment: Experiment,
    levels: Levels,
    selection: Selection,
    *,
    scheduler: str = "asha",
    sampler: str = "tpe",
    sampler_seed: int = 0,
    seeds: int = 1,
    objectives: Sequence[str] = SINGLE,
    reduction: int = REDUCTION,
    rung_pictures: int = RUNG_PICTURES,
) -> dict[str, Any]:
    """What must not change when a study is continued; resources, budget and the number of trials may.

    Args:
        experiment: with the default config; its scored list is the one on which trials are judged.
        levels: the space, and which axes are searched within a trial.
        selection: the pixel truth that chooses.
        scheduler: see `rungs.SCHEDULERS`.
        sampler: see `search_algorithm.SAMPLERS`.
        sampler_seed: of the sampler.
        seeds: runs of each trial.
        objectives: accuracy first.
        reduction: of the trials at a rung one in so many goes on.
        rung_pictures: on which a rung is decided.
    """
    # a search without outer axes may be continued with more settings; elsewhere another number is another search
    within = "all" if levels.settings and not levels.outer.axes else levels.settings
    rungs = planned_rungs(experiment, levels.space, scheduler, objectives, reduction)
    return {
        "method": [experiment.method.name, experiment.method.revision],
        "config": experiment.config.model_dump(mode="json"),
        "data": experiment.data.model_dump(mode="json"),
        "split": experiment.split_fingerprint(experiment.data.train_list),
        "truth": experiment.truth_fingerprint(experiment.data.score_list),
        "seed": experiment.seed,
        "workers": experiment.workers,
        "space": {
            axis.path: axis.model_dump(mode="json", exclude={"reason", "path"}, exclude_none=True)
            for axis in levels.space.axes
        },
        "sampler_seed": sampler_seed,
        "objective": objective_of(experiment, levels),
        "selection": selection,
        "rungs": list(rungs),
        "reduction": reduction,
        "rung_pictures": rung_pictures,
        "sampler": sampler,
        "seeds": seeds,
        "objectives": list(objectives),
        "inner": within,
    }


def default_name(said: dict[str, Any]) -> str:
    """Method, data and a hash of an identity: the same command continues the same study."""
    method = str(said["method"][0]).replace(":", ".")
    return f"{method}-{said['data']['kind']}-tune-{fingerprint(said)[:8]}"
