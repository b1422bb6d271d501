"""A study of several objectives in Optuna's pictures: by its accuracy, and the front by itself."""

from __future__ import annotations

import warnings
from typing import Any

import optuna

from wsss_platform.engine.objectives import ACCURACY, MEMORY, SECONDS

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
    """Optuna's plot of the front."""
    from optuna.visualization import matplotlib as plots

    names = [UNITS.get(name, name) for name in study.metric_names or ()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return plots.plot_pareto_front(study, target_names=names)
