"""Which settings a CRF search tries: references that are never dropped, published sets, and seeded draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsss_platform.config import MasksConfig, MethodConfig, fingerprint, look_up, override
from wsss_platform.errors import InputError
from wsss_platform.space import CategoricalAxis, FloatAxis, IntAxis, SearchSpace

CONFIGURED, NO_CRF = "as configured", "no CRF"
"""The references: the run's own settings, and the maps at the best constant background of the pictures searched."""
PER_LATTICE = 8
"""Draws that share their kernel widths, so that the lattices of a picture are built once for all of them."""
WIDTHS = ("crf_gaussian_position", "crf_bilateral_position", "crf_bilateral_colour")
_ATTEMPTS = 200


@dataclass(frozen=True)
class Candidate:
    """One setting."""

    name: str
    """Such as "no CRF", "irn" or "draw 12"."""
    masks: MasksConfig
    """The whole section."""
    changes: dict[str, Any]
    """Dotted path -> value: what it has that the run's config has not."""
    reference: bool = False
    """Kept in every rung, however it does."""

    @property
    def key(self) -> str:
        """Content of the section, 12 hex digits: kept results are found by it."""
        return fingerprint(self.masks)[:12]


def check_axes(space: SearchSpace, section: str) -> None:
    """InputError naming an axis that is not in the section that makes the masks, or that belongs to saliency."""
    for axis in space.axes:
        if not axis.path.startswith(f"{section}."):
            raise InputError(f"axis {axis.path!r}: a search on stored maps can only change {section}.*")


def draw(space: SearchSpace, config: MethodConfig, section: str, count: int, seed: int) -> list[Candidate]:
    """The run's own settings, the published sets that the space names, and draws up to `count` in all.

    "no CRF" is added by the search, which solves its background. The same arguments give the same candidates; a larger
    count only adds some.

    Raises:
        InputError: an axis outside of `section`, rule "saliency", or no candidate that has a CRF.
    """
    check_axes(space, section)
    own = look_up(config, section)
    assert isinstance(own, MasksConfig)
    if own.rule == "saliency":
        raise InputError(f"{section}.rule 'saliency' takes no CRF; a search needs another rule")
    found = [Candidate(CONFIGURED, own, {}, reference=True)]
    seen = {found[0].key}
    for name, changes in _proposals(space, section, seed):
        if len(found) >= count:
            break
        try:
            masks = look_up(override(config, changes, name), section)
        except InputError:  # axes that are legal one by one may exclude each other
            continue
        candidate = Candidate(name, masks, changes)
        if masks.crf == "none" or candidate.key in seen:
            continue
        seen.add(candidate.key)
        found.append(candidate)
    if all(candidate.masks.crf == "none" for candidate in found):
        raise InputError(f"no candidate has a CRF: add an axis {section}.crf to the space, or --set {section}.crf=irn")
    return found


def _proposals(space: SearchSpace, section: str, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Published sets first, then groups of draws with common widths; ends when nothing new comes."""
    for axis in space.axes:
        if axis.path == f"{section}.crf":
            yield from ((str(choice), {axis.path: choice}) for choice in axis.probes() if choice != "none")
    generator = np.random.default_rng(seed)
    wide = {f"{section}.{name}" for name in WIDTHS}
    for group in range(_ATTEMPTS):
        shared = {axis.path: drawn(axis, generator, ("none",)) for axis in space.axes if axis.path in wide}
        for number in range(PER_LATTICE):
            free = {axis.path: drawn(axis, generator, ("none",)) for axis in space.axes if axis.path not in wide}
            yield f"draw {group * PER_LATTICE + number + 1}", {**shared, **free}


def drawn(
    axis: FloatAxis | IntAxis | CategoricalAxis, generator: np.random.Generator, without: tuple[Any, ...] = ()
) -> Any:
    """A value of the axis, floats to four digits; never one of the choices `without`."""
    if isinstance(axis, CategoricalAxis):
        choices = [choice for choice in axis.choices if choice not in without]
        return choices[int(generator.integers(len(choices)))]
    share = float(generator.random())
    if axis.log:
        value = float(np.exp(np.log(axis.low) + share * (np.log(axis.high) - np.log(axis.low))))
    else:
        value = axis.low + share * (axis.high - axis.low)
    return axis.nearest(float(f"{value:.4g}"))
