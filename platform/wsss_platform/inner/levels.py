"""Which axes of a search are trials, and which are searched within each trial on its stored maps: content keys tell.

An axis is inner when no value of it changes a key before the masks, beside whatever value of the others; so a masks
section that an earlier phase trains on stays outer, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.space import Axis, SearchSpace

SETTINGS = 16
"""Inner settings of a trial, unless another number is asked for. [ours]"""


@dataclass(frozen=True)
class Levels:
    """A search space on two levels."""

    space: SearchSpace
    """All axes."""
    outer: SearchSpace
    """Those that trials sample; may be without any axis."""
    inner: tuple[Axis, ...]
    """Those that are searched within each trial, in the order of the file."""
    settings: int
    """Inner settings of each trial, "as configured" included; 0 where nothing is inner."""
    seed: int = 0
    """Of the draw of settings."""


def split(experiment: Experiment, space: SearchSpace, settings: int, seed: int = 0) -> Levels:
    """Tell inner axes from outer ones.

    Args:
        experiment: with the default config.
        space: what is searched.
        settings: wanted per trial; 0 leaves every axis to the trials.
        seed: of the draw of settings.
    """
    inner = list(space.axes) if settings else []
    while inner:
        outer = [axis for axis in space.axes if axis not in inner]
        needed = {path for axis in outer for path in space.needs(axis)}
        around = [{}, *({**space.needs(axis), axis.path: value} for axis in outer for value in axis.probes())]
        kept = [axis for axis in inner if axis.path not in needed and _only_masks(axis, experiment, space, around)]
        if kept == inner:
            break
        inner = kept
    rest = tuple(axis for axis in space.axes if axis not in inner)
    outer_space = space.model_copy(update={"axes": rest})  # not validated: it may be empty
    return Levels(space, outer_space, tuple(inner), settings if inner else 0, seed)


def _only_masks(axis: Axis, experiment: Experiment, space: SearchSpace, around: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an axis changes the last masks, and nothing before them, beside each of some other changes."""
    reaches = False
    for others in around:
        beside = {**others, **space.needs(axis)}
        plain = _keys(experiment, beside)
        for value in axis.probes():
            keys = _keys(experiment, {**beside, axis.path: value})
            if keys is None or plain is None:
                continue
            if keys[0] != plain[0]:
                return False
            reaches = reaches or keys[1] != plain[1]
    return reaches


def _keys(experiment: Experiment, changes: Mapping[str, Any]) -> tuple[frozenset[str], str] | None:
    """Keys of all that comes before the last masks, and theirs; None where the changes exclude each other."""
    try:
        config = override(experiment.config, changes, "search space")
    except InputError:  # axes that are legal one by one
        return None
    *before, masks, _ = replace(experiment, config=config).stages
    return frozenset(stage.key for stage in before), masks.key
