"""The compiled part of `lattice`: blur, slice, softmax and splat of many channels, block by block of pixels.

Channels lie side by side: value c of point (or pixel) i is at [i x width + c]. Indices are unsigned, because a signed
one is tested for being negative at each access. No fastmath: the same bits on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LANES = 4
"""Channels come in multiples of it: they are handled as so many scalars at once."""
_0, _1, _2, _3, _4 = (np.uint64(number) for number in range(5))
_BLOCK = 32  # pixels whose beliefs stay in the first cache


@njit(cache=True, nogil=True)
def filtered(points, weights, chains, starts, size, values):  # type: ignore[no-untyped-def] # pragma: no cover
    """Splat, blur and slice of one value per pixel: float32 [N]."""
    lattice = np.zeros(size, np.float32)
    for pixel in range(len(points)):
        for corner in range(points.shape[1]):
            lattice[points[pixel, corner]] += weights[pixel, corner] * values[pixel]
    _blur(lattice, chains, starts, 1)
    result = np.empty(len(points), np.float32)
    for pixel in range(len(points)):
        value = np.float32(0)
        for corner in range(points.shape[1]):
            value += weights[pixel, corner] * lattice[points[pixel, corner]]
        result[pixel] = value
    return result


@njit(cache=True, nogil=True)
def _blur(values, chains, starts, channels):  # type: ignore[no-untyped-def] # pragma: no cover
    """Each point plus half of both neighbours, axis after axis, in place; so many channels per point."""
    half = np.float32(0.5)
    before = np.zeros(channels, np.float32)
    width = np.uint64(channels)
    for along in range(len(starts) - 1):
        for place in range(np.uint64(starts[along]), np.uint64(starts[along + 1])):
            here = np.int64(chains[place])
            if here < 0:  # the last of its run
                at = np.uint64(~here) * width
                for c in range(width):
                    values[at + c] += half * before[c]
                    before[c] = 0
            else:
                following = np.int64(chains[place + _1])
                after = np.uint64(~following if following < 0 else following) * width
                at = np.uint64(here) * width
                for c in range(width):
                    old = values[at + c]
                    values[at + c] = old + half * (before[c] + values[after + c])
                    before[c] = old


_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_POLYNOMIAL = tuple(
    np.float32(c) for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
)
_LOWEST, _HALF, _ONE = np.float32(-87), np.float32(0.5), np.float32(1)


@njit(cache=True, nogil=True)
def _exponentials(values, count):  # type: ignore[no-untyped-def] # pragma: no cover
    """exp of values up to 0, in place, to 2e-7 (Cephes' expf); a loop the compiler turns into vectors."""
    for i in range(np.uint64(count)):
        x = max(values[i], _LOWEST)
        power = np.floor(x * _LOG2E + _HALF)
        x = x - power * _LN2_HIGH - power * _LN2_LOW
        y = _POLYNOMIAL[0]
        y = y * x + _POLYNOMIAL[1]
        y = y * x + _POLYNOMIAL[2]
        y = y * x + _POLYNOMIAL[3]
        y = y * x + _POLYNOMIAL[4]
        y = y * x + _POLYNOMIAL[5]
        y = y * x * x + x + _ONE
        values[i] = y * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)


def _between(corners: int) -> Any:
    """(slice, splat) of a block of pixels for lattices of so many corners, a constant that unrolls the inner loop."""
    number = np.uint64(corners)

    @njit(cache=True, nogil=True)
    def sliced(points, weights, begin, count, lattice, width, strengths, out):  # type: ignore[no-untyped-def] # pragma: no cover
        """Add strength x slice to out [count x width]."""
        for c in range(_0, width, _4):
            for p in range(count):
                row = (begin + p) * number
                s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                for corner in range(row, row + number):
                    at = np.uint64(points[corner]) * width + c
                    weight = weights[corner]
                    s0 += weight * lattice[at]
                    s1 += weight * lattice[at + _1]
                    s2 += weight * lattice[at + _2]
                    s3 += weight * lattice[at + _3]
                to = p * width + c
                out[to] += strengths[c] * s0
                out[to + _1] += strengths[c + _1] * s1
                out[to + _2] += strengths[c + _2] * s2
                out[to + _3] += strengths[c + _3] * s3

    @njit(cache=True, nogil=True)
    def splatted(points, weights, begin, count, lattice, width, beliefs):  # type: ignore[no-untyped-def] # pragma: no cover
        """Add beliefs [count x width] to the corners."""
        for c in range(_0, width, _4):
            for p in range(count):
                row, at = (begin + p) * number, p * width + c
                q0, q1, q2, q3 = beliefs[at], beliefs[at + _1], beliefs[at + _2], beliefs[at + _3]
                for corner in range(row, row + number):
                    to = np.uint64(points[corner]) * width + c
                    weight = weights[corner]
                    lattice[to] += weight * q0
                    lattice[to + _1] += weight * q1
                    lattice[to + _2] += weight * q2
                    lattice[to + _3] += weight * q3

    return sliced, splatted


_slice_bilateral, _splat_bilateral = _between(6)
_slice_gaussian, _splat_gaussian = _between(3)


