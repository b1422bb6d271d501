"""When trials are compared to be stopped early, and HyperBand's brackets. Plain arithmetic: no Ray, no Optuna.

    asha         one bracket: at each rung about one trial in `reduction` goes on (Li et al., MLSys 2020)
    hyperband    several brackets, which differ in the rung at which they begin to stop trials; trials of the last are
                 never stopped (Li et al., JMLR 2018). It hedges against scores of early epochs that mislead

Which bracket a trial is in follows from its study's name and its number, as in Optuna's `HyperbandPruner`, so it is
known before the study starts, and a restart changes nothing.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Sequence

from wsss_platform.config import look_up
from wsss_platform.errors import InputError, unknown
from wsss_platform.experiment import Experiment
from wsss_platform.search.effects import repeats_training
from wsss_platform.search.space import SearchSpace

REDUCTION = 3
"""Of the trials at a rung about one in this many goes on; rungs are this factor apart. [stated: both papers' eta]"""
MOST_RUNGS = 3
"""Of HyperBand, and one bracket more: each rung is a score, and a look at pixel truth. [ours]"""
SCHEDULERS = ("asha", "hyperband", "pbt", "none")


def check_scheduler(name: str, objectives: Sequence[str] = ("accuracy",)) -> str:
    """The scheduler's name, if the study can have it.

    Raises:
        InputError: there is none of this name, or HyperBand with several objectives.
    """
    if name not in SCHEDULERS:
        raise unknown("scheduler (--scheduler)", name, SCHEDULERS)
    if name in ("hyperband", "pbt") and len(objectives) > 1:
        raise InputError(
            f"scheduler (--scheduler) {name!r}: trials of several objectives ({', '.join(objectives)}) cannot be "
            "stopped early, as none of them is behind before its cost is known; expected none (asha is taken as none)"
        )
    return name


def planned_rungs(
    experiment: Experiment,
    space: SearchSpace,
    scheduler: str,
    selection: str,
    objectives: Sequence[str] = ("accuracy",),
    reduction: int = REDUCTION,
) -> tuple[int, ...]:
    """Finished epochs of the last phase after which trials are compared; empty when none is stopped early.

    A rung is a score, so there is none where no truth may be seen, nor while a trial may have maps of an untrained
    head (`first_judged`); trials of several objectives are never stopped.
    """
    if selection == "none" or len(objectives) > 1 or not repeats_training(experiment, space):
        return ()
    if experiment.phases[-1].refines:  # what it refines is not there before its training ends
        return ()
    train = experiment.train_config(experiment.phases[-1])
    first = first_judged(experiment, space)
    if scheduler == "hyperband":
        rungs = hyperband_rungs(train.epochs, reduction, train.checkpoint_every)
        return tuple(epoch for epoch in rungs if epoch >= first)
    if scheduler != "asha":
        return ()
    found, epoch = [], first_rung(train.epochs, reduction)
    while epoch < train.epochs:
        found.append(epoch)
        epoch *= reduction
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
    """Finished epochs at the first of (at most) two rungs of ASHA."""
    return max(1, epochs // reduction**2)


def hyperband_rungs(epochs: int, reduction: int = REDUCTION, checkpoint_every: int = 1) -> tuple[int, ...]:
    """Finished epochs at HyperBand's rungs: as many, three at most, as fit between the first checkpoint and the end.

    Such as (2, 6) of 20 epochs: the first bracket begins at 2, the second at 6, the third stops nobody.
    """
    count = 0
    while count < MOST_RUNGS and reduction ** (count + 1) * checkpoint_every <= epochs:
        count += 1
    first = epochs // reduction**count // checkpoint_every * checkpoint_every
    return tuple(first * reduction**place for place in range(count))


def bracket_shares(brackets: int, reduction: int = REDUCTION) -> tuple[int, ...]:
    """How the trials are shared out, as whole numbers: [brackets]. Optuna's rule, after the paper's sizes."""
    return tuple(
        math.ceil(brackets * reduction ** (brackets - 1 - place) / (brackets - place)) for place in range(brackets)
    )


def bracket_of(study: str, number: int, brackets: int, reduction: int = REDUCTION) -> int:
    """A trial's bracket, 0 .. brackets - 1. Optuna's rule.

    Args:
        study: name of the study.
        number: of the trial.
        brackets: how many there are.
        reduction: see `REDUCTION`.
    """
    shares = bracket_shares(brackets, reduction)
    left = binascii.crc32(f"{study}_{number}".encode()) % sum(shares)
    for place, share in enumerate(shares):
        left -= share
        if left < 0:
            return place
    raise AssertionError("the remainder is smaller than the sum of the shares")


def own_rungs(rungs: tuple[int, ...], study: str, number: int, reduction: int = REDUCTION) -> tuple[int, ...]:
    """The rungs at which HyperBand looks at one trial: those from its bracket's first on."""
    return rungs[bracket_of(study, number, len(rungs) + 1, reduction) :]
