"""The settings that a search tries on stored maps: as configured, the published sets that its space names, and draws.

A plain draw and no model: all settings are known before the first is scored, so they share one pass over the images,
their lattices and their halving, which a sampler that waits for each result could not. Every trial of a study gets the
same draws, so that a lucky setting is not taken for a better training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from wsss_platform.config import MasksConfig, fingerprint, look_up, override
from wsss_platform.errors import InputError
from wsss_platform.masks.rules import alpha_of_threshold
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.levels import Levels

CONFIGURED, NO_CRF = "as configured", "no CRF"
"""The references: the settings that are there already, and the maps at the best constant background."""
PER_LATTICE = 8
"""Draws that share their kernel widths, so that the lattices of an image are built once for all of them."""
WIDTHS = ("crf_gaussian_position", "crf_bilateral_position", "crf_bilateral_colour")
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

    name: str
    """Such as "as configured", "no CRF", "irn" or "draw 3"."""
    masks: MasksConfig
    """The whole section."""
    changes: Mapping[str, Any]
    """Dotted path -> value: what it has that the config has not."""
    reference: bool = False
    """Kept in every rung, however it does."""
    swept: bool = False
    """Chosen by its best background, which the sweep of the maps solves exactly."""

    @cached_property
    def key(self) -> str:
        """Content of the section, 12 hex digits: counts on disk are found by it."""
        return fingerprint(self.masks)[:12]

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


def settings_of(experiment: Experiment, levels: Levels, *, refined: bool = False) -> tuple[Setting, ...]:
    """The settings of a search, "as configured" first; fewer than asked for where the axes have no more.

    Settings that make equal masks are one, and a setting changes nothing that it does not use. The CRF of a draw is
    computed by our lattice, unless the backend is an axis or was chosen. A larger number of settings only adds some.

    Args:
        experiment: with the config of the maps.
        levels: what is searched, and how many settings.
        refined: every draw has a CRF, and no background is solved: "as configured" is taken as it is (a CRF by our
            lattice), and the search adds `NO_CRF`. Else what has no CRF is chosen by the sweep, where that solves it.

    Raises:
        InputError: `refined`, and no setting has a CRF; or a setting that changes the maps.
    """
    section, maps = experiment.phases[-1].masks, experiment.stage("maps").key
    own = experiment.masks_config(experiment.phases[-1])
    if refined and own.rule == "saliency":
        raise InputError(
            f"{section}.rule 'saliency' takes no CRF; a search needs another rule", field=f"{section}.rule"
        )
    first = Setting(CONFIGURED, own, {}, reference=True, swept=not refined and is_swept(own))
    found = [_by_lattice(first, section) if refined else first]
    seen = {found[0].key}
    for name, proposed in _proposals(experiment, levels, section, ("none",) if refined else ()):
        if len(found) >= levels.settings:
            break
        try:
            masks = look_up(override(experiment.config, proposed, name), section)
        except InputError:  # axes that are legal one by one may exclude each other
            continue
        if refined and masks.crf == "none":
            continue
        idle = unused(masks)
        masks = masks.model_copy(update={field: getattr(own, field) for field in idle})
        changes = {path: value for path, value in proposed.items() if path.removeprefix(f"{section}.") not in idle}
        setting = _by_lattice(Setting(name, masks, changes, swept=is_swept(masks)), section)
        if setting.key in seen:
            continue
        if experiment.with_changes(setting.changes, name).stage("maps").key != maps:
            raise InputError(f"inner axes: setting {name!r} changes the maps; use --inner 0")
        seen.add(setting.key)
        found.append(setting)
    if refined and all(setting.masks.crf == "none" for setting in found):
        raise InputError(
            f"no candidate has a CRF: add an axis {section}.crf to the space, or --set {section}.crf=irn",
            field=f"{section}.crf",
        )
    return tuple(found)


def no_crf(own: MasksConfig, section: str, threshold: float) -> Setting:
    """The maps alone at a constant background, as a reference."""
    changes = {"rule": "constant", "background": threshold, "crf": "none"}
    masks = own.model_copy(update=changes)
    return Setting(NO_CRF, masks, {f"{section}.{name}": value for name, value in changes.items()}, reference=True)


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


def _by_lattice(setting: Setting, section: str) -> Setting:
    backend = f"{section}.crf_backend"
    if setting.masks.crf == "none" or setting.masks.crf_backend != "pydensecrf" or backend in setting.changes:
        return setting
    masks = setting.masks.model_copy(update={"crf_backend": "lattice"})
    return replace(setting, masks=masks, changes={**setting.changes, backend: "lattice"})


def _proposals(
    experiment: Experiment, levels: Levels, section: str, without: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Published CRFs first, then groups of draws with common kernel widths; none of the choices `without`."""
    own = experiment.masks_config(experiment.phases[-1]).crf
    for axis in levels.inner:
        if axis.path == f"{section}.crf" and axis.path in _existing(experiment, levels, {axis.path: own}):
            published = [choice for choice in axis.probes() if choice not in ("none", own)]
            yield from ((str(choice), {axis.path: choice}) for choice in published)
    generator = np.random.default_rng(levels.seed)
    wide = [axis for axis in levels.inner if axis.path in {f"{section}.{name}" for name in WIDTHS}]
    for group in range(_GROUPS):
        shared = {axis.path: axis.draw(generator, without) for axis in wide}
        for number in range(PER_LATTICE):
            free = {axis.path: axis.draw(generator, without) for axis in levels.inner if axis not in wide}
            yield f"draw {group * PER_LATTICE + number + 1}", _existing(experiment, levels, {**shared, **free})


def _existing(experiment: Experiment, levels: Levels, draws: Mapping[str, Any]) -> dict[str, Any]:
    """The draws of axes that exist beside the values of the config and each other."""
    config = experiment.config
    values = levels.space.values(lambda axis: draws.get(axis.path, look_up(config, axis.path)))
    return {path: value for path, value in values.items() if path in draws}
