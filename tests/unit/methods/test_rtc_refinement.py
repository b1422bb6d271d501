"""VARM and the segmentation labels of RTC against loops, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wsss_methods.rtc.config import SegmentationConfig
from wsss_methods.rtc.refinement import neighbour_weights, pseudo_labels, refine
from wsss_platform.nets.backbones.backbone import DEVIATION, MEAN

AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def _clamped(value: int, size: int) -> int:
    return min(max(value, 0), size - 1)


def _seen(image: Tensor, dilations: tuple[int, ...]) -> list[Tensor]:
    """Of [K, H, W], what each pixel sees in each neighbour: [K, H, W] per neighbour."""
    _, height, width = image.shape
    found = []
    for distance in dilations:
        for down, right in AROUND:
            other = torch.empty_like(image)
            for y in range(height):
                for x in range(width):
                    place = _clamped(y + distance * down, height), _clamped(x + distance * right, width)
                    other[:, y, x] = image[:, place[0], place[1]]
            found.append(other)
    return found


def _softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def _weights_by_loops(image: Tensor, dilations: tuple[int, ...], edge_weight: float) -> Tensor:
    colours, height, width = image.shape
    seen = _seen(image, dilations)
    out = torch.empty(len(seen), height, width)
    for y in range(height):
        for x in range(width):
            alike, varies = [], []
            spread = [float(torch.stack([other[c, y, x] for other in seen]).std()) for c in range(colours)]
            for other in seen:
                distances, differences = 0.0, 0.0
                for c in range(colours):
                    distances += (4 * (float(other[c, y, x]) - float(image[c, y, x])) / (spread[c] + 1e-8)) ** 2
                    below, right = float(other[c, min(y + 1, height - 1), x]), float(other[c, y, min(x + 1, width - 1)])
                    here = float(other[c, y, x])
                    differences += (here - below) ** 2 + (here - right) ** 2
                alike.append(-distances / colours)
                varies.append(differences / colours)
            for n, (a, v) in enumerate(zip(_softmax(alike), _softmax(varies), strict=True)):
                out[n, y, x] = a - edge_weight * v
    return out


@pytest.mark.parametrize("edge_weight", [0.0, 0.01, 0.5])
def test_weights_and_rounds_are_those_of_loops(edge_weight: float) -> None:
    generator = torch.Generator().manual_seed(0)
    images, maps = torch.rand(2, 3, 5, 6, generator=generator), torch.rand(2, 3, 5, 6, generator=generator)
    dilations = (1, 3)
    weights = neighbour_weights(images, dilations, edge_weight)
    for b in range(2):
        wanted = _weights_by_loops(images[b], dilations, edge_weight)
        torch.testing.assert_close(weights[b], wanted, rtol=1e-4, atol=1e-5)
    found = refine(maps, weights, dilations, 2)
    for b in range(2):
        wanted = maps[b]
        for _ in range(2):
            seen = _seen(wanted, dilations)
            wanted = torch.stack([weights[b, n] * other for n, other in enumerate(seen)]).sum(0)
        torch.testing.assert_close(found[b], wanted, rtol=1e-4, atol=1e-5)


def test_refinement_keeps_to_colours_and_its_limits() -> None:
    """Noise in the map of an image with two flat halves is averaged within each half."""
    images = torch.zeros(1, 3, 8, 16)
    images[..., 8:] = 1
    maps = (torch.rand(1, 1, 8, 16, generator=torch.Generator().manual_seed(0)) * 0.4).clone()
    maps[..., 8:] += 0.6
    weights = neighbour_weights(images, (1, 2), 0.0)
    found = refine(maps, weights, (1, 2), 10)
    assert float(found[..., :8].max()) < 0.5 < float(found[..., 8:].min())
    assert float(found[..., :8].std()) < 0.5 * float(maps[..., :8].std())
    assert torch.equal(refine(maps, weights, (1, 2), 0), maps)
    flat = neighbour_weights(torch.full((1, 3, 4, 4), 0.5), (1,), 0.01)
    torch.testing.assert_close(flat, torch.full((1, 8, 4, 4), 0.99 / 8))
    torch.testing.assert_close(neighbour_weights(images, (24,), 0.01).sum(1), torch.full((1, 8, 16), 0.99))


CONFIG = SegmentationConfig(dilations=(1, 2), iterations=1)


def _labels_by_images(
    refined: Tensor, images: Tensor, labels: Tensor, valid: Tensor, config: SegmentationConfig
) -> Tensor:
    """One image after the other, all at full size before it is halved, with lists of its classes."""
    batch, _, height, width = images.shape
    out = torch.full((batch, height, width), 255)
    for b in range(batch):
        classes = [c for c in range(labels.shape[1]) if labels[b, c]]
        channels = []
        for c in classes:
            plane = refined[b, c + 1].relu()
            low, high = float(plane.min()), float(plane.max())
            stretched = (plane - low - 1e-5).relu() / (high - low + 1e-5)
            channels.append(
                functional.interpolate(stretched[None, None], (height, width), mode="bilinear", align_corners=True)
            )
        colours = torch.stack([images[b, c] * DEVIATION[c] + MEAN[c] for c in range(3)])[None]
        small = functional.interpolate(colours, (height // 2, width // 2), mode="bilinear", align_corners=False)
        weights = neighbour_weights(small, config.dilations, config.edge_weight)
        passes = []
        for score in (config.confident_foreground, config.confident_background):
            both = torch.cat([torch.full((1, 1, height, width), score), *channels], dim=1)
            both = functional.interpolate(both, (height // 2, width // 2), mode="bilinear", align_corners=False)
            both = refine(both.softmax(1), weights, config.dilations, config.iterations)
            both = functional.interpolate(both, (height, width), mode="bilinear", align_corners=False)
            names = torch.tensor([0, *(c + 1 for c in classes)])
            passes.append(names[both[0].argmax(0)])
        for y in range(height):
            for x in range(width):
                first, second = int(passes[0][y, x]), int(passes[1][y, x])
                if valid[b, y, x]:
                    out[b, y, x] = first if first else (0 if second == 0 else 255)
    return out


def test_labels_are_those_of_one_image_after_the_other() -> None:
    generator = torch.Generator().manual_seed(3)
    refined = torch.rand(3, 5, 6, 6, generator=generator) ** 3
    images = torch.randn(3, 3, 24, 24, generator=generator)
    labels = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 1]])
    valid = torch.ones(3, 24, 24, dtype=torch.bool)
    valid[1, :, 20:] = False
    before = images.clone()
    found = pseudo_labels(refined, images, labels, valid, CONFIG)
    assert torch.equal(images, before), "the release's denorm writes into the images; ours does not"
    assert torch.equal(found, _labels_by_images(refined, images, labels, valid, CONFIG))
    assert set(found.unique().tolist()) >= {0, 1, 255}
    assert (found[1, :, 20:] == 255).all()
    assert not ((found == 1) & (labels[:, 0] == 0)[:, None, None]).any(), "only the image's classes"


def test_labels_without_a_class_are_background_and_everything_in_doubt_is_none() -> None:
    refined, images = torch.rand(2, 4, 4, 4), torch.randn(2, 3, 16, 16)
    valid = torch.ones(2, 16, 16, dtype=torch.bool)
    assert (pseudo_labels(refined, images, torch.zeros(2, 3), valid, CONFIG) == 0).all()
    equal = SegmentationConfig(dilations=(1,), confident_background=0.55)
    one = pseudo_labels(refined, images, torch.eye(3)[:2], valid, equal)
    assert not (one == 255).any(), "equal passes leave no doubt"
    assert (pseudo_labels(refined, images, torch.eye(3)[:2], ~valid, CONFIG) == 255).all()
