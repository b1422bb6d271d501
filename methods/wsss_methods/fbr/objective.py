"""FBR on AMN (FBR-I): the host's term and FBR's three."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wsss_methods.fbr.amn import Amn
from wsss_methods.fbr.config import FbrConfig
from wsss_methods.fbr.contrast import Contrast, Terms, grid_of
from wsss_methods.fbr.losses import decorrelation, seed_at
from wsss_methods.fbr.sampling import find_regions
from wsss_platform.objective import Batch

_OLD_NAMES = {"contrast.banks.0.": "bank.", "contrast.project_": "project_", "contrast.draw_": "draw_"}


class FbrObjective(Amn):
    """AMN with a foreground and a background space."""

    def __init__(self, config: FbrConfig, classes: int) -> None:
        super().__init__(config, classes)
        self.sampling = config.sampling
        self.contrast = Contrast(
            self.backbone.channels, config.heads.projection, config.sampling, released_intra_live=False
        )
        self.register_state_dict_post_hook(_to_old_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_old_names)  # type: ignore[no-untyped-call]

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The four terms; the seed's masks are `batch.extras["seed"]`."""
        features = self.features(batch.images, batch.labels)
        logits = self.classify(features)
        foreground, background = self.contrast.spaces(features)
        with torch.autocast(features.device.type, enabled=False):
            logits = logits.float()
            inside = grid_of(batch.valid, logits.shape[2:])
            regions = find_regions(logits.flatten(2), batch.labels, inside, self.sampling)
            if self.sampling.anchors == "agreeing":
                regions.hard &= regions.pseudo == seed_at(batch.extras["seed"], logits.shape[2:]).flatten(1)
            terms: Terms = self.contrast(regions, foreground.flatten(2), background.flatten(2))
            return {
                "classification": self.classification(logits, batch),
                "decorrelation": decorrelation(foreground, background),
                "intra_foreground": terms.intra_foreground,
                "negative_regions": terms.negative_regions,
            }

    def applied(self) -> dict[str, float | int | bool | str]:
        """Sampling values, and the sizes that the modules really have."""
        return {**self.contrast.applied(), "heads.dropout": self.dropout.p}


# Stored weights and checkpoints have the contrast's tensors at the top, as before it was a module of its own.


def _to_old_names(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    _rename(state, prefix, _OLD_NAMES)


def _from_old_names(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    _rename(state, prefix, {old: new for new, old in _OLD_NAMES.items()})


def _rename(state: dict[str, Any], prefix: str, names: dict[str, str]) -> None:
    for name in list(state):
        for one, other in names.items():
            if name.startswith(prefix + one):
                state[prefix + other + name.removeprefix(prefix + one)] = state.pop(name)
                break
