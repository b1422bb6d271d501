"""Two workers with half of the batch each give what one worker gives with all of it."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing

from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.objective import FbrObjective
from wsss_platform.config import override
from wsss_platform.objective import Batch

CONFIG = override(
    FbrConfig(),
    {
        "backbone.weights": "none",
        "heads.projection": 8,
        "heads.dilations": [1],
        "heads.dropout": 0.0,
        "sampling.bank_size": 60,
        "sampling.negatives": 12,
    },
)
PICTURES = 4


def _batch(rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(PICTURES, 3, 64, 64, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    seed = torch.randint(0, 4, (PICTURES, 64, 64), generator=generator)
    seed[1] = 0  # the workers' shares have different numbers of foreground pixels
    valid = torch.ones(PICTURES, 64, 64, dtype=torch.bool)
    valid[0, 40:] = False
    ids = [str(index) for index in range(PICTURES)]
    return Batch(ids[rows], images[rows], labels[rows], valid[rows], {"seed": seed[rows]})


def _two_steps(rows: slice) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    objective = FbrObjective(CONFIG, 3).train()
    for _ in range(2):  # the second draws from a bank that both shares filled
        objective.zero_grad()
        terms = objective.losses(_batch(rows), 0.0)
        torch.stack(list(terms.values())).sum().backward()
    gradients = {f"gradient {n}": p.grad for n, p in objective.named_parameters() if p.grad is not None}
    return {**{f"term {name}": term.detach() for name, term in terms.items()}, **gradients} | {
        "bank": objective.contrast.bank().contents().clone()
    }


def _worker(rank: int, rendezvous: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    share = PICTURES // 2
    found = _two_steps(slice(rank * share, (rank + 1) * share))
    for name, value in found.items():
        if name != "bank":
            torch.distributed.all_reduce(value)
            value /= 2
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_workers_give_the_terms_gradients_and_bank_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    alone = _two_steps(slice(None))
    for rank in range(2):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert shared.keys() == alone.keys()
        for name, value in alone.items():
            scale = float(value.abs().max()) + 1e-12
            assert float((shared[name] - value).abs().max()) / scale < 1e-3, name
    assert float(alone["term intra_foreground"]) > 0
    assert float(alone["term negative_regions"]) > 0
