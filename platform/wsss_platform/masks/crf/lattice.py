"""Mean-field inference of the dense CRF on permutohedral lattices that many runs share: our own backend.

The filters and the update are pydensecrf's (symmetric normalisation, Potts compatibility), in float32, so labels agree
but for rounding. Three things make it quicker, none an approximation:

- beliefs sum to one, so one label, the background, is not filtered: its message is the filtered one minus the others;
- everything that shares an image's lattices (the two passes of IRN, every weight of a search) is filtered together, as
  channels side by side, so that an index is read once for all of them;
- a pixel's slice, softmax and next splat are one step: beliefs never leave the first cache.

The compiled code holds no GIL: images run in threads. Same inputs, same bits, on any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss_platform.masks.crf.mean_field import LANES, filtered, mean_field
from wsss_platform.masks.crf.permutohedral import Lattice, bilateral, spatial

CHANNELS = 16
"""Most channels filtered at once; more would leave the cache."""


class Run(NamedTuple):
    """One inference on an image."""

    energies: NDArray[np.float32]
    """float32 [L, N]: negative log probabilities of N pixels (pydensecrf's unary)."""
    gaussian_weight: float
    bilateral_weight: float
    iterations: tuple[int, ...]
    """After how many mean-field steps the labels are wanted; several cost no more than the last."""


class Kernel(NamedTuple):
    """A lattice with its symmetric normalisation."""

    lattice: Lattice
    """Its weights hold the pixel's factor."""
    total: NDArray[np.float32]
    """float32 [N]: the filtered constant one; what the messages of all labels add up to."""


class Channels(NamedTuple):
    """What several runs on an image filter together: one channel for each of their labels but the background."""

    bias: NDArray[np.float32]
    """float32 [N x C]: how much more a label is favoured than the background; C is padded to a multiple of LANES."""
    strong: NDArray[np.float32]
    """float32 [C]: weight of the bilateral messages."""
    weak: NDArray[np.float32]
    """float32 [C]: weight of the Gaussian ones."""
    first: NDArray[np.uint64]
    """uint64 [runs + 1]: where each run's channels begin."""
    wanted: NDArray[np.int64]
    """int64 [S, 2]: run and step of each wanted row of labels."""


@dataclass(frozen=True)
class Kernels:
    """Both kernels of one image, built when first used; for any number of runs."""

    image: NDArray[np.uint8]
    """RGB uint8 [H, W, 3]."""
    gaussian_position: float
    """Width in pixels."""
    bilateral_position: float
    """Width in pixels."""
    bilateral_colour: float
    """Width in levels of 255."""

    @cached_property
    def gaussian(self) -> Kernel:
        """Positions only."""
        height, width = self.image.shape[:2]
        return normalised(spatial(height, width, self.gaussian_position))

    @cached_property
    def bilateral(self) -> Kernel:
        """Positions and colours."""
        return normalised(bilateral(self.image, self.bilateral_position, self.bilateral_colour))

    def labels(self, runs: Sequence[Run]) -> list[list[NDArray[np.uint8]]]:
        """For each run, and each of its `iterations`, the best label uint8 [H, W]; the first of equals."""
        found: list[list[NDArray[np.uint8]]] = []
        for group in _groups(runs):
            labels, _ = _infer(self.bilateral, self.gaussian, group, keep=False)
            rows = iter(labels.reshape(-1, *self.image.shape[:2]))
            found += [[next(rows) for _ in run.iterations] for run in group]
        return found

    def beliefs(self, run: Run) -> NDArray[np.float32]:
        """After the last of its iterations: float32 [L, H, W], sum 1 over the labels."""
        _, kept = _infer(self.bilateral, self.gaussian, [run], keep=True)
        background = 1 - kept.sum(0, keepdims=True)
        return np.concatenate([background, kept]).reshape(-1, *self.image.shape[:2])


def normalised(lattice: Lattice) -> Kernel:
    """Fold 1 / sqrt(filtered one) and the blur's gain into both sides of the filter, as pydensecrf normalises."""
    gain = np.float32(1 / (1 + 2.0 ** (1 - len(lattice.starts))))
    ones = np.ones(len(lattice.points), np.float32)
    factor = np.sqrt(gain) / np.sqrt(gain * filtered(*lattice, ones) + np.float32(1e-20))
    weights = lattice.weights * factor[:, None]
    scaled = lattice._replace(weights=weights)
    return Kernel(scaled, filtered(*scaled, ones))


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Neighbouring runs that are filtered together."""
    groups: list[list[Run]] = []
    width = CHANNELS
    for run in runs:
        channels = len(run.energies) - 1
        if width + channels > CHANNELS:
            groups.append([])
            width = 0
        groups[-1].append(run)
        width += channels
    return groups


def _infer(
    wide: Kernel, narrow: Kernel, runs: Sequence[Run], *, keep: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels uint8 [S, N] of all wanted iterations in order; beliefs float32 [L - 1, N] of a single run, if kept."""
    pixels = len(wide.total)
    channels = _channels(runs, pixels)
    labels = np.empty((len(channels.wanted), pixels), np.uint8)
    kept = np.empty((int(channels.first[-1]), pixels if keep else 0), np.float32)
    mean_field(wide, narrow, channels, labels, kept)
    return labels, kept


def _channels(runs: Sequence[Run], pixels: int) -> Channels:
    first = np.cumsum([0, *(len(run.energies) - 1 for run in runs)])
    width = -(-int(first[-1]) // LANES) * LANES
    bias = np.zeros((pixels, width), np.float32)
    strong, weak = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for run, begin, end in zip(runs, first[:-1], first[1:], strict=True):
        np.subtract(run.energies[0], run.energies[1:], out=bias[:, begin:end].T)
        strong[begin:end], weak[begin:end] = run.bilateral_weight, run.gaussian_weight
    wanted = [(number, step) for number, run in enumerate(runs) for step in run.iterations]
    return Channels(bias.ravel(), strong, weak, first.astype(np.uint64), np.array(wanted))
