"""Two workers with half of the batch each give what one worker gives with all of it, on every host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

import wsss_methods
from two_workers import leave
from wsss_platform.config import override
from wsss_platform.method.module import Batch

pytestmark = pytest.mark.slow

IMAGES = 4
SMALL = {
    "backbone.weights": "none",
    "heads.projection": 8,
    "sampling.bank_size": 60,
    "sampling.negatives": 12,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fbr": ("fbr", {"heads.dilations": [1], "heads.dropout": 0.0}),
    "fbr_cam": ("fbr_cam", {}),
    "fbr_s": ("fbr_s", {"heads.dropout": 0.0, "host.small": 48}),
    "fbr_s released": (
        "fbr_s",
        {"heads.dropout": 0.0, "host.small": 48, "sampling.variant": "as_released"},
    ),
}


def _batch(rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, 64, 64, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    seed = torch.randint(0, 4, (IMAGES, 64, 64), generator=generator)
    seed[1] = 0  # the workers' shares have different numbers of foreground pixels
    valid = torch.ones(IMAGES, 64, 64, dtype=torch.bool)
    valid[0, 40:] = False
    saliency = torch.rand(IMAGES, 1, 64, 64, generator=generator)
    ids = [str(index) for index in range(IMAGES)]
    extras = {"seed": seed[rows], "saliency": saliency[rows]}
    return Batch(ids[rows], images[rows], labels[rows], valid[rows], extras)


def _two_steps(case: str, rows: slice) -> dict[str, Tensor]:
    torch.set_num_threads(1)
    name, changes = CASES[case]
    method = wsss_methods.get(name)
    config = override(method.config(), {**SMALL, **changes})
    torch.manual_seed(0)
    module = method.phases(config)[-1].build(config, 3).train()
    for _ in range(2):  # the second draws from a bank that both shares filled
        module.zero_grad()
        terms = module.losses(_batch(rows), 0.0)
        torch.stack(list(terms.values())).sum().backward()
    gradients = {f"gradient {n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
    banks = {name: value.clone() for name, value in module.state_dict().items() if "bank" in name}
    return {**{f"term {name}": term.detach() for name, term in terms.items()}, **gradients, **banks}


def _worker(rank: int, rendezvous: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    share = IMAGES // 2
    for case in CASES:
        found = _two_steps(case, slice(rank * share, (rank + 1) * share))
        for name, value in found.items():
            if "bank" not in name:
                torch.distributed.all_reduce(value)
                value /= 2
        torch.save(found, f"{folder}/{case}-{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(_worker, (str(folder / "rendezvous"), str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_workers_give_the_terms_gradients_and_banks_of_one(shared: Path, case: str) -> None:
    alone = _two_steps(case, slice(None))
    for rank in range(2):
        found = torch.load(shared / f"{case}-{rank}.pt", weights_only=True)
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            scale = float(value.abs().max()) + 1e-12
            assert float((found[name] - value).abs().max()) / scale < 1e-3, name
    assert sum("vectors" in name for name in alone) == (2 if case.startswith("fbr_s") else 1)
    assert float(alone["term intra_foreground"]) > 0
    assert float(alone["term negative_regions"]) > 0
