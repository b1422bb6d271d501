"""Pairs of neighbouring cells in training: distances, boundaries on the way, what labels say, and the losses.

Everything about pairs is a map [B, P, h, w]: entry p at a cell is of the cell and of the one at `offsets[p]`. A
pair that leads out of the grid has the value 0. The released code (psa train_aff.py, irn step/train_irn.py) leaves
out pairs that begin within the radius of a border; here every pair inside the image counts [ours], so that small
crops have pairs at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsss_platform.method.module import global_batch
from wsss_platform.nets.affinity.walk import Offset

BACKGROUND, FOREGROUND, DIFFERENT = 1, 2, 3
"""Pairs by their labels: both background, both of one class, of two labels. 0 is a pair that is not known."""
IGNORE = 255
"""Label of what is not known."""
_TINY = 1e-5  # inside logarithms and beside counts [code]
_Slices = tuple[slice, slice]


def ends(height: int, width: int, offset: Offset) -> tuple[_Slices, _Slices]:
    """Where the pairs of one offset begin and end: rows and columns of equally many cells, perhaps none."""
    down, right = offset
    rows, columns = max(0, height - down), max(0, width - abs(right))
    left = max(0, -right)
    begin = (slice(0, rows), slice(left, left + columns))
    return begin, (slice(down, down + rows), slice(left + right, left + right + columns))


def path(offset: Offset) -> tuple[Offset, ...]:
    """The cells nearer than 1 to the line from (0, 0) to `offset`, within the box of both, the far end first [code]."""
    down, right = offset
    length = down * down + right * right
    box = [(y, x) for y in range(down + 1) for x in range(min(0, right), max(0, right) + 1)]
    near = [(y, x) for y, x in box if (down * x - right * y) ** 2 < length]
    return tuple(sorted(near, key=lambda cell: -abs(cell[0]) - abs(cell[1])))


class _Distances(torch.autograd.Function):
    """Keeps the features only: what autograd would keep is as large as the features for every offset."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: Sequence[Offset]) -> Tensor:
        ctx.save_for_backward(features)
        ctx.offsets = offsets
        batch, _, height, width = features.shape
        distances = features.new_zeros(batch, len(offsets), height, width)
        for index, offset in enumerate(offsets):
            begin, end = ends(height, width, offset)
            gap = features[:, :, *begin] - features[:, :, *end]
            distances[:, index, *begin] = gap.abs_().mean(1)
        return distances

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        total = torch.zeros_like(features)
        height, width = features.shape[2:]
        for index, offset in enumerate(ctx.offsets):
            begin, end = ends(height, width, offset)
            part = torch.sign(features[:, :, *begin] - features[:, :, *end])
            part *= gradients[0][:, index, *begin].unsqueeze(1) / features.shape[1]
            total[:, :, *begin] += part
            total[:, :, *end] -= part
        return total, None


def pair_distances(features: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """mean over channels of |f_i - f_j|: [B, P, h, w], at least 0.

    Args:
        features: [B, D, h, w].
        offsets: P of them.
    """
    distances: Tensor = _Distances.apply(features, tuple(offsets))
    return distances


class _Barriers(torch.autograd.Function):
    """Keeps one byte per pair: which cell of the path was the largest (the first of equals, as max pooling has it)."""

    @staticmethod
    def forward(ctx: Any, boundary: Tensor, offsets: Sequence[Offset]) -> Tensor:
        batch, height, width = boundary.shape
        barriers = boundary.new_zeros(batch, len(offsets), height, width)
        where = torch.zeros(barriers.shape, dtype=torch.uint8, device=boundary.device)
        for index, offset in enumerate(offsets):
            (rows, columns), _ = ends(height, width, offset)
            highest, place = barriers[:, index, rows, columns], where[:, index, rows, columns]
            for step, cell in enumerate(path(offset)):
                here = boundary[:, *_moved(rows, columns, cell)]
                place[(here > highest) if step else torch.ones_like(place, dtype=torch.bool)] = step
                highest.copy_(torch.maximum(highest, here) if step else here)
        ctx.save_for_backward(where)
        ctx.offsets = offsets
        return barriers

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (where,) = ctx.saved_tensors
        batch, _, height, width = where.shape
        total = gradients[0].new_zeros(batch, height, width)
        for index, offset in enumerate(ctx.offsets):
            (rows, columns), _ = ends(height, width, offset)
            gradient, place = gradients[0][:, index, rows, columns], where[:, index, rows, columns]
            for step, cell in enumerate(path(offset)):
                total[:, *_moved(rows, columns, cell)] += gradient * (place == step)
        return total, None


def _moved(rows: slice, columns: slice, cell: Offset) -> _Slices:
    down, right = cell
    return slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right)


