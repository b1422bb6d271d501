"""A study of several objectives in Optuna's pictures: by its accuracy, and the front by itself."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.trial import TrialState

from wsss_platform.engine.objectives import ACCURACY, MEMORY, SECONDS
from wsss_platform.engine.study import FROM

UNITS = {ACCURACY: "accuracy, 0..1", SECONDS: "seconds as if nothing had been stored", MEMORY: "peak memory, GiB"}


def by_accuracy(study: optuna.Study) -> dict[str, Any]:
    """What Optuna's pictures of one number must be told to show a study of several objectives."""
    if len(study.directions) == 1:
        return {}
    return {"target": lambda trial: trial.values[0], "target_name": ACCURACY}


def towards_accuracy(study: optuna.Study) -> dict[str, Any]:
    """The same for importance, which takes what it is given as a cost."""
    if len(study.directions) == 1:
        return {}
    return {"target": lambda trial: -trial.values[0], "target_name": ACCURACY}


def front_axes(study: optuna.Study) -> Any:
    """Optuna's plot of the front, over the complete trials that were run in this study.

    Raises:
        ValueError: there are none.
    """
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    mine = [trial for trial in complete if FROM not in trial.user_attrs]
    if not mine:
        raise ValueError("no trial is complete")
    own = optuna.create_study(directions=study.directions)
    own.add_trials(mine)
    names = [UNITS.get(name, name) for name in study.metric_names or ()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return plots.plot_pareto_front(own, target_names=names)
