"""Views: equal for equal (seed, epoch, index), and everything in a view moves together."""

from __future__ import annotations

import pickle
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from wsss_platform.config import SampleConfig, TrainConfig
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sampler import EpochSampler
from wsss_platform.data.split import Sample
from wsss_platform.data.views import IMAGE_MEAN, IMAGE_STD, TrainViews, View, collate, draw, normalise, recolour
from wsss_platform.errors import InputError

DATA = SampleDataset(SampleConfig(train=12, val=1, size=64))
SPLIT, TRUTH = DATA.split("train"), DATA.truth("train")
TRAIN = TrainConfig(crop=64, resize_range=(0.5, 1.5), jitter=0.4)


class Flags:
    """One image whose colour at each pixel is the value of its mask: whatever a view does to both shows."""

    name, classes, ids, labels_from = "flags", ("a", "b"), ("flag",), "test"

    def __init__(self) -> None:
        self.truth = np.zeros((48, 64), np.uint8)
        self.truth[8:40, 4:36] = 1
        self.truth[20:30, 30:60] = 2

    def labels(self, id: str) -> NDArray[np.bool_]:
        return np.array([True, True])

    def read(self, id: str) -> Sample:
        return Sample(id, np.repeat(self.truth[:, :, None] * np.uint8(100), 3, axis=2), self.labels(id))

    def fingerprint(self) -> str:
        return ""

    def mask(self, id: str) -> NDArray[np.uint8]:
        return self.truth

    def maps(self, id: str) -> NDArray[np.float32]:
        return np.stack([np.zeros_like(self.truth), self.truth == 1, self.truth == 2]).astype(np.float32)


def equal(one: View, two: View) -> bool:
    same = one.id == two.id and one.extras.keys() == two.extras.keys()
    pairs = [(one.image, two.image), (one.valid, two.valid), (one.labels, two.labels)]
    pairs += [(one.extras[name], two.extras[name]) for name in one.extras]
    return same and all(torch.equal(a, b) for a, b in pairs)


def test_normalise_is_the_imagenet_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    expected = ((image / 255 - IMAGE_MEAN) / IMAGE_STD).transpose(2, 0, 1)
    assert normalise(image).dtype == np.float32
    assert normalise(image).flags.c_contiguous
    np.testing.assert_allclose(normalise(image), expected, atol=2e-6)


def test_a_view_depends_on_seed_epoch_and_index_alone() -> None:
    views = TrainViews(SPLIT, TRAIN, {"truth": TRUTH.mask}, seed=3)
    again = pickle.loads(pickle.dumps(views))
    for index in reversed(range(12)):
        assert equal(views[1, index], again[1, index])
    assert not equal(views[0, 5], views[1, 5])
    assert not equal(views[0, 5], TrainViews(SPLIT, TRAIN, {"truth": TRUTH.mask}, seed=4)[0, 5])
    assert len(views) == 12


def test_loader_workers_give_the_same_views() -> None:
    views, sampler = TrainViews(SPLIT, TRAIN, {"truth": TRUTH.mask}), EpochSampler(12, 5, 0).at(2)
    batches = [
        list(DataLoader(views, batch_sampler=sampler, collate_fn=collate, num_workers=workers)) for workers in (0, 2)
    ]
    for alone, shared in zip(*batches, strict=True):
        assert alone.ids == shared.ids
        assert torch.equal(alone.images, shared.images)
        assert torch.equal(alone.extras["truth"], shared.extras["truth"])


def test_shapes_and_types_of_a_batch() -> None:
    flags = Flags()
    views = TrainViews(flags, TRAIN, {"truth": flags.mask, "maps": flags.maps})
    batch = collate([views[0, 0], views[1, 0]])
    assert batch.ids == ["flag", "flag"]
    assert (batch.images.shape, batch.images.dtype) == ((2, 3, 64, 64), torch.float32)
    assert (batch.labels.shape, batch.labels.dtype) == ((2, 2), torch.float32)
    assert (batch.valid.shape, batch.valid.dtype) == ((2, 64, 64), torch.bool)
    assert (batch.extras["truth"].shape, batch.extras["truth"].dtype) == ((2, 64, 64), torch.int64)
    assert (batch.extras["maps"].shape, batch.extras["maps"].dtype) == ((2, 3, 64, 64), torch.float32)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.9), (1.1, 2.0)])
