"""Two workers with half of the batch each give what one worker gives with all of it: terms, gradients, SupportNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

from short_training import short_job, train, train_beside
from two_workers import leave
from wsss_methods.rcm_mam.config import RcmMamConfig
from wsss_methods.rcm_mam.module import RcmMamModule
from wsss_platform.config import override
from wsss_platform.method.module import Batch
from wsss_platform.train.checkpoint import STATE, read_torch

pytestmark = pytest.mark.slow

IMAGES = 4
SMALL = {"backbone.weights": "none", "heads.features": 16, "support.warm_up": 0, "support.ramp": 0, "support.ema": 0.5}
CASES: dict[str, dict[str, Any]] = {
    "batch": {},
    "image": {"regions.pool": "image", "attention.one_sided": True},
    "all": {"heads.projection": 8, "attention.main_scales": "all", "regions.background": 0.4},
}


def _batch(rows: slice) -> Batch:
    """The first worker's images are padded and have other classes, so that regions differ in kind and number."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, 64, 64, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[1.0, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    valid = torch.ones(IMAGES, 64, 64, dtype=torch.bool)
    valid[:2, 30:] = False
    return Batch([str(i) for i in range(IMAGES)][rows], images[rows], labels[rows], valid[rows])


def _two_steps(case: str, rows: slice, share: int) -> dict[str, Tensor]:
    """Terms and gradients of the second step, and SupportNet after it; the gradients are those of all workers.

    In float64: regions and maxima are decided by comparisons, and in float32 a rounding can turn one and with it a
    percent of a gradient.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = RcmMamModule(override(RcmMamConfig(), {**SMALL, **CASES[case]}), 3).double().train()
    for _ in range(2):
        module.zero_grad()
        terms = module.losses(_batch(rows), 0.5)
        torch.stack(list(terms.values())).sum().backward()
        for parameter in module.main.parameters():
            if parameter.grad is not None:
                _mean(parameter.grad, share)
                with torch.no_grad():
                    parameter -= 1e-3 * parameter.grad
        module.after_step()
    found = {f"term {name}": _mean(term.detach(), share) for name, term in terms.items()}
    found |= {f"gradient {n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    return found | {n: v.clone() for n, v in module.state_dict().items() if n.startswith("support.network.")}


def _mean(value: Tensor, share: int) -> Tensor:
    if share < IMAGES:
        torch.distributed.all_reduce(value)
        value /= IMAGES // share
    return value


LEARNING = {
    **SMALL,
    "train.optimiser": "sgd",
    "train.learning_rate": 1e-3,
    "support.warm_up": 1,
    "heads.projection": 8,
    "attention.scales": [0.5, 1.0],
}
"""An epoch of warm-up, in which the projection has no loss of its own, and two with both terms."""


def _worker(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    share = IMAGES // 2
    for case in CASES:
        torch.save(_two_steps(case, slice(rank * share, (rank + 1) * share), share), folder / f"{case}-{rank}.pt")
    losses = train_beside(rank, short_job("rcm_mam", LEARNING), folder / "trained")
    torch.save(losses, folder / f"losses-{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(_worker, (folder,), nprocs=2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_workers_give_the_terms_gradients_and_supportnet_of_one(shared: Path, case: str) -> None:
    alone = _two_steps(case, slice(None), IMAGES)
    for rank in range(2):
        found = torch.load(shared / f"{case}-{rank}.pt", weights_only=True)
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            scale = float(value.abs().max()) + 1e-12
            assert float((found[name] - value).abs().max()) / scale < 1e-6, name
    assert min(float(value) for name, value in alone.items() if name.startswith("term ")) > 0


def test_each_workers_own_share_is_another_task() -> None:
    """The first test can fail: prototypes of half of the batch give another contrast."""
    alone = _two_steps("batch", slice(None), IMAGES)
    halves = []
    for rows in (slice(0, 2), slice(2, 4)):
        torch.manual_seed(0)
        module = RcmMamModule(override(RcmMamConfig(), SMALL), 3).double().train()
        halves.append(float(module.losses(_batch(rows), 0.5)["regional_contrast"].detach()))
    assert sum(halves) / 2 != pytest.approx(float(alone["term regional_contrast"]), rel=0.05)


def test_a_training_of_two_workers_is_that_of_one(shared: Path, tmp_path: Path) -> None:
    alone = train(short_job("rcm_mam", LEARNING), tmp_path)
    for rank in range(2):
        for mine, theirs in zip(torch.load(shared / f"losses-{rank}.pt", weights_only=True), alone, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6)
    assert alone[0]["regional_contrast"] == 0 < alone[2]["regional_contrast"]
    together, wanted = (
        read_torch(shared / "trained" / "3" / STATE)["model"],
        read_torch(tmp_path / "3" / STATE)["model"],
    )
    torch.testing.assert_close(together, wanted, rtol=1e-3, atol=1e-4)
