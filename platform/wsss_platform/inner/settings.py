"""The inner settings of a trial: as configured, the published sets that the space names, and seeded draws.

A plain draw and no model: all settings are known before the first is scored, so they share one pass over the pictures,
their lattices and their halving, which a sampler that waits for each result could not. Every trial of a study gets the
same draws, so that a lucky setting is not taken for a better training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wsss_platform.config import MasksConfig, fingerprint, look_up, override
from wsss_platform.crf_search.candidates import CONFIGURED, PER_LATTICE, WIDTHS, drawn
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.inner.levels import Levels
from wsss_platform.masks.rules import alpha_of_threshold
from wsss_platform.space import exists

_GROUPS = 200
"""Groups of draws that are tried before a space counts as exhausted."""
_OF_RULE = {
    "constant": ("background",),
    "power": ("alpha",),
    "two_threshold": ("confident_foreground", "confident_background"),
    "two_alpha": ("low_alpha", "high_alpha"),
    "saliency": ("saliency_floor", "saliency_cut", "conflict_level"),
}


@dataclass(frozen=True)
class Setting:
    """One way to make masks of stored maps."""

    number: int
    """From 0, which is as configured."""
    name: str
    """Such as "as configured", "irn" or "draw 3"."""
    masks: MasksConfig
    """The whole section."""
    changes: Mapping[str, Any]
    """Dotted path -> value: what it has that the trial's config has not."""

    @property
    def swept(self) -> bool:
        """Whether the sweep of the maps solves its background exactly."""
        return is_swept(self.masks)

    @cached_property
    def key(self) -> str:
        """What its masks depend on, 12 hex digits; the background of a swept one is solved and does not count."""
        plain = {name: MasksConfig.model_fields[name].default for name in unused(self.masks)}
        return fingerprint(self.masks.model_copy(update=plain))[:12]

    def solved(self, threshold: float, section: str) -> dict[str, Any] | None:
        """The rule's parameter at the sweep's best threshold, by path; None where no legal one is that threshold.

        Args:
            threshold: 0..1.
            section: dotted path of the masks section.
        """
        if not self.swept or np.isnan(threshold):
            return None
        if self.masks.rule == "constant":
            return {f"{section}.background": threshold}
        if not 0 < threshold < 1 or (alpha := alpha_of_threshold(threshold)) > 128:  # the field's largest
            return None
        return {f"{section}.alpha": alpha}


def is_swept(masks: MasksConfig) -> bool:
    """Whether the sweep of the maps has these masks at every background."""
    return masks.crf == "none" and masks.rule in ("constant", "power")


def unused(masks: MasksConfig) -> set[str]:
    """Fields that do not change the masks: of other rules, of no CRF, and the background where it is solved."""
    rules = (rule for rule in _OF_RULE if rule != masks.rule or is_swept(masks))
    names = {name for rule in rules for name in _OF_RULE[rule]}
    if masks.crf == "none":
        names |= {name for name in MasksConfig.model_fields if name.startswith("crf_")}
    return names


def settings_of(experiment: Experiment, levels: Levels) -> tuple[Setting, ...]:
    """The settings of one trial, "as configured" first; fewer than asked for where the axes have no more.

    Draws of a CRF are made with our lattice (as `tune RUN` does), unless the backend is an axis or was chosen.

    Args:
        experiment: with the trial's own config.
        levels: what is inner, and how many settings.
    """
    section = experiment.phases[-1].masks
    own = experiment.masks_config(experiment.phases[-1])
    found = [Setting(0, CONFIGURED, own, {})]
    seen = {found[0].key}
    for name, proposed in _proposals(experiment, levels, section):
        if len(found) >= levels.settings:
            break
        try:
            masks = look_up(override(experiment.config, proposed, name), section)
        except InputError:  # axes that are legal one by one may exclude each other
            continue
        idle = unused(masks)
        masks = masks.model_copy(update={field: getattr(own, field) for field in idle})
        changes = {path: value for path, value in proposed.items() if path.removeprefix(f"{section}.") not in idle}
        backend = f"{section}.crf_backend"
        if masks.crf != "none" and masks.crf_backend == "pydensecrf" and backend not in changes:
            changes[backend] = "lattice"
            masks = masks.model_copy(update={"crf_backend": "lattice"})
        setting = Setting(len(found), name, masks, changes)
        if setting.key not in seen:
            seen.add(setting.key)
            found.append(setting)
    return tuple(found)


def _proposals(experiment: Experiment, levels: Levels, section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Published CRFs first, then groups of draws with common kernel widths."""
    own = experiment.masks_config(experiment.phases[-1]).crf
    for axis in levels.inner:
        if axis.path == f"{section}.crf" and exists(axis, _beside(experiment, levels, {})):
            published = [choice for choice in axis.probes() if choice not in ("none", own)]
            yield from ((str(choice), {axis.path: choice}) for choice in published)
    generator = np.random.default_rng(levels.seed)
    wide = [axis for axis in levels.inner if axis.path in {f"{section}.{name}" for name in WIDTHS}]
    for group in range(_GROUPS):
        shared = {axis.path: drawn(axis, generator) for axis in wide}
        for number in range(PER_LATTICE):
            free = {axis.path: drawn(axis, generator) for axis in levels.inner if axis not in wide}
            yield f"draw {group * PER_LATTICE + number + 1}", _existing(experiment, levels, {**shared, **free})


def _existing(experiment: Experiment, levels: Levels, draws: Mapping[str, Any]) -> dict[str, Any]:
    """The draws of axes that exist beside the trial's values and each other."""
    values = _beside(experiment, levels, draws)
    return {path: value for path, value in values.items() if path in draws}


def _beside(experiment: Experiment, levels: Levels, draws: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the axes that exist: as drawn, or the trial's own."""
    values: dict[str, Any] = {}
    for axis in levels.space.axes:
        if exists(axis, values):
            values[axis.path] = draws[axis.path] if axis.path in draws else look_up(experiment.config, axis.path)
    return values
