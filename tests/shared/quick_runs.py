"""Settings with which `wsss.train` of a few small images takes seconds."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, Any] = {
    "train.epochs": 1,
    "train.crop": 48,
    "train.batch": 4,
    "maps.scales": [1.0],
    "maps.flip": False,
    "backbone.weights": "none",
}
GIVEN: dict[str, Any] = {"wandb": "disabled", "progress": False}
"""Of calls: no tracking, and silence."""
