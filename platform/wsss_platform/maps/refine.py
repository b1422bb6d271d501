"""From a network that refines, one image and its stored maps, to its refined maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wsss_platform.data.split import Sample
from wsss_platform.data.views import normalise
from wsss_platform.errors import InputError, RunError
from wsss_platform.maps.geometry import CELL, nodes_of, padded_size
from wsss_platform.maps.prepared import prepared
from wsss_platform.maps.storage import AnyMap, StoredMap, quantised
from wsss_platform.method.module import TrainingModule


class Refiner:
    """Refines the maps of one image at a time; the result depends on nothing else that runs."""

    def __init__(self, module: TrainingModule, device: torch.device | str = "cpu") -> None:
        """Take over `module`: see `prepared`."""
        self.device = torch.device(device)
        self.module = prepared(module, self.device)

    @torch.inference_mode()
    def __call__(self, sample: Sample, stored: AnyMap) -> StoredMap:
        """The refined maps, of the same classes and in the same precision; its labels are not read.

        Args:
            sample: the image.
            stored: its maps.

        Raises:
            InputError: the maps are not of this image, or stored as views.
            RunError: maps of another shape or that are not finite; names the image.
        """
        height, width = sample.image.shape[:2]
        if (stored.id, stored.height, stored.width) != (sample.id, height, width):
            raise InputError(
                f"image {sample.id} has {height}x{width} pixels, the map is of {stored.id}, "
                f"{stored.height}x{stored.width}",
                field=sample.id,
            )
        if not isinstance(stored, StoredMap):
            raise InputError(
                f"image {sample.id}: its maps are stored as views; a refinement needs store 'grid'", field=sample.id
            )
        if len(stored.classes) == 0:
            return stored
        high, wide = padded_size(height, width)
        padded = torch.from_numpy(normalise(sample.image)).to(self.device)[None]
        padded = functional.pad(padded, (0, wide - width, 0, high - height))
        scores = _cells(torch.from_numpy(stored.nodes).to(self.device), high // CELL, wide // CELL)
        refined = self.module.refine(padded.contiguous(memory_format=torch.channels_last), scores, height, width)
        if refined.shape != scores.shape:
            name = type(self.module).__name__
            raise RunError(f"{name}.refine gives {list(refined.shape)}, expected {list(scores.shape)}")
        if not bool(torch.isfinite(refined).all()):
            raise RunError(f"image {sample.id}: the network gives refined maps that are not finite")
        rows, columns = -(-height // CELL), -(-width // CELL)
        cells = refined[:, :rows, :columns].float().clamp(0, 1).cpu().numpy()
        nodes = nodes_of(cells, (CELL * rows, CELL * columns), (height, width))
        return StoredMap(stored.id, stored.classes, quantised(nodes, stored.precision), height, width)


def _cells(nodes: Tensor, rows: int, columns: int) -> Tensor:
    """Full size at the centres of rows x columns cells of `CELL` pixels; beyond the nodes the last ones repeat."""
    inside = functional.avg_pool2d(nodes[None], 2, 1)
    missing = (0, columns - inside.shape[3], 0, rows - inside.shape[2])
    return functional.pad(inside, missing, mode="replicate")[0]
