"""What a study can be asked for at once.

    accuracy    what a study of one objective maximises (`StudyRequest.objective`), 0..1, larger is better
    seconds     what the trial costs as if nothing had been in the store (`trial_costs`), smaller is better
    memory      peak memory of a training process in GiB (`train.peak_memory`), smaller is better

Accuracy comes first and is always there: best config, leaderboard, report and retention go by it.
"""

from __future__ import annotations

from collections.abc import Collection

from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.effects import repeats_training
from wsss_platform.search.space import SearchSpace

ACCURACY, SECONDS, MEMORY = "accuracy", "seconds", "memory"
DIRECTIONS = {ACCURACY: "maximize", SECONDS: "minimize", MEMORY: "minimize"}
"""Objective -> Optuna's word for what is better. The order is that of a trial's values."""
REPORTED = {ACCURACY: "objective", SECONDS: "cost_seconds", MEMORY: "cost_memory"}
"""Objective -> its name in a trial's last report."""
SINGLE = (ACCURACY,)


def read_objectives(text: str) -> tuple[str, ...]:
    """Names separated by commas, in the order of `DIRECTIONS`.

    Raises:
        InputError: an unknown name, one twice, or none that is accuracy.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in DIRECTIONS:
            raise unknown("objective (--objectives)", name, DIRECTIONS, "--objectives")
    if len(set(names)) != len(names):
        raise InputError(f"objectives (--objectives): {','.join(names)} names one twice")
    if ACCURACY not in names:
        raise InputError(
            f"objectives (--objectives): {','.join(names)} lacks {ACCURACY}, by which the best config is chosen; "
            f"expected for instance {ACCURACY},{SECONDS}"
        )
    return tuple(name for name in DIRECTIONS if name in names)


def check_measured(objectives: Collection[str], experiment: Experiment, space: SearchSpace) -> None:
    """InputError when an objective is the same for every trial of a space."""
    if MEMORY in objectives and not repeats_training(experiment, space):
        raise InputError(
            f"objectives (--objectives): {MEMORY} is measured in trainings, and no axis of this space changes one; "
            f"that of map extraction and post-processing is not measured. Expected {ACCURACY},{SECONDS}"
        )
