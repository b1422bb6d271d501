"""Real photographs of PASCAL VOC 2012, where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss_platform.config import DataConfig, TrainConfig
from wsss_platform.data.check import check
from wsss_platform.data.views import TrainViews
from wsss_platform.data.voc import VocDataset
from wsss_platform.errors import InputError

pytestmark = pytest.mark.voc


@pytest.fixture(scope="module")
def dataset(photographs: Path) -> VocDataset:
    return VocDataset(DataConfig(kind="voc12", root=str(photographs)))


def test_lists_and_labels(dataset: VocDataset) -> None:
    lists = dict(dataset.lists())
    if lists.get("train_bal") is None:
        pytest.skip("a full VOC tree, not the subset with balanced lists")
    assert {name: lists[name] for name in ("train", "val", "train_bal", "val_bal")} == {
        "train": 663, "val": 343, "train_bal": 446, "val_bal": 224,
    }  # fmt: skip
    for name, length in lists.items():
        split, truth = dataset.split(name), dataset.truth(name)
        assert len(split.ids) == length
        assert split.ids == truth.ids
        assert split.vectors.any(axis=1).all()
    assert not set(dataset.split("train").ids) & set(dataset.split("val").ids)
    assert dataset.split("train").labels("2007_000032").nonzero()[0].tolist() == [0, 14]


def test_labels_agree_with_masks_where_the_json_was_made_from_them(photographs: Path, dataset: VocDataset) -> None:
    derived = VocDataset(DataConfig(kind="voc12", root=str(photographs), labels="masks")).split("val_bal")
    named = dataset.split("val_bal")
    assert derived.labels_from == "masks (ground truth)"
    assert (derived.vectors != named.vectors).mean() < 0.02


def test_every_file_of_a_list_decodes(dataset: VocDataset) -> None:
    assert check(dataset, "val_bal") == []


def test_the_folder_above_is_a_hint(photographs: Path) -> None:
    with pytest.raises(InputError, match="did you mean"):
        VocDataset(DataConfig(kind="voc12", root=str(photographs.parent)))


def test_a_view_of_a_photograph_and_its_mask(dataset: VocDataset) -> None:
    split, truth = dataset.split("train_bal"), dataset.truth("train_bal")
    train = TrainConfig(crop=128, resize="long_side", resize_range=(96, 256), jitter=0.4)
    view = TrainViews(split, train, {"truth": truth.mask}, 0)[0, 3]
    shown = np.unique(view.extras["truth"].numpy())
    allowed = {0, 255, *(np.flatnonzero(split.labels(view.id)) + 1).tolist()}
    assert set(shown.tolist()) <= allowed
    assert (view.extras["truth"][~view.valid] == 255).all()
