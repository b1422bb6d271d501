"""Which axes of a search are sampled by trials, and which are searched within each on stored maps (`inner_axes`)."""

from __future__ import annotations

from dataclasses import dataclass

from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.effects import inner_axes
from wsss_platform.search.space import Axis, SearchSpace

SETTINGS = 16
"""Inner settings of a trial, unless another number is asked for. [ours]"""
DRAWN = 64
"""Settings of a search that needs only stored maps, unless another number is asked for. [ours]"""


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
    """Separate inner axes from outer ones.

    Args:
        experiment: with the default config.
        space: what is searched.
        settings: wanted per trial; 0 leaves every axis to the trials.
        seed: of the draw of settings.
    """
    inner = inner_axes(experiment, space) if settings else ()
    rest = tuple(axis for axis in space.axes if axis not in inner)
    outer = space.model_copy(update={"axes": rest})  # not validated: it may be empty
    return Levels(space, outer, inner, settings if inner else 0, seed)
