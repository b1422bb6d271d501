"""When trials are compared to be stopped early. Plain arithmetic: no Ray, no Optuna.

asha    at each rung about one trial in `reduction` continues (Li et al., MLSys 2020)
none    every trial continues to its end
"""

from __future__ import annotations

import math

from wsss_platform.config import look_up
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.effects import repeats_training
from wsss_platform.search.space import SearchSpace
from wsss_platform.tune.options import StudyOptions


def planned_rungs(experiment: Experiment, space: SearchSpace, options: StudyOptions) -> tuple[int, ...]:
    """Finished epochs of the last phase after which trials are compared; empty when none is stopped early.

    A rung is a score, so there is none while a trial may have maps of an untrained head (`first_judged`); trials of
    several objectives are never stopped.
    """
    search, several = options.search, len(options.objective.names) > 1
    if search.scheduler == "none" or several or not repeats_training(experiment, space):
        return ()
    if experiment.phases[-1].refines:  # what it refines is not there before its training ends
        return ()
    train = experiment.train_config(experiment.phases[-1])
    first = first_judged(experiment, space)
    found, epoch = [], first_rung(train.epochs, search.reduction)
    while epoch < train.epochs:
        found.append(epoch)
        epoch *= search.reduction
    return tuple(epoch for epoch in found if epoch % train.checkpoint_every == 0 and epoch >= first)


def first_judged(experiment: Experiment, space: SearchSpace) -> int:
    """Finished epochs of the last phase from which trials may be compared: what waits at first (`Phase.begins`) has had
    a whole epoch in each of them."""
    path = experiment.phases[-1].begins
    if not path:
        return 1
    sampled = [value for axis in space.axes if axis.path == path for value in axis.probes()]
    return 1 + math.ceil(max(float(value) for value in (look_up(experiment.config, path), *sampled)))


def first_rung(epochs: int, reduction: int) -> int:
    """Finished epochs at the first rung: a `reduction`**2-th of the epochs, of a short training a `reduction`-th."""
    return epochs // reduction**2 or epochs // reduction or 1