@njit(cache=True, nogil=True)
def _favoured(begin, count, channels, total_b, total_g, score, powers, start):  # type: ignore[no-untyped-def] # pragma: no cover
    """Messages in `score` become scores against the background, and powers to take; returns how many of these."""
    bias, strong, weak, first = channels.bias, channels.strong, channels.weak, channels.first
    width = np.uint64(len(strong))
    filled = _0
    for p in range(count):
        pixel, at = begin + p, p * width
        row = pixel * width
        for r in range(np.uint64(len(first)) - _1):
            low, high = first[r], first[r + _1]
            rest = np.float32(0)  # the background's message
            if not start:
                rest = strong[low] * total_b[pixel] + weak[low] * total_g[pixel]
                for c in range(low, high):
                    rest -= score[at + c]
            highest = np.float32(0)
            for c in range(low, high):
                value = score[at + c] + bias[row + c] - rest
                score[at + c] = value
                highest = max(highest, value)
            powers[filled] = -highest
            filled += _1
            for c in range(low, high):
                powers[filled] = score[at + c] - highest
                filled += _1
    return filled


@njit(cache=True, nogil=True)
def _best(count, width, low, high, score, labels, begin):  # type: ignore[no-untyped-def] # pragma: no cover
    """The label of the highest score; the background has 0 and wins ties."""
    for p in range(count):
        best, highest = _0, np.float32(0)
        for c in range(low, high):
            if score[p * width + c] > highest:
                best, highest = c - low + _1, score[p * width + c]
        labels[begin + p] = best


@njit(cache=True, nogil=True)
def _shares(count, width, first, powers, beliefs):  # type: ignore[no-untyped-def] # pragma: no cover
    """Powers over their sum."""
    filled = _0
    runs = np.uint64(len(first)) - _1
    for p in range(count):
        at = p * width
        for r in range(runs):
            channels = first[r + _1] - first[r]
            total = powers[filled]
            for c in range(filled + _1, filled + _1 + channels):
                total += powers[c]
            share = _ONE / total
            for c in range(channels):
                beliefs[at + first[r] + c] = powers[filled + _1 + c] * share
            filled += channels + _1
        for c in range(first[runs], width):
            beliefs[at + c] = 0


@njit(cache=True, nogil=True)
def mean_field(wide, narrow, channels, labels, kept):  # type: ignore[no-untyped-def] # pragma: no cover
    """Steps of the mean field for all runs at once; see `lattice._infer` for what is filled.

    Args:
        wide: the bilateral `lattice.Kernel`.
        narrow: the Gaussian one.
        channels: the `lattice.Channels` of the runs.
        labels: uint8 [S, N], to be filled.
        kept: float32 [C, N], to be filled with the beliefs after the last step; [C, 0]: they are not wanted.
    """
    points_b, weights_b = wide.lattice.points.ravel(), wide.lattice.weights.ravel()
    points_g, weights_g = narrow.lattice.points.ravel(), narrow.lattice.weights.ravel()
    strong, weak, first, wanted = channels.strong, channels.weak, channels.first, channels.wanted
    pixels, width = np.uint64(len(wide.total)), np.uint64(len(strong))
    steps = np.int64(0)
    for s in range(len(wanted)):
        steps = max(steps, wanted[s, 1])
    room_b, room_g = wide.lattice.size * len(strong), narrow.lattice.size * len(strong)
    now_b, next_b = np.zeros(room_b, np.float32), np.zeros(room_b, np.float32)
    now_g, next_g = np.zeros(room_g, np.float32), np.zeros(room_g, np.float32)
    score = np.empty(_BLOCK * len(strong), np.float32)
    powers = np.empty(_BLOCK * (len(strong) + len(first)), np.float32)
    for step in range(steps + 1):
        if step:
            now_b, next_b = next_b, now_b
            now_g, next_g = next_g, now_g
            _blur(now_b, wide.lattice.chains, wide.lattice.starts, width)
            _blur(now_g, narrow.lattice.chains, narrow.lattice.starts, width)
            next_b[:] = 0
            next_g[:] = 0
        for begin in range(_0, pixels, np.uint64(_BLOCK)):
            count = min(np.uint64(_BLOCK), pixels - begin)
            score[:] = 0
            if step:
                _slice_bilateral(points_b, weights_b, begin, count, now_b, width, strong, score)
                _slice_gaussian(points_g, weights_g, begin, count, now_g, width, weak, score)
            filled = _favoured(begin, count, channels, wide.total, narrow.total, score, powers, step == 0)
            for s in range(len(wanted)):
                if wanted[s, 1] == step:
                    r = wanted[s, 0]
                    _best(count, width, first[r], first[r + 1], score, labels[s], begin)
            if step == steps and kept.shape[1] == 0:
                continue
            _exponentials(powers, filled)
            _shares(count, width, first, powers, score)
            if step < steps:
                _splat_bilateral(points_b, weights_b, begin, count, next_b, width, score)
                _splat_gaussian(points_g, weights_g, begin, count, next_g, width, score)
            else:
                for p in range(count):
                    for c in range(first[-1]):
                        kept[c, begin + p] = score[p * width + c]
