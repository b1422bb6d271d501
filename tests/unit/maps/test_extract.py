"""Extraction with networks small enough to know the answer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsss_platform.config import BackboneConfig, MapsConfig
from wsss_platform.data.split import Sample
from wsss_platform.data.views import normalise
from wsss_platform.errors import RunError
from wsss_platform.maps.extract import Extractor
from wsss_platform.maps.storage import StoredMap, full_size, grid_size
from wsss_platform.maps.views import FLOOR
from wsss_platform.method.module import TrainingModule
from wsss_platform.nets.cpu.winograd import QuickConvolution
from wsss_platform.nets.heads.cam_classifier import CamClassifier

C = 4
STRIDE = 16


class Pooling(TrainingModule):
    """Class scores are a fixed mixture of the mean colour of each cell; BatchNorm would show train mode."""

    def __init__(self, channels: int = C) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.mixture = nn.Conv2d(3, channels, 1)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            self.mixture.weight.copy_(torch.randn(self.mixture.weight.shape, generator=generator))
            self.mixture.bias.copy_(torch.randn(self.mixture.bias.shape, generator=generator))
        self.seen: list[tuple[tuple[int, ...], list[list[float]]]] = []

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.seen.append((tuple(images.shape), labels.tolist()))
        return self.mixture(functional.avg_pool2d(self.norm(images), STRIDE))


class WithBackground(Pooling):
    background_channel: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(C + 1)


def sample(height: int, width: int, present: list[int], seed: int = 0) -> Sample:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    image = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
    labels = np.zeros(C, np.bool_)
    labels[present] = True
    return Sample("2007_1", np.ascontiguousarray(image), labels)


def extract(item: Sample, training_module: TrainingModule | None = None, **config: Any) -> StoredMap:
    return Extractor(training_module or Pooling(), MapsConfig(**config), STRIDE)(item)


def shown(pixels: int) -> np.ndarray:
    """What each pixel's centre takes of each node of the grid: [pixels, nodes]."""
    nodes = np.arange(-(-pixels // 4) + 1)
    return np.clip(1 - np.abs((np.arange(pixels) + 0.5)[:, None] / 4 - nodes), 0, None)


def nearest(scores: Tensor, height: int, width: int) -> Tensor:
    """A view over the padded image [1, C, h, w] -> the nodes whose pixels are nearest to it."""
    padded = (-(-height // 16) * 16, -(-width // 16) * 16)
    high, wide = -(-height // 4) * 4, -(-width // 4) * 4
    full = functional.interpolate(scores, padded, mode="bilinear", align_corners=False)[:, :, :high, :wide]
    return torch.from_numpy(np.linalg.pinv(shown(high)) @ full.numpy() @ np.linalg.pinv(shown(wide)).T)


def reference(item: Sample, training_module: TrainingModule, config: MapsConfig) -> np.ndarray:
    """Written plainly: every view alone, all channels at every step, gate and selection last."""
    height, width = item.image.shape[:2]
    high, wide = -(-height // 16) * 16, -(-width // 16) * 16
    whole = torch.zeros(1, 3, high, wide)
    whole[0, :, :height, :width] = torch.from_numpy(normalise(item.image))
    views = []
    for scale in config.scales:
        size = (max(1, round(scale * high / STRIDE)) * STRIDE, max(1, round(scale * wide / STRIDE)) * STRIDE)
        resized = functional.interpolate(whole, size, mode="bilinear", align_corners=False, antialias=True)
        for flip in (False, True) if config.flip else (False,):
            view = torch.flip(resized, [3]) if flip else resized
            with torch.no_grad():
                scores = training_module.eval().class_maps(view, torch.from_numpy(item.labels).float()[None])
            scores = torch.flip(scores, [3]) if flip else scores
            if config.activate == "view":
                scores = activation(scores, config)
            views.append(nearest(scores, height, width))
    stack = torch.cat(views)
    fused = {"sum": stack.sum(0), "mean": stack.mean(0), "max": stack.max(0).values}[config.fuse]
    if config.activate == "fused":
        fused = activation(fused[None], config)[0]
    fused = fused[1:] if training_module.background_channel else fused
    result = []
    for c in np.flatnonzero(item.labels):
        scores = fused[c]
        inside = torch.from_numpy(shown(height) @ scores.numpy() @ shown(width).T)
        if config.normalise == "max":
            scores = scores / max(float(inside.max()), FLOOR)
        elif config.normalise == "minmax":
            scores = (scores - inside.min()) / max(float(inside.max() - inside.min()), FLOOR)
        result.append(scores.clamp(0, 1).numpy())
    return np.stack(result)


def activation(scores: Tensor, config: MapsConfig) -> Tensor:
    if config.activation == "softmax":
        return torch.softmax(scores, 1)
    return torch.relu(scores) if config.activation == "relu" else scores


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("fuse", ["sum", "mean", "max"])
@pytest.mark.parametrize("activate", ["view", "fused"])
@pytest.mark.parametrize(
    ("kind", "normal"), [("relu", "max"), ("softmax", "none"), ("softmax", "minmax"), ("none", "minmax")]
)
def test_equals_a_plain_reference(background: bool, fuse: str, activate: str, kind: str, normal: str) -> None:
    config: dict[str, Any] = {"fuse": fuse, "activate": activate, "activation": kind, "normalise": normal}
    config |= {"scales": (0.5, 1.0, 1.5), "precision": "float16"}
    item, kinds = sample(45, 70, [1, 3]), WithBackground if background else Pooling
    found = extract(item, kinds(), **config)
    wanted = reference(item, kinds(), MapsConfig(**config))
    assert found.classes.tolist() == [1, 3]
    assert found.scores.dtype == np.float16
    assert wanted.max() > 0.1
    np.testing.assert_allclose(found.scores.astype(np.float32), wanted, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (17, 33), (100, 75), (9, 130)])
def test_sizes(height: int, width: int) -> None:
    found = extract(sample(height, width, [0, 2]), scales=(0.1, 1.0, 2.0))
    assert found.scores.shape == (2, *grid_size(height, width))
    assert full_size(found).shape == (2, height, width)


def test_inputs_of_the_network() -> None:
    """One forward per scale with both flips in it, sides multiples of the stride, labels for each view."""
    training_module = Pooling()
    extract(sample(40, 70, [2]), training_module, scales=(0.5, 1.0, 2.0))
    labels = [[0.0, 0.0, 1.0, 0.0]]
    assert training_module.seen == [
        ((2, 3, 32, 32), labels * 2),  # 48 x 80 padded; half of 3 x 5 cells, rounded to even
        ((2, 3, 48, 80), labels * 2),
        ((2, 3, 96, 160), labels * 2),
    ]


def test_only_the_classes_present() -> None:
    training_module = Pooling()
    item = sample(40, 50, [])
    found = extract(item, training_module)
    assert found.scores.shape == (0, *grid_size(40, 50))
    assert training_module.seen == []  # nothing to compute
    alone, both = extract(sample(40, 50, [1])), extract(sample(40, 50, [1, 3]))
    np.testing.assert_array_equal(alone.scores[0], both.scores[0])


def test_all_precisions_agree() -> None:
    item = sample(45, 70, [0, 1, 2])
    small, middle, large = (extract(item, **given) for given in ({"precision": "uint8"}, {}, {"precision": "float16"}))
    assert (small.precision, middle.precision, large.precision) == ("uint8", "uint11", "float16")
    assert np.abs(full_size(small) - full_size(large)).max() < 1 / 255
    assert np.abs(full_size(middle) - full_size(large)).max() < 1 / 2000
    assert small.scores.max() == 255


def test_deterministic_and_alone() -> None:
    """The same bytes again, after another image, and whatever mode the network was in."""
    items = [sample(45, 70, [1, 2], seed) for seed in range(3)]
    training_module = Pooling().train()
    extractor = Extractor(training_module, MapsConfig(), STRIDE)
    together = [extractor(item).scores for item in items]
    assert not training_module.training
    for item, scores in zip(items, together, strict=True):
        np.testing.assert_array_equal(Extractor(Pooling(), MapsConfig(), STRIDE)(item).scores, scores)


def test_winograds_convolutions_are_used_and_change_no_level_by_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> tuple[Extractor, np.ndarray]:
        torch.manual_seed(0)
        network = CamClassifier(BackboneConfig(name="resnet50", output_stride=16, weights="none"), 4)
        extractor = Extractor(network, MapsConfig(scales=(1.0,)), 16)
        return extractor, extractor(sample(181, 250, [0, 3])).scores.astype(int)

    quick, scores = made()
    replaced = [module for module in quick.module.modules() if isinstance(module, QuickConvolution)]
    assert [module._transformed is not None for module in replaced] == [True] * 11, "there, and called"
    monkeypatch.setattr("wsss_platform.maps.prepared.quicken", lambda network: None)
    direct, expected = made()
    assert not any(isinstance(module, QuickConvolution) for module in direct.module.modules())
    step = np.abs(scores - expected)
    assert step.max() <= 1
    assert 0 < expected.mean() < 2040


@pytest.mark.parametrize("width", [64, 80])
def test_flip_equivariance(width: int) -> None:
    """With flip on and no padding, the map of the mirrored image is the mirrored map."""
    item = sample(48, width, [0, 3])
    mirrored = Sample(item.id, np.ascontiguousarray(item.image[:, ::-1]), item.labels)
    there, back = extract(item, scales=(1.0,)), extract(mirrored, scales=(1.0,))
    step = np.abs(there.scores.astype(int) - back.scores[:, :, ::-1].astype(int))
    assert step.max() <= 1  # rounding to a level
    without = extract(mirrored, scales=(1.0,), flip=False)
    assert without.scores.shape == there.scores.shape


@pytest.mark.parametrize(("top", "left"), [(0, 0), (48, 96), (31, 17), (75, 130)])
def test_a_bright_square_comes_back_where_it_was(top: int, left: int) -> None:
    """No shift: centre of gravity within half a stride, at scales that pad and round."""
    image = np.zeros((123, 187, 3), np.uint8)
    image[top : top + 48, left : left + 48] = 255
    training_module = Pooling()
    with torch.no_grad():
        training_module.mixture.weight.fill_(1.0)
        training_module.mixture.bias.fill_(6.0)  # black is about -6: relu leaves the square
    item = Sample("square", image, np.array([True, False, False, False]))
    scores = full_size(extract(item, training_module, scales=(0.5, 1.0, 1.5, 2.0)))[0]
    square = image[:, :, 0] > 0
    ys, xs = np.mgrid[:123, :187]
    weight = scores * (scores > 0.5)
    assert abs((weight * ys).sum() / weight.sum() - ys[square].mean()) < STRIDE / 2
    assert abs((weight * xs).sum() / weight.sum() - xs[square].mean()) < STRIDE / 2
    assert scores[square].mean() > 5 * scores[~square].mean()
    y, x = np.unravel_index(scores.argmax(), scores.shape)
    assert square[y, x]


def test_extremes_are_those_of_the_image_not_of_its_padding() -> None:
    """The padding (mean colour) scores higher than the dark image, and must not set the scale."""
    training_module = Pooling()
    with torch.no_grad():
        training_module.mixture.weight.fill_(1.0)
        training_module.mixture.bias.fill_(8.0)
    image = np.zeros((17, 17, 3), np.uint8)
    image[:8] = 20
    item = Sample("dark", image, np.array([True, False, False, False]))
    found = extract(item, training_module, scales=(1.0,))
    assert 0.97 < full_size(found).max() < 1  # the image's last pixel; the node beyond it would be above 1, and is cut


def test_a_map_that_is_nowhere_positive_is_zero() -> None:
    training_module = Pooling()
    with torch.no_grad():
        training_module.mixture.bias.fill_(-100.0)
    assert extract(sample(40, 40, [0, 1]), training_module).scores.max() == 0
    assert extract(sample(40, 40, [0, 1]), training_module, activation="none").scores.max() == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_named(value: float) -> None:
    training_module = Pooling()
    with torch.no_grad():
        training_module.mixture.bias.fill_(value)
    with pytest.raises(RunError, match=r"2007_1.*not finite"):
        extract(sample(40, 40, [0]), training_module)


def test_channels_are_checked() -> None:
    with pytest.raises(RunError, match=r"Pooling.class_maps gives 7 channels, expected 4"):
        extract(sample(40, 40, [0]), Pooling(7))


def test_channels_last_changes_only_the_rounding() -> None:
    item = sample(45, 70, [0, 1])
    other = Extractor(Pooling(), MapsConfig(), STRIDE, channels_last=False)(item)
    assert np.abs(extract(item).scores.astype(int) - other.scores.astype(int)).max() <= 1
