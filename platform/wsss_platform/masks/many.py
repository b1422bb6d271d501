"""Many settings of rule and CRF on one image: what they share is computed once.

Settings of equal kernel widths share the image's lattices; those of equal starts and weights share one inference,
whatever their iterations; all others are filtered side by side (see `lattice`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import AnyMap, full_size
from wsss_platform.masks.crf.dense_crf import LATTICE_LABELS, energies, kernels, parameters_of
from wsss_platform.masks.crf.lattice import Run
from wsss_platform.masks.make import make_mask, starts
from wsss_platform.masks.rules import labels, merged, named, passes


def make_masks(
    stored: AnyMap,
    image: NDArray[np.uint8] | None,
    settings: Sequence[MasksConfig],
    saliency: NDArray[np.uint8] | None = None,
) -> list[NDArray[np.uint8]]:
    """The mask of each setting, bit for bit as `make_mask` makes it: uint8 [H, W] each.

    Args:
        stored: the image's maps.
        image: RGB uint8 [H, W, 3]; needed where a setting has a CRF, checked whenever given.
        settings: masks sections. Those without CRF and those of our lattice share what they can.
        saliency: uint8 [H, W]; needed where a setting's rule is "saliency".

    Raises:
        InputError: the map does not fit the image or its saliency; names it.
    """
    if image is not None and image.shape != (stored.height, stored.width, 3):
        raise InputError(
            f"image {stored.id}: its map is for {stored.height}x{stored.width} pixels, the image has shape "
            f"{image.shape}",
            field=stored.id,
        )
    lattice = ("lattice", "auto") if len(stored.classes) < LATTICE_LABELS else ("lattice",)
    scores = full_size(stored)
    masks: dict[int, NDArray[np.uint8]] = {}
    together: dict[tuple[float, ...], list[int]] = {}
    for place, config in enumerate(settings):
        if config.rule == "saliency" or (config.crf != "none" and config.crf_backend not in lattice):
            masks[place] = make_mask(stored, image if config.crf != "none" else None, config, saliency)
        elif config.crf == "none" or len(stored.classes) == 0:
            masks[place] = labels(scores, stored.classes, config)
        else:
            together.setdefault(widths(config), []).append(place)
    for places in together.values():
        assert image is not None
        refined = _refined(scores, image, [settings[place] for place in places])
        for place, local in zip(places, refined, strict=True):
            masks[place] = merged([named(item, stored.classes) for item in local], settings[place])
    return [masks[place] for place in range(len(settings))]


def widths(config: MasksConfig) -> tuple[float, ...]:
    """What an image's lattices depend on; nothing without a CRF."""
    if config.crf == "none":
        return ()
    parameters = parameters_of(config)
    return parameters.gaussian_position, parameters.bilateral_position, parameters.bilateral_colour


def _refined(
    scores: NDArray[np.float32], image: NDArray[np.uint8], settings: Sequence[MasksConfig]
) -> list[list[NDArray[np.uint8]]]:
    """Per setting the local labels of each pass; all settings have the same widths."""
    begins: dict[tuple[object, ...], list[NDArray[np.float32]]] = {}
    wanted: dict[tuple[object, ...], set[int]] = {}
    for config in settings:
        parameters = parameters_of(config)
        if _start(config) not in begins:
            begins[_start(config)] = [
                energies(start, len(scores) + 1, parameters.unary) for start in starts(scores, config, parameters.unary)
            ]
        wanted.setdefault(_inference(config), set()).add(config.crf_iterations)
    runs: list[Run] = []
    first: dict[tuple[object, ...], int] = {}
    for inference, iterations in wanted.items():
        begin, gaussian, bilateral = inference
        assert isinstance(begin, tuple)
        assert isinstance(gaussian, float)
        assert isinstance(bilateral, float)
        first[inference] = len(runs)
        runs += [Run(unary, gaussian, bilateral, tuple(sorted(iterations))) for unary in begins[begin]]
    found = kernels(image, parameters_of(settings[0])).labels(runs)
    result = []
    for config in settings:
        at = first[_inference(config)]
        own = zip(runs[at : at + len(passes(config))], found[at:], strict=False)
        result.append([labels[run.iterations.index(config.crf_iterations)] for run, labels in own])
    return result


def _start(config: MasksConfig) -> tuple[object, ...]:
    """What the energies depend on."""
    rules = [("constant", p.background) if p.rule == "constant" else (p.rule, p.alpha) for p in passes(config)]
    return (parameters_of(config).unary, *rules)


def _inference(config: MasksConfig) -> tuple[object, ...]:
    """What the beliefs depend on, but the iterations."""
    parameters = parameters_of(config)
    return _start(config), float(parameters.gaussian_weight), float(parameters.bilateral_weight)
