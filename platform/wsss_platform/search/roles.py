"""Which of the searched numbers are thresholds, loss weights and sampling ratios, and whether a space has each.

A method's own space has an axis of each role, or says under `[without]` why it has none. A weight's path says it,
that of a threshold where it belongs to maps or masks; any other axis says `role = "..."` in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from wsss_platform.method import Phase
from wsss_platform.search.space import ROLES, Axis, Role, SearchSpace

THRESHOLDS = (
    *("rule", "background", "alpha", "confident_foreground", "confident_background", "low_alpha", "high_alpha"),
    *("saliency_floor", "saliency_cut", "conflict_level"),
    *("gate", "gate_threshold"),
)
"""Fields of a masks or maps section that decide from which score on something counts."""

_HOW: Mapping[Role, str] = {
    "threshold": 'such as masks.rule, or another one that says role = "threshold"',
    "loss_weight": "a field of a phase's loss section",
    "sampling_ratio": 'one that says role = "sampling_ratio"',
}


def role_of(axis: Axis, phases: Sequence[Phase]) -> Role | None:
    """A weight of a phase's loss section, a threshold of its maps or masks, or what the axis itself says."""
    return _told_by_path(axis.path, phases) or axis.role


def _told_by_path(path: str, phases: Sequence[Phase]) -> Role | None:
    section, _, field = path.rpartition(".")
    if any(section == phase.loss for phase in phases):
        return "loss_weight"
    if field in THRESHOLDS and any(section in (phase.maps, phase.masks) for phase in phases):
        return "threshold"
    return None


def role_faults(space: SearchSpace, phases: Sequence[Phase]) -> Iterator[str]:
    """What is wrong with the roles of a method's own space, each as a sentence; nothing where all is said."""
    for axis in space.axes:
        told = _told_by_path(axis.path, phases)
        if told and axis.role and axis.role != told:
            yield f'[axes."{axis.path}"] says role = "{axis.role}", but its path makes it a {told}'
        if axis.role == "loss_weight" and not told:
            yield f'[axes."{axis.path}"] says role = "loss_weight", but is in no loss section of a phase'
    found = Counter(role_of(axis, phases) for axis in space.axes)
    for role in ROLES:
        if found[role] and role in space.without:
            yield f"[without] gives a reason for no {role}, but {found[role]} axes are one; delete the reason"
        if not found[role] and role not in space.without:
            yield f'no axis is a {role}: add {_HOW[role]}, or say why there is none: [without] {role} = "..."'
