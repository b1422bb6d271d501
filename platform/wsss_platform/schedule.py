"""A training whose settings change on its way: segments, each resumed from the checkpoint of the one before.

    config.schedule  ─►  train:x@2 ─► train:x@4 ─► train:x ─► maps:x ─► masks:x ─► score

A segment's key holds the sections as they are in force in it and the key of the segment before, so two schedules that
begin alike share their first segments, whatever led to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss_platform.config import MethodConfig, TrainConfig, look_up, override
from wsss_platform.errors import InputError
from wsss_platform.method import Phase

LIVE = ("learning_rate", "new_layer_factor", "momentum", "weight_decay", "power", "jitter", "flip")
"""Fields of a TrainConfig that the loop, the optimiser or the views read at each step. The others set the length, the
sizes, or what the optimiser's state holds."""


@dataclass(frozen=True)
class Segment:
    """Some epochs of a training."""

    first: int
    """Finished epochs at which it begins."""
    until: int
    """Finished epochs at which it ends."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Dotted path -> value in force."""
    is_last: bool = True
    """Whether the schedule ends with it."""


def segments(config: MethodConfig, phase: Phase) -> tuple[Segment, ...]:
    """The segments of a phase's training; empty when nothing changes in it.

    Raises:
        InputError: segments that are not in order or end after the training, a path that must not change in the middle
            of a training, or weights that are taken from a file.
    """
    if not config.schedule:
        return ()
    if config.released_file(phase.name) is not None:
        raise InputError(f"schedule: the weights of phase {phase.name!r} are taken from a file; nothing is trained")
    train = look_up(config, phase.train)
    assert isinstance(train, TrainConfig)
    found: list[Segment] = []
    first = 0
    for place, item in enumerate(config.schedule):
        where = f"schedule[{place}]"
        if not first < item.until <= train.epochs:
            raise InputError(
                f"{where}.until: expected more than {first}, where the segment before ends, and at most "
                f"{phase.train}.epochs = {train.epochs}, got {item.until}"
            )
        for path in item.values:
            look_up(config, path)
            reason = fixed_because(phase, path)
            if reason is not None:
                raise InputError(f"{where}.values: {path} must stay as it is during a training: {reason}")
        found.append(Segment(first, item.until, item.values, place + 1 == len(config.schedule)))
        first = item.until
    return tuple(found)


def in_force(config: MethodConfig, segment: Segment | None) -> MethodConfig:
    """The config as a segment sees it; as it is for None."""
    if segment is None:
        return config
    return override(config, {**segment.values, "schedule": None}, f"schedule until epoch {segment.until}")


def check_search(config: MethodConfig, paths: Iterable[str], *, population: bool) -> None:
    """A config that a population left can be searched around, but not along what its schedule sets.

    Args:
        config: the search's base.
        paths: of all axes.
        population: whether the search is one itself.

    Raises:
        InputError: the base has a schedule, and the search would set the same values, or a schedule of its own.
    """
    held = sorted({path for item in config.schedule or () for path in item.values}.intersection(paths))
    if held or (config.schedule and population):
        which = f"{', '.join(held)} in the middle of the training" if held else "its own schedule"
        raise InputError(
            f"schedule: the config that the search starts from sets {which}; delete [[schedule]] from it, or leave the "
            "axes out of the search space"
        )


def fixed_because(phase: Phase, path: str) -> str | None:
    """Why a field must not change in the middle of a phase's training, told from its path alone; None if it may."""
    section, _, name = path.rpartition(".")
    if section == phase.loss:
        return None
    if section == phase.train:
        return None if name in LIVE else "it sets the length, the sizes or the state of the whole training"
    if not any(path.startswith(f"{item}.") for item in phase.sections):
        return f"the training of phase {phase.name!r} does not read it"
    if path.startswith("backbone."):
        return "it shapes the network"
    return None
