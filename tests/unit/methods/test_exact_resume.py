"""A training that was interrupted goes on bit by bit, before a part of it begins (a warm-up, a head) and after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from short_training import short_job, train
from wsss_platform.train.checkpoint import STATE, read_torch

pytestmark = pytest.mark.slow

RCM_MAM = {
    "heads.features": 16,
    "support.warm_up": 1,
    "support.ramp": 1,
    "support.ema": 0.8,
    "heads.projection": 8,
    "attention.scales": [0.5, 1.0],
}
RTC = {
    "heads.embedding": 24,
    "heads.widths": [16, 12, 6],
    "heads.dropout": 0.5,
    "views.small": 32,
    "segmentation.start": 1,
    "segmentation.dilations": [1, 2],
    "segmentation.iterations": 1,
    "segmentation.confident_foreground": 0.3,
    "segmentation.confident_background": 0.2,
}
WAIT = {"rcm_mam": ("regional_contrast", "attentive"), "rtc": ("segmentation",)}
"""Terms that are 0 in the first of three epochs."""
KEPT = {"rcm_mam": "support.network.", "rtc": "segmentation."}
"""What a checkpoint must hold beside the classifier."""


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *(("rcm_mam", {**RCM_MAM, "support.update": update}) for update in ("ema", "frozen", "epoch_copy")),
        ("rtc", RTC),
    ],
    ids=["rcm_mam-ema", "rcm_mam-frozen", "rcm_mam-epoch_copy", "rtc"],
)
def test_resumed_after_the_first_and_second_epoch_it_goes_on_bit_by_bit(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    job = short_job(name, changes)
    whole = train(job, tmp_path / "whole")
    for term in WAIT[name]:
        assert whole[0][term] == 0
        assert min(epoch[term] for epoch in whole[1:]) > 0
    wanted = read_torch(tmp_path / "whole" / "3" / STATE)["model"]
    assert any(part.startswith(KEPT[name]) for part in wanted)
    for stop in (1, 2):
        rest = train(job, tmp_path / f"from {stop}", checkpoint=tmp_path / "whole" / str(stop))
        assert rest == whole[stop:]
        found = read_torch(tmp_path / f"from {stop}" / "3" / STATE)["model"]
        assert found.keys() == wanted.keys()
        for part, value in wanted.items():
            assert torch.equal(found[part], value), part
