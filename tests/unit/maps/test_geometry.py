"""The grid of nodes: what it shows exactly, and that it comes nearest to the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from wsss_platform.maps.geometry import CELL, grid_size, node_weights, nodes_of, padded_size


def shown(pixels: int) -> NDArray[np.float64]:
    """What each pixel's centre takes of each node: [pixels, nodes], written plainly."""
    centres = (np.arange(pixels) + 0.5)[:, None] / CELL
    return np.asarray(np.clip(1 - np.abs(centres - np.arange(-(-pixels // CELL) + 1)), 0, None))


def rebuilt(nodes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    return np.asarray(shown(height) @ nodes @ shown(width).T)


def output(stride: int, height: int, width: int) -> torch.Tensor:
    """Noise as a network's output over the padded image: [1, 2, h, w]."""
    high, wide = padded_size(height, width)
    generator = torch.Generator().manual_seed(stride)
    return torch.rand(1, 2, high // stride, wide // stride, generator=generator)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(("height", "width"), [(45, 70), (375, 500), (16, 16), (17, 33)])
def test_outputs_whose_knots_are_nodes_lose_nothing(stride: int, height: int, width: int) -> None:
    given, covered = output(stride, height, width), padded_size(height, width)
    full = functional.interpolate(given, covered, mode="bilinear", align_corners=False)[0, :, :height, :width]
    nodes = nodes_of(given[0].numpy(), covered, (height, width))
    assert nodes.shape == (2, *grid_size(height, width))
    np.testing.assert_allclose(rebuilt(nodes, height, width), full.numpy(), atol=2e-6)


def test_a_sum_of_scales_half_one_and_two_loses_nothing() -> None:
    height, width = 96, 128
    views = [output(stride, height, width) for stride in (32, 16, 8)]
    full = sum(functional.interpolate(view, (height, width), mode="bilinear", align_corners=False) for view in views)
    nodes = sum(nodes_of(view[0].numpy(), (height, width), (height, width)) for view in views)
    assert isinstance(full, torch.Tensor)
    np.testing.assert_allclose(rebuilt(np.asarray(nodes), height, width), full[0].numpy(), atol=4e-6)


def test_no_other_nodes_come_nearer() -> None:
    """Knots beside the nodes, as scale 1.5 has them: least squares over the pixels of all cells."""
    height, width = 44, 64
    maps = np.random.default_rng(0).random((6, 8), np.float32)
    full = functional.interpolate(torch.from_numpy(maps)[None, None], (height, width), mode="bilinear")[0, 0].numpy()
    nodes = nodes_of(maps, (height, width), (height, width))
    wanted = np.linalg.pinv(shown(height)) @ full @ np.linalg.pinv(shown(width)).T
    np.testing.assert_allclose(nodes, wanted, atol=1e-5)
    error = np.square(rebuilt(nodes, height, width) - full).mean()
    ends = (np.arange(12) * CELL / height * 6 - 0.5).clip(0, 5), (np.arange(17) * CELL / width * 8 - 0.5).clip(0, 7)
    lines = np.array([np.interp(ends[0], np.arange(6), column) for column in maps.T])
    sampled = np.array([np.interp(ends[1], np.arange(8), line) for line in lines.T])
    assert 0 < error < 0.8 * np.square(rebuilt(sampled, height, width) - full).mean()


@pytest.mark.parametrize(("found", "covered", "pixels"), [(1, 16, 1), (1, 16, 16), (2, 16, 5), (40, 37, 37), (7, 9, 9)])
def test_weights_of_a_node_sum_to_one(found: int, covered: int, pixels: int) -> None:
    weights = node_weights(found, covered, pixels)
    assert weights.shape == (-(-pixels // CELL) + 1, found)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert np.abs(weights).max() < 2


def test_maps_of_the_image_s_size() -> None:
    """What nodes can show comes back from its pixels; the last cell may reach beyond them."""
    wanted = np.random.default_rng(0).random((3, *grid_size(45, 68))).astype(np.float32)
    full = rebuilt(wanted, 45, 68).astype(np.float32)
    nodes = nodes_of(full, (45, 68), (45, 68))
    np.testing.assert_allclose(nodes[:, :-3], wanted[:, :-3], atol=0.02)  # below it pixel 44 goes on, three times
    whole = nodes_of(full[:, :44], (44, 68), (44, 68))
    np.testing.assert_allclose(whole, wanted[:, :12], atol=2e-5)
