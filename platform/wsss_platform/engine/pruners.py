"""Optuna's pruners by the scheduler's name: what decides at a rung whether a trial stops early."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.trial import create_trial

from wsss_platform.engine.brackets import REDUCTION


def make_pruner(
    study: optuna.Study, scheduler: str, rungs: Sequence[int], reduction: int = REDUCTION
) -> BasePruner | None:
    """The pruner of a study; None when no trial is stopped early.

    Args:
        study: whose trials it judges.
        scheduler: "asha", "hyperband" or "none".
        rungs: finished epochs at which trials are compared, each `reduction` times the one before.
        reduction: of the trials at a rung about one in this many goes on.
    """
    if not rungs or scheduler == "none":
        return None
    if scheduler == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=rungs[0], reduction_factor=reduction)
    # one more bracket than rungs; + 1, as Optuna rounds a logarithm down
    pruner = optuna.pruners.HyperbandPruner(
        min_resource=rungs[0], max_resource=rungs[-1] * reduction + 1, reduction_factor=reduction
    )
    # Its brackets are made by the first judgement, and until then samplers see all trials as one bracket. After a
    # restart the next draw would depend on whether a rung came first. A trial without a value is judged for nothing.
    pruner.prune(study, create_trial(state=optuna.trial.TrialState.FAIL))
    return pruner
