"""What a study can be asked for at once, and the trials that no other one beats: the Pareto front.

    accuracy    what a study of one objective maximises (`StudyRequest.objective`), 0..1, larger is better
    seconds     what the trial costs as if nothing had been in the store (`trial_costs`), smaller is better
    memory      peak memory of a training process in GiB (`train.peak_memory`), smaller is better

Accuracy comes first and is always there: best config, leaderboard, report and retention go by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from wsss_platform.errors import InputError, unknown
from wsss_platform.experiment import Experiment
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
    return check_objectives([name.strip() for name in text.split(",")])


def check_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """The same for names that are apart already."""
    for name in names:
        if name not in DIRECTIONS:
            raise unknown("objective (--objectives)", name, DIRECTIONS)
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


def front(values: Mapping[int, Sequence[float]], names: Sequence[str]) -> frozenset[int]:
    """The trials that no other trial beats: none is at least as good in everything and better in something.

    Args:
        values: trial's number -> its values in the order of `names`.
        names: of the objectives.
    """
    signs = [1.0 if DIRECTIONS[name] == "maximize" else -1.0 for name in names]
    points = {
        number: tuple(sign * value for sign, value in zip(signs, mine, strict=True)) for number, mine in values.items()
    }

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(other != mine and all(a >= b for a, b in zip(other, mine, strict=True)) for other in points.values())

    return frozenset(number for number, mine in points.items() if not beaten(mine))
