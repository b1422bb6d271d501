"""The generated set: deterministic, exact, and really showing what it is made to show."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.data import open_data
from wsss_platform.data.sample.dataset import CLASSES, SampleDataset
from wsss_platform.data.sample.scene import CONTEXTS, lay_out, rasterise
from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError

DATA = SampleDataset(SampleConfig(train=90, val=30))
SPLIT, TRUTH = DATA.split("train"), DATA.truth("train")


def test_equal_parameters_give_equal_bytes() -> None:
    again = open_data(DataConfig(sample=SampleConfig(train=90, val=30)))
    for id in reversed(SPLIT.ids[:20]):
        assert np.array_equal(SPLIT.read(id).image, again.split("train").read(id).image)
        assert np.array_equal(TRUTH.mask(id), again.truth("train").mask(id))
    longer = SampleDataset(SampleConfig(train=900)).split("train")
    assert np.array_equal(longer.read("train_00007").image, SPLIT.read("train_00007").image)


def test_lists_and_seeds_give_other_images() -> None:
    images = {SPLIT.read(id).image.tobytes() for id in SPLIT.ids[:30]}
    val = DATA.split("val")
    images |= {val.read(id).image.tobytes() for id in val.ids[:30]}
    other = SampleDataset(SampleConfig(seed=1)).split("train")
    images |= {other.read(id).image.tobytes() for id in other.ids[:30]}
    assert len(images) == 90
    assert not set(SPLIT.ids) & set(val.ids)
    assert dict(DATA.lists()) == {"train": 90, "val": 30}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([48, 64, 128, 200, 600]),
    difficulty=st.floats(0, 1),
    co_occurrence=st.floats(0, 1),
    list_name=st.sampled_from(["train", "val"]),
)
def test_image_and_truth_fit(seed: int, size: int, difficulty: float, co_occurrence: float, list_name: str) -> None:
    config = SampleConfig(seed=seed, size=size, difficulty=difficulty, co_occurrence=co_occurrence, train=9, val=9)
    data = SampleDataset(config)
    split, truth = data.split(list_name), data.truth(list_name)
    id = split.ids[seed % 9]
    sample, mask, parts, instances, boxes = (
        split.read(id), truth.mask(id), truth.parts(id), truth.instances(id), truth.boxes(id),
    )  # fmt: skip
    assert check_id(id, "") == sample.id == id
    assert (sample.image.dtype, sample.image.shape) == (np.uint8, (*mask.shape, 3))
    assert split.size(id) == mask.shape
    assert max(mask.shape) == size
    assert min(mask.shape) >= round(0.75 * size)
    assert np.array_equal(np.isin(np.arange(1, 7), mask), sample.labels)
    assert np.array_equal(sample.labels, split.labels(id))
    assert 1 <= sample.labels.sum() <= 3
    assert ((mask > 0) == (parts > 0)).all()
    assert ((mask > 0) == (instances > 0)).all()
    assert not (truth.context(id) & (mask > 0)).any()
    assert len(boxes) == instances.max() >= sample.labels.sum()
    for number, (label, left, top, right, bottom) in enumerate(boxes.tolist(), start=1):
        inside = instances == number
        assert inside.any()
        assert (mask[inside] == label + 1).all()
        assert inside[top:bottom, left:right].sum() == inside.sum()
        assert inside[top].any()
        assert inside[bottom - 1].any()
        assert inside[:, left].any()
        assert inside[:, right - 1].any()
        assert (parts[inside] == 1).any()  # no emblem is ever hidden


def test_objects_have_many_scales_and_a_small_discriminative_part() -> None:
    longest, shares, per_image = [], [], Counter()
    for id in SPLIT.ids:
        parts, instances = TRUTH.parts(id), TRUTH.instances(id)
        per_image[int(SPLIT.labels(id).sum())] += 1
        for number, (_, left, top, right, bottom) in enumerate(TRUTH.boxes(id).tolist(), start=1):
            longest.append(max(right - left, bottom - top) / min(parts.shape))
            shares.append((parts[instances == number] == 1).mean())
    assert min(longest) < 0.16
    assert max(longest) > 0.62
    assert 0.08 < np.median(shares) < 0.35
    assert per_image.keys() == {1, 2, 3}
    assert len(longest) > 1.5 * len(SPLIT.ids)


def test_bodies_do_not_tell_the_class_and_emblems_do() -> None:
    """Nearest class mean of an instance's colour, each left out in turn: emblems far above chance, bodies near it."""
    data = SampleDataset(SampleConfig(train=150))
    split, truth = data.split("train"), data.truth("train")
    rows: list[tuple[int, np.ndarray, np.ndarray]] = []
    for id in split.ids:
        image, parts, instances = split.read(id).image.astype(float), truth.parts(id), truth.instances(id)
        for number, (label, *_) in enumerate(truth.boxes(id).tolist(), start=1):
            head, body = (instances == number) & (parts == 1), (instances == number) & (parts == 2)
            if head.sum() > 20 and body.sum() > 20:
                rows.append((label, image[head].mean(axis=0), image[body].mean(axis=0)))
    labels = np.array([row[0] for row in rows])

    def accuracy(colours: np.ndarray) -> float:
        right = 0
        for index, colour in enumerate(colours):
            others = np.arange(len(colours)) != index
            means = [colours[others & (labels == label)].mean(axis=0) for label in range(6)]
            right += int(np.argmin([np.linalg.norm(colour - mean) for mean in means])) == labels[index]
        return right / len(colours)

    heads, bodies = accuracy(np.array([row[1] for row in rows])), accuracy(np.array([row[2] for row in rows]))
    assert heads > 0.6, (heads, bodies)
    assert bodies < 0.3, (heads, bodies)


