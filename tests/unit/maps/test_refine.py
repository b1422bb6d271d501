"""Stored nodes -> the cells that a refinement sees -> nodes again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss_platform.config import BackboneConfig
from wsss_platform.data.split import Sample
from wsss_platform.maps.refine import Refiner
from wsss_platform.maps.storage import StoredMap, full_size, grid_size, quantised
from wsss_platform.method.module import TrainingModule
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.cpu.winograd import QuickConvolution


class Same(TrainingModule):
    """Gives back what it sees, plus a number."""

    def __init__(self, more: float = 0.0) -> None:
        super().__init__()
        self.more = more
        self.seen = torch.zeros(0)

    def refine(self, image: Tensor, scores: Tensor, height: int, width: int) -> Tensor:
        self.seen = scores.clone()
        return scores + self.more


def case(height: int, width: int, precision: str = "uint11") -> tuple[Sample, StoredMap]:
    """A smooth map of two classes."""
    rows, columns = grid_size(height, width)
    y, x = np.mgrid[:rows, :columns] / max(rows, columns)
    nodes = np.stack([0.2 + 0.3 * y + 0.4 * x * y, 0.7 - 0.6 * x + 0.1 * np.sin(5 * y)]).astype(np.float32)
    stored = StoredMap("p", np.array([0, 3], np.uint8), quantised(nodes, precision), height, width)
    return Sample("p", np.zeros((height, width, 3), np.uint8), np.zeros(4, np.bool_)), stored


@pytest.mark.parametrize(("height", "width"), [(61, 47), (64, 48), (9, 130), (1, 1)])
def test_a_refinement_sees_full_size_at_the_centres_of_cells(height: int, width: int) -> None:
    sample, stored = case(height, width)
    training_module = Same()
    Refiner(training_module)(sample, stored)
    assert training_module.seen.shape == (2, -(-height // 16) * 4, -(-width // 16) * 4)
    rows, columns = height // 4, width // 4
    blocks = full_size(stored)[:, : 4 * rows, : 4 * columns].reshape(2, rows, 4, columns, 4)
    np.testing.assert_allclose(training_module.seen[:, :rows, :columns], blocks.mean((2, 4)), atol=1e-6)


@pytest.mark.parametrize("precision", ["uint8", "uint11", "float16"])
def test_what_it_leaves_as_it_is_comes_back(precision: str) -> None:
    sample, stored = case(61, 47, precision)
    again = Refiner(Same())(sample, stored)
    assert again.precision == precision
    np.testing.assert_allclose(full_size(again)[:, 4:-5, 4:-5], full_size(stored)[:, 4:-5, 4:-5], atol=0.006)
    np.testing.assert_allclose(full_size(again), full_size(stored), atol=0.03)  # beyond the outer centres it is flat


def test_the_network_is_made_ready_as_for_maps() -> None:
    training_module = Same()
    training_module.inner = build_backbone(BackboneConfig(name="resnet50", output_stride=16, weights="none"))
    assert any(isinstance(module, QuickConvolution) for module in Refiner(training_module).module.modules())


def test_refined_scores_are_cut_to_0_and_1() -> None:
    sample, stored = case(61, 47)
    assert (Refiner(Same(2.0))(sample, stored).scores == 2040).all()
    assert (Refiner(Same(-2.0))(sample, stored).scores == 0).all()
