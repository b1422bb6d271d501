"""What the axes of a search change, by the content keys of stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment, Stage
from wsss_platform.search.space import Axis, SearchSpace

_WHERE = "search space"


def axes_by_stage(experiment: Experiment, space: SearchSpace) -> dict[str, tuple[Axis, ...]]:
    """For each stage of a plan, by its key: the axes that change the key, at one of their probes."""
    changing: dict[str, list[Axis]] = {stage.key: [] for stage in experiment.stages}
    for axis in space.axes:
        kept = set(changing)
        for value in axis.probes():
            other = experiment.with_changes({**space.needs(axis), axis.path: value}, _WHERE)
            kept &= {stage.key for stage in other.stages}
        for key in changing.keys() - kept:
            changing[key].append(axis)
    return {key: tuple(axes) for key, axes in changing.items()}


def shared_stages(experiment: Experiment, space: SearchSpace) -> tuple[Stage, ...]:
    """Stages whose key no axis changes: the same for every trial."""
    changing = axes_by_stage(experiment, space)
    return tuple(stage for stage in experiment.stages if not changing[stage.key])


def repeats_training(experiment: Experiment, space: SearchSpace) -> bool:
    """Whether some axis changes a training."""
    changing = axes_by_stage(experiment, space)
    return any(stage.kind == "train" and changing[stage.key] for stage in experiment.stages)


def changes_masks(experiment: Experiment, space: SearchSpace) -> bool:
    """Whether some axis changes how the last maps become masks, which a sweep of the maps does not see."""
    return any(axis.path.startswith(f"{experiment.phases[-1].masks}.") for axis in space.axes)


def inner_axes(experiment: Experiment, space: SearchSpace) -> tuple[Axis, ...]:
    """The axes that need no more than stored maps.

    No value of such an axis changes a key before the last masks, beside whatever value of the others; so a masks
    section that an earlier phase trains on is not among them, whatever it is called.
    """
    inner = space.axes
    while inner:
        outer = [axis for axis in space.axes if axis not in inner]
        needed = {path for axis in outer for path in space.needs(axis)}
        around = [{}, *({**space.needs(axis), axis.path: value} for axis in outer for value in axis.probes())]
        kept = tuple(
            axis for axis in inner if axis.path not in needed and _changes_masks_alone(axis, experiment, space, around)
        )
        if kept == inner:
            break
        inner = kept
    return inner


def _changes_masks_alone(axis: Axis, experiment: Experiment, space: SearchSpace, around: list[dict[str, Any]]) -> bool:
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
        *before, masks, _ = experiment.with_changes(changes, _WHERE).stages
    except InputError:  # axes that are legal one by one
        return None
    return frozenset(stage.key for stage in before), masks.key
