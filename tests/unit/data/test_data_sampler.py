"""The order of images: ranks partition each batch, epochs cover the list, any step can be the first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from wsss_platform.data.sampler import EpochSampler
from wsss_platform.errors import InputError

sizes = {
    "length": st.integers(1, 60),
    "share": st.integers(1, 7),
    "world": st.integers(1, 4),
    "seed": st.integers(0, 2**32),
    "epoch": st.integers(0, 1000),
}


@given(**sizes)
def test_ranks_put_together_are_the_one_process_batches(
    length: int, share: int, world: int, seed: int, epoch: int
) -> None:
    batch = share * world
    ranks = [list(EpochSampler(length, batch, seed, rank, world).at(epoch)) for rank in range(world)]
    alone = list(EpochSampler(length, batch, seed).at(epoch))
    assert [[key for rank in ranks for key in rank[step]] for step in range(len(alone))] == alone
    assert {len(rank) for rank in ranks} == {len(alone)} == {-(-length // batch)}
    assert all(len(keys) == share for rank in ranks for keys in rank)


@given(**sizes)
def test_every_image_is_seen_and_only_the_last_batch_repeats(
    length: int, share: int, world: int, seed: int, epoch: int
) -> None:
    batch = share * world
    sampler = EpochSampler(length, batch, seed).at(epoch)
    keys = [key for step in sampler for key in step]
    assert {key[0] for key in keys} == {epoch}
    order = [index for _, index in keys]
    assert sorted(order[:length]) == list(range(length))
    assert order[length:] == (order * batch)[: len(order) - length]
    assert len(order) == sampler.steps_per_epoch * batch < length + batch


@given(**sizes, data=st.data())
def test_starting_at_a_step_gives_the_rest(
    length: int, share: int, world: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    sampler = EpochSampler(length, share * world, seed, world - 1, world)
    whole = list(sampler.at(epoch))
    step = data.draw(st.integers(0, len(whole)))
    assert len(sampler.at(epoch, step)) == len(whole) - step
    assert list(sampler) == whole[step:]


def test_order_is_shuffled_by_seed_and_epoch() -> None:
    orders = {(seed, epoch): tuple(EpochSampler(50, 10, seed).order(epoch)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(set(orders.values())) == 4
    assert orders[0, 0] == tuple(EpochSampler(50, 10, 0).order(0))
    assert orders[0, 0] != tuple(range(50))


@pytest.mark.parametrize(("length", "batch", "world"), [(10, 5, 2), (10, 0, 1), (0, 4, 1)])
def test_batches_that_cannot_be_split(length: int, batch: int, world: int) -> None:
    with pytest.raises(InputError, match=r"train\.batch: .* split evenly over|split is empty"):
        EpochSampler(length, batch, 0, 0, world)


def test_a_loader_takes_it_as_its_batch_sampler() -> None:
    class Echo:
        def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
            return key

    sampler = EpochSampler(10, 4, 0).at(3, 1)
    loader = DataLoader(Echo(), batch_sampler=sampler, collate_fn=list)  # type: ignore[arg-type, var-annotated]
    assert list(loader) == list(sampler)
    assert len(loader) == 2
    assert np.shape(list(sampler)) == (2, 4, 2)
