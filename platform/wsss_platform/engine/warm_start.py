"""What an earlier study found out, told to a new one: its complete trials as points that need not be run.

Only numbers of the same kind are told: same method, data, truth, selection and objective. An axis that the earlier
study did not have stands at that study's default; a trial outside the new axes is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from wsss_platform.config import MethodConfig, flatten
from wsss_platform.engine.searcher import distribution
from wsss_platform.engine.study import FROM, read_json
from wsss_platform.errors import InputError
from wsss_platform.search.space import CategoricalAxis, SearchSpace, choice_label

COMPARABLE = ("method", "data", "truth", "objective", "selection", "seeds", "objectives", "inner")
"""Parts of a study's identity that must be equal, or its numbers mean something else."""


@dataclass(frozen=True)
class Told:
    """What one earlier study has to tell."""

    trials: tuple[FrozenTrial, ...]
    left_out: int
    """Complete trials that lie outside the new axes."""


def told_by(
    earlier: optuna.Study, folder: Path, identity: Mapping[str, Any], space: SearchSpace, config: MethodConfig
) -> Told:
    """The complete trials of an earlier study as trials of a new one.

    Args:
        earlier: the study.
        folder: its folder, with its study.json.
        identity: of the new study (`StudyRequest.identity`).
        space: of the new study.
        config: the new study's default config.

    Raises:
        InputError: the earlier study's numbers mean something else; says what differs.
    """
    found = read_json(folder / "study.json")
    for name in COMPARABLE:
        if found.get(name) != identity.get(name):
            raise InputError(
                f"--warm-start {folder.name}: its {name} is {found.get(name)!r}, here it is {identity.get(name)!r}; "
                "its numbers cannot be compared with those of this study"
            )
    base, mine = flatten(found["config"]), flatten(config.model_dump(mode="json"))
    axes = {axis.path for axis in space.axes}
    trials, left_out = [], 0
    for trial in earlier.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if FROM in trial.user_attrs:
            continue
        changes = trial.user_attrs.get("sampled", trial.user_attrs.get("changes", {}))  # without its inner setting
        values = {**base, **changes}
        stray = [path for path, value in mine.items() if path not in axes and values.get(path) != value]
        params = None if stray else _params(space, values)
        if params is None:
            left_out += 1
            continue
        notes = {FROM: f"{folder.name} trial {trial.number}", "changes": {path: values[path] for path in params}}
        kinds = {axis.path: distribution(axis) for axis in space.axes if axis.path in params}
        trials.append(create_trial(params=params, distributions=kinds, values=trial.values, user_attrs=notes))
    return Told(tuple(trials), left_out)


def untold(names: Sequence[str], known: Iterable[FrozenTrial]) -> list[str]:
    """Those of some earlier studies that told none of a study's trials."""
    told = {str(trial.user_attrs[FROM]).rpartition(" trial ")[0] for trial in known if FROM in trial.user_attrs}
    return [name for name in names if name not in told]


def _params(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """A config's values as a point of the space; None when one lies outside its axis."""
    params: dict[str, Any] = {}
    for axis in space.axes:
        if not axis.exists({path: values[path] for path in params}):
            continue
        value = values.get(axis.path)
        if isinstance(axis, CategoricalAxis):
            plain = tuple(value) if isinstance(value, list) else value
            if not any(axis.same(choice, plain) for choice in axis.choices):
                return None
            params[axis.path] = choice_label(plain) if plain is not None else None
        elif isinstance(value, int | float) and axis.low <= value <= axis.high and axis.nearest(value) == value:
            params[axis.path] = value
        else:
            return None
    return params