@pytest.mark.parametrize("epoch", range(6))
def test_image_mask_and_maps_move_together(scale: tuple[float, float], epoch: int) -> None:
    flags = Flags()
    train = TrainConfig(crop=40, resize_range=scale)
    view = TrainViews(flags, train, {"truth": flags.mask, "maps": flags.maps})[epoch, 0]
    truth, valid = view.extras["truth"].numpy(), view.valid.numpy()
    red = view.image[0].numpy() * IMAGE_STD[0] + IMAGE_MEAN[0]
    shown = np.rint(red * 2.55)  # 0, 1 or 2, but between them on borders
    assert (truth[~valid] == 255).all()
    assert (truth[valid] != 255).all()
    border = cv2.morphologyEx(np.where(valid, truth, 0).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    inner = valid & ~border
    inner[[0, -1]] = inner[:, [0, -1]] = False  # what lies beyond the crop's rim is not known here
    assert np.array_equal(shown[inner], truth[inner])
    assert np.array_equal(view.extras["maps"].numpy().argmax(axis=0)[inner], truth[inner])
    if scale == (1.0, 1.0):
        assert np.array_equal(shown[valid], truth[valid])


def test_padding_is_the_mean_colour_also_with_jitter() -> None:
    flags = Flags()
    train = TrainConfig(crop=96, resize_range=(1.0, 1.0), jitter=1.0)
    view = TrainViews(flags, train, {"truth": flags.mask, "maps": flags.maps})[0, 0]
    assert int(view.valid.sum()) == 48 * 64
    assert (view.image[:, ~view.valid] == 0).all()
    assert (view.extras["truth"][~view.valid] == 255).all()
    assert (view.extras["maps"][:, ~view.valid] == 0).all()
    rows, columns = view.valid.any(dim=1).nonzero(), view.valid.any(dim=0).nonzero()
    assert len(rows) == 48
    assert len(columns) == 64


def test_jitter_moves_no_crop_and_leaves_extras() -> None:
    flags = Flags()
    plain, coloured = (
        TrainViews(flags, TrainConfig(crop=40, resize_range=(0.5, 1.5), jitter=jitter), {"truth": flags.mask})
        for jitter in (0.0, 0.5)
    )
    for epoch in range(5):
        assert torch.equal(plain[epoch, 0].extras["truth"], coloured[epoch, 0].extras["truth"])
        assert not torch.equal(plain[epoch, 0].image, coloured[epoch, 0].image)


def test_flip_mirrors_about_half_of_the_views() -> None:
    draws = [draw(TrainConfig(), 300, 400, np.random.default_rng(seed)).flip for seed in range(400)]
    assert 160 < sum(draws) < 240
    assert not any(draw(TrainConfig(flip=False), 300, 400, np.random.default_rng(seed)).flip for seed in range(50))


@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    side=st.integers(16, 512),
    seed=st.integers(0, 10_000),
    long_side=st.booleans(),
)
def test_drawn_crops_lie_in_the_image_or_hold_it(
    height: int, width: int, side: int, seed: int, long_side: bool
) -> None:
    how: dict[str, Any] = {"resize": "long_side", "resize_range": (64, 320)} if long_side else {}
    view = draw(TrainConfig(crop=side, **how), height, width, np.random.default_rng(seed))
    if long_side:
        assert 64 <= max(view.height, view.width) <= 320
    for length, start in ((view.height, view.top), (view.width, view.left)):
        assert (0 <= start <= length - side) if length >= side else (0 <= -start <= side - length)


def test_every_position_can_be_drawn() -> None:
    train = TrainConfig(crop=16, resize_range=(1.0, 1.0))
    tops = {draw(train, 18, 14, np.random.default_rng(seed)).top for seed in range(200)}
    lefts = {draw(train, 18, 14, np.random.default_rng(seed)).left for seed in range(200)}
    assert (tops, lefts) == ({0, 1, 2}, {0, -1, -2})


def test_recolour_against_its_definitions() -> None:
    image = np.random.default_rng(1).integers(30, 200, (6, 7, 3), dtype=np.uint8)
    valid = np.ones((6, 7), np.uint8)
    assert np.array_equal(recolour(image, valid, (1.0, 1.0, 1.0, 0.0)), image)
    assert np.abs(recolour(image, valid, (1.2, 1.0, 1.0, 0.0)) - image * 1.2).max() <= 0.51
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    assert np.abs(recolour(image, valid, (1.0, 1.0, 0.0, 0.0)) - grey[:, :, None]).max() <= 1.01
    assert np.abs(recolour(image, valid, (1.0, 0.0, 1.0, 0.0)) - grey.mean()).max() <= 1.01
    turned = recolour(image, valid, (1.0, 1.0, 1.0, 1 / 3))
    assert np.abs(turned.astype(int) - np.roll(image, 1, axis=2)).max() <= 5  # red becomes green
    valid[:3] = 0
    assert np.abs(recolour(image, valid, (1.0, 0.0, 1.0, 0.0))[3:] - grey[3:].mean()).max() <= 1.01


def test_extra_of_another_size_names_image_and_extra() -> None:
    views = TrainViews(SPLIT, TRAIN, {"seed": lambda id: np.zeros((3, 3), np.uint8)})
    with pytest.raises(InputError, match="seed of image train_00004"):
        views[0, 4]
    wrong = TrainViews(SPLIT, TRAIN, {"seed": lambda id: np.zeros(SPLIT.size(id), np.float32)})
    with pytest.raises(TypeError, match="expected uint8"):
        wrong[0, 4]