def path_maxima(boundary: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """The strongest boundary on the line between both cells of a pair, both included: [B, P, h, w].

    IRN's affinity is 1 minus it (misc/indexing.py, `edge_to_affinity` [code]).

    Args:
        boundary: [B, h, w], 0..1.
        offsets: P of them.
    """
    maxima: Tensor = _Barriers.apply(boundary, tuple(offsets))
    return maxima


def at_cells(labels: Tensor, height: int, width: int) -> Tensor:
    """Label maps [B, H, W] at the centres of h x w cells that cover them: [B, h, w].

    IRN takes the nearest pixel too; PSA averages its two CRF scores over the cell and then decides [code]."""
    rows, columns = (
        ((torch.arange(cells, device=labels.device) * 2 + 1) * side // (2 * cells)).clamp_max(side - 1)
        for cells, side in ((height, labels.shape[1]), (width, labels.shape[2]))
    )
    return labels[:, rows[:, None], columns]


def pair_kinds(labels: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """What labels say of each pair: uint8 [B, P, h, w], 0 or one of the constants above.

    Args:
        labels: int64 [B, h, w], 0 background, 255 not known.
        offsets: P of them.
    """
    batch, height, width = labels.shape
    kinds = torch.zeros(batch, len(offsets), height, width, dtype=torch.uint8, device=labels.device)
    for index, offset in enumerate(offsets):
        begin, end = ends(height, width, offset)
        one, other = labels[:, *begin], labels[:, *end]
        same = torch.where(one == 0, BACKGROUND, FOREGROUND)
        kind = torch.where(one == other, same, DIFFERENT)
        kinds[:, index, *begin] = kind.masked_fill((one == IGNORE) | (other == IGNORE), 0).to(torch.uint8)
    return kinds


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen values over all workers' batches, 0 where nothing is chosen.

    The released code divides by the sum plus 1e-5, and so do we. Workers' shares average to the whole batch's mean.
    """
    count = global_batch(chosen.sum().float().view(1)).mean()
    return (values * chosen).sum() / (count + _TINY)


def affinity_losses(affinity: Tensor, kinds: Tensor) -> dict[str, Tensor]:
    """`background`, `foreground`: the means of -log A over pairs of one label; `negative`: that of -log(1 - A) over
    pairs of two (PSA and IRN; with 1e-5 inside the logarithms [code]).

    Args:
        affinity: float32 [B, P, h, w] in 0..1.
        kinds: uint8 [B, P, h, w], see `pair_kinds`.
    """
    alike, apart = -torch.log(affinity + _TINY), -torch.log(1 + _TINY - affinity)
    return {
        "background": mean_over(alike, kinds == BACKGROUND),
        "foreground": mean_over(alike, kinds == FOREGROUND),
        "negative": mean_over(apart, kinds == DIFFERENT),
    }


def displacement_losses(displacement: Tensor, kinds: Tensor, offsets: Sequence[Offset]) -> dict[str, Tensor]:
    """IRN's losses of the displacement field d, means over pairs and both coordinates:

        displacement_foreground: |d_i - d_j - (j - i)| over pairs of one class: both point to the same place
        displacement_background: |d_i - d_j| over pairs of background

    Args:
        displacement: float32 [B, 2, h, w], rows and columns in cells.
        kinds: uint8 [B, P, h, w].
        offsets: P of them.
    """
    height, width = kinds.shape[2:]
    sums = {BACKGROUND: displacement.sum() * 0, FOREGROUND: displacement.sum() * 0}
    for index, offset in enumerate(offsets):
        begin, end = ends(height, width, offset)
        moved = displacement[:, :, *begin] - displacement[:, :, *end]
        target = displacement.new_tensor(offset).view(2, 1, 1)
        kind = kinds[:, index, *begin].unsqueeze(1)
        sums[BACKGROUND] = sums[BACKGROUND] + (moved.abs() * (kind == BACKGROUND)).sum()
        sums[FOREGROUND] = sums[FOREGROUND] + ((moved - target).abs() * (kind == FOREGROUND)).sum()
    counts = {kind: global_batch((kinds == kind).sum().float().view(1)).mean() for kind in sums}
    return {
        "displacement_foreground": sums[FOREGROUND] / (2 * counts[FOREGROUND] + _TINY),
        "displacement_background": sums[BACKGROUND] / (2 * counts[BACKGROUND] + _TINY),
    }
