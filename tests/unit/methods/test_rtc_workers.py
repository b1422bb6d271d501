"""Two workers with half of the batch each give RTC's terms and gradients of one worker with all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

import wsss_methods
from short_training import short_job, train, train_beside
from two_workers import leave
from wsss_platform.config import override
from wsss_platform.method.module import Batch
from wsss_platform.train.checkpoint import STATE, read_torch

pytestmark = pytest.mark.slow

IMAGES = 4
SMALL: dict[str, Any] = {
    "backbone.weights": "none",
    "heads.embedding": 16,
    "heads.dropout": 0.0,
    "heads.widths": [12, 8, 4],
    "views.small": 48,
    "segmentation.dilations": [1],
    "segmentation.iterations": 1,
}
CASES: dict[str, dict[str, Any]] = {
    "released": {"segmentation.start": 0},
    "labelled": {"segmentation.start": 0, "contrast.members": "labelled"},
    "before segmentation": {"segmentation.start": 5},
}


def _batch(rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, 64, 64, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    valid = torch.ones(IMAGES, 64, 64, dtype=torch.bool)
    valid[0, 40:] = False
    ids = [str(index) for index in range(IMAGES)]
    return Batch(ids[rows], images[rows], labels[rows], valid[rows])


def _step(case: str, rows: slice) -> dict[str, Tensor]:
    torch.set_num_threads(1)
    rtc = wsss_methods.get("rtc")
    config = override(rtc.config(), {**SMALL, **CASES[case]})
    torch.manual_seed(0)
    module = rtc.phases(config)[0].build(config, 3).train()
    terms = module.losses(_batch(rows), 0.5)
    torch.stack(list(terms.values())).sum().backward()
    gradients = {f"gradient {n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    return {**{f"term {name}": term.detach() for name, term in terms.items()}, **gradients}


LEARNING = {
    **SMALL,
    "views.small": 32,
    "train.optimiser": "sgd",
    "train.learning_rate": 1e-3,
    "segmentation.start": 1,
    "segmentation.confident_foreground": 0.3,
    "segmentation.confident_background": 0.2,
}
"""An epoch in which the segmentation head has no loss of its own, and two with all terms."""


def _worker(rank: int, rendezvous: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    share = IMAGES // 2
    for case in CASES:
        found = _step(case, slice(rank * share, (rank + 1) * share))
        for value in found.values():
            torch.distributed.all_reduce(value)
            value /= 2
        torch.save(found, f"{folder}/{case}-{rank}.pt")
    losses = train_beside(rank, short_job("rtc", LEARNING), Path(folder) / "trained")
    torch.save(losses, f"{folder}/losses-{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rtc-workers")
    torch.multiprocessing.spawn(_worker, (str(folder / "rendezvous"), str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_workers_are_as_one(case: str, shared: Path) -> None:
    alone = _step(case, slice(None))
    for rank in range(2):
        together = torch.load(shared / f"{case}-{rank}.pt", weights_only=True)
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
        rest = together.keys() - alone.keys()
        assert not any(together[name].any() for name in rest), "what only workers have is a gradient of zero"
        assert (case == "before segmentation") == bool(rest)


def test_the_shares_alone_are_not_the_whole() -> None:
    """Or the test above would prove nothing: prototypes of half a batch give other terms."""
    alone = _step("released", slice(None))
    halves = [_step("released", slice(0, 2)), _step("released", slice(2, 4))]
    mean = (halves[0]["term intra"] + halves[1]["term intra"]) / 2
    assert abs(float(mean - alone["term intra"])) > 1e-4


def test_a_training_of_two_workers_is_that_of_one(shared: Path, tmp_path: Path) -> None:
    alone = train(short_job("rtc", LEARNING), tmp_path)
    assert alone[0]["segmentation"] == 0 < alone[2]["segmentation"]
    for rank in range(2):
        for mine, theirs in zip(torch.load(shared / f"losses-{rank}.pt", weights_only=True), alone, strict=True):
            assert mine == pytest.approx(theirs, rel=2e-3, abs=1e-5)
    together, wanted = (
        read_torch(shared / "trained" / "3" / STATE)["model"],
        read_torch(tmp_path / "3" / STATE)["model"],
    )
    torch.testing.assert_close(together, wanted, rtol=1e-3, atol=1e-4)
