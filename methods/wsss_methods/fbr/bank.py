"""Negative regions: batched k-means over background pixels, and the bank that remembers the centroids."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class Bank(nn.Module):
    """A first-in-first-out store of vectors; all of it is in buffers, so checkpoints hold it."""

    vectors: Tensor
    filled: Tensor
    pointer: Tensor

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, channels))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, rows: Tensor) -> None:
        """Add rows [n, D]; the oldest go. Of more rows than the bank holds, the last are kept."""
        size = self.vectors.shape[0]
        rows = rows[-size:].to(self.vectors.dtype)
        slots = (self.pointer + torch.arange(rows.shape[0], device=rows.device)) % size
        self.vectors[slots] = rows
        self.pointer.copy_((self.pointer + rows.shape[0]) % size)
        self.filled.copy_((self.filled + rows.shape[0]).clamp(max=size))

    def contents(self) -> Tensor:
        """What is remembered, [filled, D], in no particular order."""
        return self.vectors[: int(self.filled)]


@torch.no_grad()
def cluster(vectors: Tensor, member: Tensor, draws: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """k-means of each image's own members, all images at once.

    Args:
        vectors: float [B, N, D].
        member: bool [B, N], which vectors take part.
        draws: uniform numbers in [0, 1), [B, K]; K is the number of clusters.
        iterations: of Lloyd's algorithm; a cluster that loses all members stays where it was.

    Returns:
        centroids [B, K, D] and whether each is one, bool [B, K]: all K of an image with more than K members;
        an image with K or fewer gives its members as they are (FBR AMN/region_utils.py, dequeue_and_enqueue).
    """
    clusters = draws.shape[1]
    counts = member.sum(1)
    centroids = _spread(vectors, member, draws)
    squared = vectors.square().sum(2, keepdim=True)
    for _ in range(iterations):
        distance = squared - 2 * vectors @ centroids.transpose(1, 2) + centroids.square().sum(2).unsqueeze(1)
        assigned = functional.one_hot(distance.argmin(2), clusters).to(vectors.dtype) * member.unsqueeze(2)
        sizes = assigned.sum(1).unsqueeze(2)
        means = assigned.transpose(1, 2) @ vectors / sizes.clamp(min=1)
        centroids = torch.where(sizes > 0, means, centroids)
    first = functional.pad((~member).long(), (0, max(clusters - member.shape[1], 0)), value=1)
    first = first.argsort(dim=1, stable=True)[:, :clusters].clamp(max=member.shape[1] - 1)
    as_they_are = vectors.gather(1, first.unsqueeze(2).expand(-1, -1, vectors.shape[2]))
    enough = (counts > clusters).view(-1, 1)
    valid = enough | (torch.arange(clusters, device=counts.device) < counts.view(-1, 1))
    return torch.where(enough.unsqueeze(2), centroids, as_they_are), valid


def _spread(vectors: Tensor, member: Tensor, draws: Tensor) -> Tensor:
    """k-means++ (Arthur & Vassilvitskii, 2007): each next start is drawn in proportion to the squared distance."""
    weight = member.to(vectors.dtype)
    chosen: list[Tensor] = []
    nearest = torch.full_like(weight, torch.inf)
    for draw in draws.unbind(1):
        if chosen:
            nearest = torch.minimum(nearest, (vectors - chosen[-1].unsqueeze(1)).square().sum(2))
            weight = torch.where(member, nearest, 0)
            weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, member.to(vectors.dtype))
        index = draw_index(weight, draw.unsqueeze(1))
        chosen.append(vectors.gather(1, index.unsqueeze(2).expand(-1, -1, vectors.shape[2])).squeeze(1))
    return torch.stack(chosen, dim=1)


def draw_index(weight: Tensor, draws: Tensor) -> Tensor:
    """Indices drawn in proportion to a weight; one of weight 0 is never drawn unless all are 0.

    Args:
        weight: at least 0, [R, N].
        draws: uniform numbers in [0, 1), [R, M].

    Returns:
        int64 [R, M].
    """
    cumulative = weight.cumsum(1)
    cumulative = cumulative / cumulative[:, -1:]  # the last is exactly 1, above every draw
    return torch.searchsorted(cumulative, draws.contiguous(), right=True).clamp(max=weight.shape[1] - 1)
