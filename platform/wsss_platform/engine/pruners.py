"""Optuna's pruners by the scheduler's name: what decides at a rung whether a trial stops early."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner

from wsss_platform.engine.brackets import REDUCTION


def make_pruner(scheduler: str, rungs: Sequence[int], reduction: int = REDUCTION) -> BasePruner | None:
    """The pruner of a study; None when no trial is stopped early.

    Args:
        scheduler: "asha", "hyperband" or "none".
        rungs: finished epochs at which trials are compared, each `reduction` times the one before.
        reduction: of the trials at a rung about one in this many goes on.
    """
    if not rungs or scheduler == "none":
        return None
    if scheduler == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=rungs[0], reduction_factor=reduction)
    # one more bracket than rungs; + 1, as Optuna rounds a logarithm down
    return optuna.pruners.HyperbandPruner(
        min_resource=rungs[0], max_resource=rungs[-1] * reduction + 1, reduction_factor=reduction
    )
