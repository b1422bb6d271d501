"""From a network that refines, one picture and its stored maps, to its refined maps."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from wsss_platform.data.split import Sample
from wsss_platform.data.views import normalise
from wsss_platform.errors import InputError, RunError
from wsss_platform.maps.storage import AnyMap, StoredMap, padded_size
from wsss_platform.objective import Objective


class Refiner:
    """Refines the maps of one picture at a time; the result depends on nothing else that runs."""

    def __init__(self, objective: Objective, device: torch.device | str = "cpu") -> None:
        """Take over `objective`: it is moved to `device` and put into eval mode."""
        self.device = torch.device(device)
        self.objective = objective.to(self.device).eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, sample: Sample, stored: AnyMap) -> StoredMap:
        """The refined maps, of the same classes and in the same precision; its labels are not read.

        Args:
            sample: the picture.
            stored: its maps.

        Raises:
            InputError: the maps are not of this picture, or stored as views.
            RunError: maps of another shape or that are not finite; names the picture.
        """
        height, width = sample.image.shape[:2]
        if (stored.id, stored.height, stored.width) != (sample.id, height, width):
            raise InputError(
                f"picture {sample.id} has {height}x{width} pixels, the map is of {stored.id}, "
                f"{stored.height}x{stored.width}"
            )
        if not isinstance(stored, StoredMap):
            raise InputError(f"picture {sample.id}: its maps are stored as views; a refinement needs store 'grid'")
        if len(stored.classes) == 0:
            return stored
        high, wide = padded_size(height, width)
        picture = torch.from_numpy(normalise(sample.image)).to(self.device)[None]
        picture = functional.pad(picture, (0, wide - width, 0, high - height))
        one = 255 if stored.precision == "uint8" else 1
        scores = torch.from_numpy(stored.scores.astype(np.float32) / np.float32(one)).to(self.device)
        refined = self.objective.refine(picture.contiguous(memory_format=torch.channels_last), scores, height, width)
        if refined.shape != scores.shape:
            name = type(self.objective).__name__
            raise RunError(f"{name}.refine gives {list(refined.shape)}, expected {list(scores.shape)}")
        if not bool(torch.isfinite(refined).all()):
            raise RunError(f"picture {sample.id}: the network gives refined maps that are not finite")
        refined = refined.float().clamp(0, 1)
        made = (refined * 255).round().to(torch.uint8) if one == 255 else refined.half()
        return StoredMap(stored.id, stored.classes, made.cpu().numpy(), height, width)