@pytest.mark.parametrize("rate", [0.0, 0.6, 0.9, 1.0])
def test_context_follows_its_class_at_the_given_rate(rate: float) -> None:
    config = SampleConfig(train=1, co_occurrence=rate)
    together: list[bool] = []
    apart: list[bool] = []
    for index in range(400):
        scene = lay_out(config, "train", index)
        for label in CONTEXTS:
            (together if scene.labels[label] else apart).append(bool((scene.ground == 2 + label).any()))
    assert abs(np.mean(together) - rate) < 0.06
    assert abs(np.mean(apart) - 0.25 * (1 - rate)) < 0.04


def test_objects_mostly_stand_on_their_context() -> None:
    config, on, off = SampleConfig(), 0, 0
    for index in range(200):
        scene = lay_out(config, "train", index)
        for thing in scene.things:
            if thing.label in scene.contexts:
                left, top, right, bottom = thing.shape.box
                middle = scene.ground[(top + bottom) // 2, (left + right) // 2]
                on, off = on + (middle == 2 + thing.label), off + (middle != 2 + thing.label)
    assert on > 8 * off


def test_context_mask_covers_contexts_of_present_classes_only() -> None:
    config = SampleConfig(train=1, co_occurrence=0.5)
    alone = 0
    truth = SampleDataset(SampleConfig(train=100, co_occurrence=0.5)).truth("train")
    for index in range(100):
        scene = lay_out(config, "train", index)
        context, mask = truth.context(f"train_{index:05d}"), rasterise(scene).mask
        for label in CONTEXTS:
            area = (scene.ground == 2 + label) & (mask == 0)
            assert (context[area] == scene.labels[label]).all()
            alone += bool(area.any() and not scene.labels[label])
        assert not context[scene.ground < 2].any()
    assert alone > 0


def test_context_looks_unlike_the_other_backgrounds() -> None:
    """Mean colour and roughness of the pixels; a nearest-mean rule tells water, rails, meadow and the rest apart."""
    features: dict[int, list[np.ndarray]] = {0: [], 2: [], 3: [], 4: []}
    for id in SPLIT.ids:
        image, scene, mask = SPLIT.read(id).image.astype(float), SPLIT.scene(id), TRUTH.mask(id)
        for kind in features:
            area = (scene.ground == kind) & (mask == 0)
            if area.sum() > 300:
                pixels = image[area]
                features[kind].append(np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)]))
    means = {kind: np.mean(rows, axis=0) for kind, rows in features.items()}
    for kind in (2, 3, 4):
        hits = [min(means, key=lambda other: np.linalg.norm(row - means[other])) == kind for row in features[kind]]
        assert np.mean(hits) > 0.6, (kind, np.mean(hits))


def test_difficulty_adds_noise_but_moves_nothing() -> None:
    easy, hard = (SampleDataset(SampleConfig(difficulty=difficulty)) for difficulty in (0.0, 1.0))

    def roughness(data: SampleDataset, id: str) -> float:
        image = data.split("train").read(id).image.astype(float)
        return float(np.abs(np.diff(image, axis=1)).mean())

    for id in SPLIT.ids[:12]:
        assert np.array_equal(easy.truth("train").mask(id), hard.truth("train").mask(id))
        assert roughness(easy, id) < roughness(hard, id)


def test_protocols_fingerprints_and_pickle() -> None:
    assert SPLIT.classes == TRUTH.classes == CLASSES
    assert all(name.isalpha() for name in CLASSES)
    assert SPLIT.labels_from == "generator"
    prints = {thing.fingerprint() for thing in (SPLIT, TRUTH, DATA.split("val"), DATA.truth("val"))}
    assert len(prints) == 4
    for change in ({"seed": 1}, {"difficulty": 0.6}, {"co_occurrence": 0.9}, {"size": 96}):
        other = SampleDataset(SampleConfig(**{"train": 90, "val": 30, **change}))  # type: ignore[arg-type]
        assert other.split("train").fingerprint() not in prints
    again = pickle.loads(pickle.dumps(SPLIT))
    assert again == SPLIT
    assert len(pickle.dumps(SPLIT)) < 8_000
    assert again.fingerprint() == SPLIT.fingerprint()


@pytest.mark.parametrize("id", ["train_00090", "val_00000", "train_0", "train_-0001", "../train_00000", "train_٠٠٠٠٠"])
def test_ids_that_do_not_exist(id: str) -> None:
    with pytest.raises(InputError, match="has no image"):
        SPLIT.read(id)


def test_unknown_list_suggests_one() -> None:
    with pytest.raises(InputError, match="unknown split 'trian'; did you mean 'train'"):
        DATA.split("trian")
    with pytest.raises(InputError, match="unknown split"):
        DATA.truth("test")
