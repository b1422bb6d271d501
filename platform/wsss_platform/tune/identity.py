"""What a study is: what it maximises, what must not change when it is continued, and the name that follows from it."""

from __future__ import annotations

from typing import Any

from wsss_platform.config import fingerprint
from wsss_platform.config.options import flat
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import Selection
from wsss_platform.search.effects import changes_masks
from wsss_platform.search.levels import Levels
from wsss_platform.tune.options import StudyOptions
from wsss_platform.tune.rungs import planned_rungs

BEST, MASKS = "best of the sweep", "masks"
"""What a study can maximise: the sweep's best mean IoU, or the masks' own (which the sweep does not see)."""


def objective_of(experiment: Experiment, levels: Levels) -> str:
    """What is maximised. The sweep sees the maps and not the masks, so a space that changes how masks are made is
    judged by the masks' mean IoU, any other by the best of the exact sweep."""
    return MASKS if levels.settings or changes_masks(experiment, levels.space) else BEST


def identity(experiment: Experiment, levels: Levels, selection: Selection, options: StudyOptions) -> dict[str, Any]:
    """What must not change when a study is continued; resources, budget and the number of trials may.

    Args:
        experiment: with the default config; its scored split is the one on which trials are judged.
        levels: the space, and which axes are searched within a trial.
        selection: the ground truth that chooses.
        options: settled; those that are marked `identity` count.
    """
    # a search without outer axes may be continued with more settings; elsewhere another number is another search
    within = "all" if levels.settings and not levels.outer.axes else levels.settings
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
        "sampler_seed": levels.seed,
        "objective": objective_of(experiment, levels),
        "selection": selection,
        "rungs": list(planned_rungs(experiment, levels.space, options)),
        "objectives": list(options.objective.names),
        "inner": within,
        **flat(options, identity=True),
    }


def default_name(said: dict[str, Any]) -> str:
    """Method, data and a hash of an identity: the same command continues the same study."""
    method = str(said["method"][0]).replace(":", ".")
    return f"{method}-{said['data']['kind']}-tune-{fingerprint(said)[:8]}"
