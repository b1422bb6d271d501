"""Parts of a list: who is held out, and that the ground truth of the others cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.data import open_data
from wsss_platform.data.part import PartedDataset, held_out, part_name, spread
from wsss_platform.errors import InputError

DATA = PartedDataset(open_data(DataConfig(sample=SampleConfig(train=40, val=6, size=64))))


def test_held_out_has_so_many_of_each_class_and_the_rest_is_the_rest() -> None:
    whole, few, rest = (DATA.split(name) for name in ("train", "train:held-out-2", "train:rest-2"))
    labels = np.array([few.labels(name) for name in few.ids])
    there = np.array([whole.labels(name) for name in whole.ids]).sum(0)
    assert np.all(labels.sum(0) >= np.minimum(2, there))
    assert len(few.ids) <= 2 * len(whole.classes)
    assert set(few.ids) | set(rest.ids) == set(whole.ids)
    assert not set(few.ids) & set(rest.ids)
    assert list(few.ids) == [name for name in whole.ids if name in set(few.ids)]
    assert few.name == "train:held-out-2"
    assert set(held_out(whole, 1)) < set(few.ids)


def test_the_choice_knows_no_masks_and_no_order() -> None:
    whole = DATA.split("train")

    class Backwards:
        classes, ids, labels = whole.classes, tuple(reversed(whole.ids)), staticmethod(whole.labels)

    assert set(held_out(Backwards(), 3)) == set(held_out(whole, 3))  # type: ignore[arg-type]


def test_the_truth_of_the_others_is_refused() -> None:
    few, rest = DATA.split("train:held-out-2"), DATA.split("train:rest-2")
    truth = DATA.truth("train:held-out-2")
    assert truth.mask(few.ids[0]).ndim == 2
    with pytest.raises(InputError, match="is not in train:held-out-2"):
        truth.mask(rest.ids[0])
    with pytest.raises(InputError, match="not in the split train:rest-2"):
        rest.read(few.ids[0])


def test_parts_have_fingerprints_of_their_own() -> None:
    names = ("train", "train:held-out-2", "train:rest-2", "train:held-out-3", "train:spread-7")
    for kind in (DATA.split, DATA.truth):
        assert len({kind(name).fingerprint() for name in names}) == len(names)
    assert DATA.split("train").fingerprint() == DATA.whole.split("train").fingerprint()  # keys stay


def test_wrong_names_are_told() -> None:
    with pytest.raises(InputError, match="did you mean 'rest'"):
        DATA.split("train:rets-2")
    with pytest.raises(InputError, match="at least 1"):
        DATA.split("train:held-out-0")
    with pytest.raises(InputError, match="did you mean 'train'"):
        DATA.split("trian:rest-2")
    with pytest.raises(InputError, match="all 40 images are held out"):
        DATA.split("train:rest-40")
    assert part_name("train", "spread", 3) == "train:spread-3"


def test_spread_is_even() -> None:
    assert spread("abcdef", 3) == ("a", "c", "e")
    assert len(DATA.split("train:spread-7").ids) == 7


def test_a_list_is_read_once_however_many_chunks_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    whole = open_data(DataConfig(sample=SampleConfig(train=40)))
    for what in ("split", "truth"):
        read = getattr(whole, what)
        monkeypatch.setattr(whole, what, lambda name, read=read, what=what: reads.append(what) or read(name))
    data = PartedDataset(whole)
    for _ in range(3):
        for name in ("train", "train:spread-8"):
            assert data.split(name).ids == data.truth(name).ids
    assert sorted(reads) == ["split", "truth"]
