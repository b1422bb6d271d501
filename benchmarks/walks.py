"""The random walk over neighbours, against the released dense matrix and against a sparse matrix of torch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.images import PreparedImage
from benchmarks.measure import Row, alternate, peak, seconds
from wsss_platform.nets.affinity.pairs import path_maxima
from wsss_platform.nets.affinity.walk import half_plane, walk

RADIUS, BETA, LOG2_STEPS = 5, 10.0, 8
OFFSETS = half_plane(RADIUS)
Grid = NDArray[np.float32]


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """One photograph's maps of two classes; affinities from the borders of its true mask; one thread on every side."""
    torch.set_num_threads(1)
    for kind, size, cell in (("PSA", (375, 500), 8), ("IRN", (375, 500), 4), ("IRN", (500, 1000), 4)):
        values, affinity = _material(images[0], size, cell)
        cells = values[0].size
        what = f"{kind} walk of {2**LOG2_STEPS} steps, {size[0]}x{size[1]}"
        ours, sparse = _bound(_ours, values, affinity), _bound(_sparse, values, affinity)
        if not np.allclose(ours(), sparse(), rtol=1e-3, atol=1e-6):
            raise AssertionError(f"{what}: the sparse matrix gives something else")
        rate = _sgemm_rate()
        own, other = alternate(ours, sparse, rounds=3)
        squares = f"{cells} cells; a dense matrix has {4e-6 * cells**2:,.0f} MB"
        memory = peak(ours)
        found = [("torch's CSR matrix", other, peak(sparse), f"{squares}; results equal")]
        if kind == "PSA":
            dense = _bound(_dense, values, affinity, LOG2_STEPS)
            if not np.allclose(ours(), dense(), rtol=1e-2, atol=1e-5):
                raise AssertionError(f"{what}: the dense matrix gives something else")
            found.append(("the dense matrix", seconds(dense), peak(dense), f"{squares}; results equal"))
        elif size == (375, 500):  # minutes: one of its squarings is measured; the larger image's is not run at all
            none, once = (seconds(_bound(_dense, values, affinity, count)) for count in (0, 1))
            note = f"{squares}; theirs is {LOG2_STEPS} times one measured squaring, and the rest"
            memory_once = peak(_bound(_dense, values, affinity, 1))
            found.append(("the dense matrix", none + LOG2_STEPS * (once - none), memory_once, note))
        for name, theirs, theirs_peak, note in found:
            yield Row(
                name=f"{what} vs {name}",
                ours=own * 1e3,
                theirs=theirs * 1e3,
                unit="ms",
                limit_share=4 * len(OFFSETS) * values.size * 2**LOG2_STEPS / rate / own,
                limit="its multiplications at the measured sgemm rate",
                ours_peak=memory,
                theirs_peak=theirs_peak,
                note=note,
            )


def _material(image: PreparedImage, size: tuple[int, int], cell: int) -> tuple[Grid, Grid]:
    truth = cv2.resize(image.truth, size[::-1], interpolation=cv2.INTER_NEAREST)
    columns, lines = -(-size[1] // cell), -(-size[0] // cell)
    edge = np.abs(cv2.Laplacian(truth.astype(np.float32), cv2.CV_32F)) > 0
    boundary = 0.02 + 0.9 * cv2.resize(edge.astype(np.float32), (columns, lines), interpolation=cv2.INTER_AREA)
    scores = image.stored().nodes
    values = np.stack([cv2.resize(scores[0], (columns, lines)), cv2.resize(scores[-1], (columns, lines))])
    affinity = 1 - path_maxima(torch.from_numpy(boundary.clip(0, 1))[None], OFFSETS)[0]
    return values, affinity.numpy()


def _bound(work: Callable[..., Grid], *arguments: object) -> Callable[[], Grid]:
    return lambda: work(*arguments)


def _ours(values: Grid, affinity: Grid) -> Grid:
    return walk(values, affinity, OFFSETS, BETA, LOG2_STEPS)


def _pairs(affinity: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64], Grid]:
    """From, to and A^beta of every entry of the matrix."""
    _, height, width = affinity.shape
    index = np.arange(height * width).reshape(height, width)
    begins, ends, values = [index.ravel()], [index.ravel()], [np.ones(index.size, np.float32)]
    for plane, (down, right) in zip(affinity**BETA, OFFSETS, strict=True):
        left, stop = max(0, -right), width - max(0, right)
        one, other = index[: height - down, left:stop].ravel(), index[down:, left + right : stop + right].ravel()
        weight = plane[: height - down, left:stop].ravel()
        begins += [one, other]
        ends += [other, one]
        values += [weight, weight]
    return np.concatenate(begins), np.concatenate(ends), np.concatenate(values)


def _sparse(values: Grid, affinity: Grid) -> Grid:
    """A careful other way: T as a CSR matrix, multiplied once a step."""
    count, cells = len(values), values[0].size
    begin, end, weight = _pairs(affinity)
    order = np.lexsort((begin, end))
    begin, end, weight = begin[order], end[order], weight[order]
    weight = weight / np.bincount(end, weight, cells).astype(np.float32)[end]
    starts = np.concatenate([[0], np.cumsum(np.bincount(end, minlength=cells))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR layout a beta
        matrix = torch.sparse_csr_tensor(
            torch.from_numpy(starts.astype(np.int32)),
            torch.from_numpy(begin.astype(np.int32)),
            torch.from_numpy(weight),
            (cells, cells),
        )
        x = torch.from_numpy(np.ascontiguousarray(values.reshape(count, cells).T))
        for _ in range(2**LOG2_STEPS):
            x = matrix @ x
    return np.ascontiguousarray(x.numpy().T).reshape(values.shape)


def _dense(values: Grid, affinity: Grid, squarings: int) -> Grid:
    """PSA's and IRN's scripts: all cells by all cells, divided by the column sums, squared."""
    cells = values[0].size
    begin, end, weight = _pairs(affinity)
    matrix = np.zeros((cells, cells), np.float32)
    matrix[begin, end] = weight
    matrix /= matrix.sum(0, keepdims=True)
    for _ in range(squarings):
        matrix = matrix @ matrix
    walked: Grid = (values.reshape(len(values), cells) @ matrix).reshape(values.shape)
    return walked


def _sgemm_rate(side: int = 1500) -> float:
    """Floating point operations a second of one thread's matrix product."""
    one = torch.rand(side, side)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        one @ one
        best = min(best, time.process_time() - start)
    return 2 * side**3 / best
